"""Scores from ranks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miroir.engine.ranking.score import (
    GeoDetail,
    PinDetail,
    RankDetail,
    SkippedDetail,
    SortDetail,
    VectorDetail,
    details_json,
    global_score,
    merge_ranks,
    score_values,
)

RANKS = st.integers(1, 9).flatmap(lambda m: st.tuples(st.integers(1, m), st.just(m)))


@given(st.lists(RANKS, max_size=6))
def test_score_is_the_sum_of_shares(ranks: list[tuple[int, int]]) -> None:
    """Each rule divides the share that the rules before it left."""
    product, total = 1, 0.0
    for rank, maximum in ranks:
        product *= maximum
        total += (rank - 1) / product
    merged = merge_ranks(ranks)
    assert merged[0] / merged[1] == pytest.approx(total + 1 / product)


@given(st.lists(st.tuples(RANKS, RANKS), min_size=1, max_size=6))
def test_better_ranks_score_higher(pairs: list[tuple[tuple[int, int], tuple[int, int]]]) -> None:
    """Under equal maxima the score orders like the ranks themselves."""
    one = [left for left, _ in pairs]
    other = [(min(right[0], left[1]), left[1]) for left, right in pairs]
    assert (merge_ranks(one) > merge_ranks(other)) == ([r for r, _ in one] > [r for r, _ in other])


def test_observed_score() -> None:
    """`train dragon` on `how to train your dragon`."""
    ranks = [(2, 2), (3, 3), (3, 4), (1, 1), (17, 21), (1, 3), (3, 3)]
    assert merge_ranks(ranks) == (4305, 4536)


def test_products_wrap_at_32_bits() -> None:
    ranks = [(1 << 16, 1 << 16), (1 << 16, 1 << 16), (3, 3)]
    assert merge_ranks(ranks) == (((1 << 32) % (1 << 32)) * 3 + 3, 0)


def test_global_score() -> None:
    """Sorts do not count, a similarity replaces ranks, and nothing at all is perfect."""
    half = RankDetail("words", 1, 2)
    assert global_score([]) == 1.0
    assert global_score([half, SortDetail("p", True, 1.0)]) == 0.5
    assert global_score([half, VectorDetail(0.25)]) == 0.25
    assert global_score([VectorDetail(None)]) == 0.0
    assert global_score([half, SkippedDetail()]) == 0.0


def test_score_values_join_runs_of_ranks() -> None:
    sort, geo = SortDetail("p", True, 1.0), GeoDetail((1.0, 2.0), True, None, None)
    first, second = RankDetail("words", 1, 2), RankDetail("typo", 2, 2)
    assert score_values([first, second, sort, first, geo, VectorDetail(None), PinDetail(0)]) == [
        0.5,
        sort,
        0.5,
        geo,
        0.0,
    ]


def test_details_as_shown() -> None:
    shown = details_json(
        [
            RankDetail("words", 2, 3),
            RankDetail("typo", 2, 3),
            SortDetail("p", False, None, hidden=True),
            GeoDetail((1.0, 2.5), True, (3.0, 4.0), 5.0),
            RankDetail("exactAttribute", 1, 3),
            RankDetail("exactWords", 2, 3),
            SkippedDetail(),
        ]
    )
    assert shown == {
        "words": {"order": 0, "matchingWords": 2, "maxMatchingWords": 3, "score": 2 / 3},
        "typo": {"order": 1, "typoCount": 1, "maxTypoCount": 2, "score": 2 / 3},
        "<hidden-rule-2>": {"order": 2, "value": "<hidden>"},
        "_geoPoint(1, 2.5):asc": {"order": 3, "value": {"lat": 3.0, "lng": 4.0}, "distance": 5.0},
        "exactness": {
            "order": 4,
            "matchType": "noExactMatch",
            "matchingWords": 1,
            "maxMatchingWords": 2,
            "score": 2 / 9,
        },
        "skipped": {"order": 5},
    }

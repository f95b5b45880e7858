"""The bucket sort over rules of fixed buckets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from miroir.engine.graph import QueryGraph
from miroir.engine.ranking.bucket_sort import bucket_sort
from miroir.engine.ranking.rule import Bucket
from miroir.engine.ranking.score import RankDetail

KEYS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=30)


class KeyRule:
    """Orders documents by a number each, smaller first."""

    def __init__(self, keys: list[int]) -> None:
        self._keys = keys
        self._next = 0

    def start(self, universe: BitMap, graph: QueryGraph | None) -> None:
        self._next = 0

    def next_bucket(self, universe: BitMap) -> Bucket | None:
        if self._next > 3:
            return None
        key, self._next = self._next, self._next + 1
        return Bucket(BitMap(d for d in universe if self._keys[d] == key), RankDetail("typo", 4 - key, 4))


def rules(keys: list[tuple[int, int]]) -> list[KeyRule]:
    return [KeyRule([first for first, _ in keys]), KeyRule([second for _, second in keys])]


@given(KEYS, st.integers(0, 35))
def test_orders_like_a_sort(keys: list[tuple[int, int]], length: int) -> None:
    """Rule by rule, docids last; all candidates are counted."""
    ranked = bucket_sort(rules(keys), None, BitMap(range(len(keys))), length)
    assert ranked.docids == sorted(range(len(keys)), key=lambda d: (*keys[d], d))[:length]
    assert len(ranked.candidates) == len(keys)
    assert all(len(details) == 2 for details in ranked.details)


@given(KEYS)
def test_threshold_cuts_by_score(keys: list[tuple[int, int]]) -> None:
    """Exactly the documents with enough score stay; an exhaustive run counts exactly them."""
    scores = [((4 - a - 1) * 4 + (4 - b)) / 16 for a, b in keys]
    ranked = bucket_sort(rules(keys), None, BitMap(range(len(keys))), 5, threshold=0.5, evaluate_max=1000)
    good = [d for d in sorted(range(len(keys)), key=lambda d: (*keys[d], d)) if scores[d] >= 0.5]
    assert ranked.docids == good[:5]
    assert set(ranked.candidates) == set(good)


@given(KEYS, st.lists(st.integers(0, 4), min_size=30, max_size=30))
def test_distinct_keeps_the_best(keys: list[tuple[int, int]], groups: list[int]) -> None:
    """One document per group, the first in ranking order."""

    def distinct(candidates: BitMap) -> tuple[BitMap, BitMap]:
        kept, excluded = BitMap(), BitMap()
        for docid in candidates:
            if docid not in excluded:
                kept.add(docid)
                excluded |= BitMap(d for d in range(len(keys)) if groups[d] == groups[docid])
        return kept, excluded

    ranked = bucket_sort(rules(keys), None, BitMap(range(len(keys))), 100, distinct=distinct)
    seen: set[int] = set()
    expected = []
    for docid in sorted(range(len(keys)), key=lambda d: (*keys[d], d)):
        if groups[docid] not in seen:
            seen.add(groups[docid])
            expected.append(docid)
    assert ranked.docids == expected
    assert set(ranked.candidates) == set(expected)


def test_late_documents_are_not_lost() -> None:
    """When time is up, the rest of every open bucket still comes out."""
    calls = iter([False, False, True, True, True, True, True, True])
    keys = [(1, 0), (0, 1), (0, 0), (1, 1)]
    ranked = bucket_sort(rules(keys), None, BitMap(range(4)), 10, is_late=lambda: next(calls, True))
    assert sorted(ranked.docids) == [0, 1, 2, 3]
    assert ranked.docids[:2] == [2, 1]

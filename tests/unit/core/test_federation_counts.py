"""Which queries of one index are counted together."""

from dataclasses import replace

import pytest

from miroir.core.reads.federation_counts import count_parts, counted_query, negatives
from miroir.core.reads.search_plan import plan_search
from miroir.meili.commands import Hybrid, SearchQuery
from tests.unit.core.views import index_view

WORDS, OTHER = SearchQuery(q="x", filter="a = 1"), SearchQuery(q="y")
BLANK, FILTERED = SearchQuery(q=" "), SearchQuery(filter=["b = 2", ["c = 3", "d = 4"]])
VECTOR = SearchQuery(vector=(1.0,), hybrid=Hybrid("e", 1.0))


def test_queries_of_one_kind_stay_together() -> None:
    assert count_parts([WORDS, OTHER, VECTOR]) == [[WORDS, OTHER, VECTOR]]
    assert count_parts([BLANK, FILTERED]) == [[BLANK, FILTERED]]


def test_what_finds_everything_is_counted_alone() -> None:
    assert count_parts([WORDS, BLANK, FILTERED]) == [[BLANK]]


def test_words_are_counted_without_what_filters_find() -> None:
    blank, worded = count_parts([WORDS, FILTERED, OTHER])
    assert blank == [FILTERED]
    assert [query.q for query in worded] == ["x", "y"]
    for query in worded:
        assert "NOT" in str(query.filter)
        assert all(name in str(query.filter) for name in "bcd")
    assert "a = 1" in str(worded[0].filter)


@pytest.mark.parametrize(
    ("text", "unwanted"),
    [
        ("a b", ""),
        ("a -b c-d", "-b"),
        ('-a "x -y" -"some words" z -', '-a -"some words"'),
        ('"a" -"b c', '-"b c"'),
    ],
)
def test_what_must_not_match_is_told_from_the_rest(text: str, unwanted: str) -> None:
    assert negatives(text) == unwanted


def test_a_hybrid_search_counts_all_but_what_must_not_match_unless_words_sufficed() -> None:
    query = replace(VECTOR, q="a -b", hybrid=Hybrid("e", 0.5), filter="c = 1")
    near, words = (plan_search(index_view(), query, kind=kind) for kind in ("semantic", "keyword"))
    assert counted_query(near) == SearchQuery(q="-b", filter="c = 1")
    assert counted_query(words) == SearchQuery(q="a -b", filter="c = 1")
    assert counted_query(plan_search(index_view(), VECTOR, kind="semantic")) == VECTOR

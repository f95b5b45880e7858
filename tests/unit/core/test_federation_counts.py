"""Which queries of one index are counted together."""

from miroir.core.reads.federation_counts import count_parts
from miroir.meili.commands import Hybrid, SearchQuery

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

"""Parsing queries into terms."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miroir.engine.query import TERMS_MAX, ngram_term, parse_query
from miroir.engine.text import TextIndex
from tests.unit.engine.searching import ids, make_index, text_index

TEXT = text_index([{"t": "sun flower sunflower sunny"}], stopWords=["the"], synonyms={"sun flower": ["rose"]})


def parsed(q: str, text: TextIndex = TEXT) -> list[tuple[str, tuple[int, int], str]]:
    """(text, positions, kind) of every term."""

    def kind(term: Any) -> str:
        return "phrase" if term.phrase is not None else "prefix" if term.is_prefix else "word"

    return [(term.original, term.positions, kind(term)) for term in parse_query(text, q).terms]


def test_an_empty_list_of_searchable_attributes_finds_nothing() -> None:
    index = make_index([{"id": 1, "t": "red"}], searchableAttributes=[])
    assert (ids(index, "red"), ids(index, None)) == ([], [1])


@given(st.text(alphabet='ab "-.,!', max_size=60))
def test_never_more_than_ten_terms(q: str) -> None:
    """Positions grow, and nothing raises."""
    terms = parse_query(TEXT, q).terms
    assert len(terms) <= TERMS_MAX
    starts = [term.positions[0] for term in terms]
    assert starts == sorted(starts)


@pytest.mark.parametrize(
    ("q", "terms"),
    [
        ("one two", [("one", (0, 0), "word"), ("two", (1, 1), "prefix")]),
        ("one two ", [("one", (0, 0), "word"), ("two", (1, 1), "word")]),
        ("one the two ", [("one", (0, 0), "word"), ("two", (2, 2), "word")]),
        ("one the", [("one", (0, 0), "word"), ("the", (1, 1), "prefix")]),
        ("one! two ", [("one", (0, 0), "word"), ("two", (8, 8), "word")]),
        ("one! ! two ", [("one", (0, 0), "word"), ("two", (15, 15), "word")]),
        ('a "one the two" b ', [("a", (0, 0), "word"), ("one two", (1, 3), "phrase"), ("b", (4, 4), "word")]),
        ('"one. two', [("one", (0, 0), "phrase"), ("two", (8, 8), "phrase")]),
        ('"the"', []),
        ("", []),
        ("- one", [("one", (0, 0), "prefix")]),
    ],
)
def test_terms(q: str, terms: list[tuple[str, tuple[int, int], str]]) -> None:
    assert parsed(q) == terms


def test_negatives() -> None:
    """A minus after a space or at the start excludes the next word or phrase."""
    found = parse_query(TEXT, '-one two-three -"four five" six')
    assert found.negative_words == ["one"]
    assert found.negative_phrases == [("four", "five")]
    assert [term.original for term in found.terms] == ["two", "three", "six"]


def test_prefix_search_can_be_off() -> None:
    assert parsed("sun", text_index([], prefixSearch="disabled")) == [("sun", (0, 0), "word")]


def test_prefix_content() -> None:
    """The word itself, and the longer words that start with it."""
    term = parse_query(TEXT, "sun").terms[0]
    assert (term.exact, term.prefix_of) == ("sun", ("sunflower", "sunny"))


@pytest.mark.parametrize(("word", "typos"), [("abcd", 0), ("abcde", 1), ("abcdefgh", 1), ("abcdefghi", 2)])
def test_allowance(word: str, typos: int) -> None:
    assert parse_query(TEXT, word).terms[0].typos == typos


def test_ngrams() -> None:
    """Neighbours only, with a smaller allowance and the synonyms of both spellings."""
    terms = parse_query(TEXT, "sun flower ").terms
    ngram = ngram_term(TEXT, terms)
    assert ngram is not None
    assert (ngram.original, ngram.positions, ngram.typos) == ("sunflower", (0, 1), 1)
    assert ngram.synonyms == (("rose",),)
    apart = parse_query(TEXT, "sun the flower ").terms
    assert ngram_term(TEXT, apart) is None
    assert ngram_term(TEXT, parse_query(TEXT, '"sun" flower ').terms) is None

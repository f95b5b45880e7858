"""Positions of words in documents."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miroir.engine.occurrences import Collector, FieldTable, differing_parts
from miroir.engine.text import TextIndex
from miroir.engine.text_rules import TextRules
from miroir.engine.tokens import Tokenizer
from tests.unit.engine.searching import text_index


def places(text: TextIndex) -> dict[str, list[tuple[str, int]]]:
    """Word -> (path, position) in the only document."""
    names = {number: path for path, number in text.fields.items()}
    return {
        word: [(names[int(o) >> 16 & 0xFFFF], int(o) & 0xFFFF) for o in packed]
        for word, packed in text.postings.items()
    }


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("one two", {"one": 0, "two": 1}),
        ("one. two", {"one": 0, "two": 8}),
        ("one - , two", {"one": 0, "two": 8}),
        ("one, . two", {"one": 0, "two": 8}),
        ("... one", {"one": 0}),
        (["one", "two three"], {"one": 0, "two": 8, "three": 9}),
        ([None, "one"], {"one": 8}),
        (["one two", "x", "three"], {"one": 0, "two": 1, "x": 9, "three": 17}),
        ([["one"], "two"], {"one": 0, "two": 8}),
        (True, {"true": 0}),
        (1.0, {"1": 0, "0": 1}),
        (None, {}),
        ([], {}),
    ],
)
def test_positions(value: Any, expected: dict[str, int]) -> None:
    found = places(text_index([{"t": value}]))
    assert {word: place for word, [(_, place)] in found.items()} == expected


def test_nested_paths() -> None:
    """A literal dotted key and a nested one share a path; a nested array counts as a value before its elements."""
    found = places(text_index([{"a.b": "one", "a": {"b": "two", "c": ["three", {"d": "four"}]}}]))
    assert found == {"one": [("a.b", 0)], "two": [("a.b", 8)], "three": [("a.c", 8)], "four": [("a.c.d", 0)]}


def test_stop_words_take_a_place() -> None:
    """They are not indexed, and the next value starts after the last indexed word."""
    found = places(text_index([{"t": ["one the two the", "three"]}], stopWords=["the"]))
    assert {word: place for word, [(_, place)] in found.items()} == {"one": 0, "two": 2, "three": 10}


def test_long_words_and_far_positions() -> None:
    text = text_index([{"t": "a" * 251 + " b"}, {"t": "c " * 65_540}])
    assert "b" in text.postings
    assert "a" * 251 not in text.postings
    assert len(text.postings["c"]) == 65_536


def test_only_searchable_attributes() -> None:
    """Children of a listed attribute count, and reserved names never do."""
    documents = [{"a": {"b": "yes"}, "ab": "no", "_vectors": {"x": "no"}, "_geo": {"lat": "no"}}]
    assert set(text_index(documents, searchableAttributes=["a"]).postings) == {"yes"}
    assert set(text_index(documents).postings) == {"yes", "no"}
    assert "_vectors.x" not in text_index(documents).fields


def test_word_counts() -> None:
    """Stop words do not count; more than thirty words are not kept."""
    text = text_index([{"t": "one the two"}, {"t": "x " * 31}], stopWords=["the"])
    assert {key[1]: list(found) for key, found in text.counts.items()} == {2: [0]}


SCALARS = st.sampled_from(["x", "x y", "y. x", "1", 1, 1.0, True, None])
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["b", "c", ""]), inner, max_size=2)
    ),
    max_leaves=4,
)
SHARING = st.dictionaries(st.sampled_from(["a", "a.b", "a.c", "b", "t", "t.", "", ".b"]), VALUES, max_size=4)


def gathered(document: dict[str, Any]) -> set[tuple[str, int]]:
    table = FieldTable(TextRules.of({}), {})
    for path in ("a", "a.b", "a.c", "a.b.c", "b", "t", "b.b", "b.c"):
        table.number(path)
    collector = Collector(Tokenizer.of({}), table)
    collector.add(0, document)
    names = {number: path for path, number in table.searchable().items()}
    found = {
        (f"{word} {names[o >> 16 & 0xFFFF]}", o & 0xFFFF)
        for word, places in collector.occurrences.items()
        for o in places
    }
    return found | {(f"count {names[field]}", count) for field, count in collector.counts}


@given(SHARING, SHARING)
def test_differing_parts_hold_every_difference(old: dict[str, Any], new: dict[str, Any]) -> None:
    """What goes and what comes is the same for the parts as for the whole documents, however paths are shared."""
    before, after = gathered(old), gathered(new)
    parts = [gathered(part) for part in differing_parts(old, new)]
    assert (before - parts[0]) | parts[1] == after
    assert parts[0] <= before


def test_differing_parts_leave_out_what_stays() -> None:
    old = {"id": 1, "t": "one", "a": {"b": 1}, "a.c": 2}
    assert differing_parts(old, {**old, "t": "two"}) == ({"t": "one"}, {"t": "two"})
    assert differing_parts(old, {**old, "a.c": 3})[1] == {"a": {"b": 1}, "a.c": 3}
    assert differing_parts({"n": 1}, {"n": 1.0}) == ({"n": 1}, {"n": 1.0})

"""Marks of short unfinished words: the same places as a node marks, set or taken away."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miroir.core.reads.short_prefixes import (
    prefix_spans,
    short_prefix,
    shows_prefix,
    with_prefix,
    without_prefix,
)
from miroir.core.reads.word_frequency import question
from miroir.engine.formatting.matcher import Matcher, MatchingTerm, MatchingWords
from miroir.engine.tokens import Tokenizer
from miroir.meili.commands import SearchQuery
from tests.unit.core.views import index_view

HIGHLIGHT = SearchQuery(q="x", attributes_to_highlight=("*",))
TOKENIZER = Tokenizer.of({}, stop_words=False)

texts = st.text(st.sampled_from("aàbÅ4 -,'.яЯe\u0301ßœ$"), max_size=12)


@given(texts, st.sampled_from(["a", "ab", "b4", "я", "e", "oe", "ba"]))
def test_beginnings_are_found_where_a_node_finds_them(text: str, prefix: str) -> None:
    words = MatchingWords(terms=[MatchingTerm((prefix,), (0, 0), is_prefix=True, char_count=len(prefix))])
    expected = Matcher(text, TOKENIZER, words).bounds()
    assert prefix_spans({"text": text}, prefix).get(("text", ()), []) == expected


def seen(spans: list[tuple[int, int]]) -> dict[str, Any]:
    entries = [{"start": start, "length": length} for start, length in spans]
    return {"text": "list of lions", "_matchesPosition": {"text": entries} if entries else {}}


def test_all_beginnings_are_marked_or_none() -> None:
    plain = {"_formatted": {"text": "list <em>of</em> lions"}}
    marked = {"_formatted": {"text": "<em>li</em>st <em>of</em> <em>li</em>ons"}}
    change = with_prefix(plain, seen([(5, 2)]), "li", HIGHLIGHT)
    assert change is not None
    assert change["_formatted"] == marked["_formatted"]
    assert [entry["start"] for entry in change["_matchesPosition"]["text"]] == [0, 5, 8]
    change = without_prefix(marked, seen([(0, 2), (5, 2), (8, 2)]), "li", HIGHLIGHT)
    assert change is not None
    assert change["_formatted"] == plain["_formatted"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<em>li</em>st", True),
        ("<em>Lí</em>st", True),
        ("<em>list</em>", False),
        ("list", False),
        ("<em>of</em> li", False),
    ],
)
def test_whether_a_hit_shows_the_beginning(text: str, shown: bool) -> None:
    assert shows_prefix({"_formatted": {"tags": [text]}}, "li", HIGHLIGHT) is shown


@pytest.mark.parametrize(
    ("text", "prefix"),
    [("the Lí", "li"), ("li ", None), ("linux", None), ("j", "j"), ("日本 li", None)],
)
def test_which_words_nodes_may_disagree_about(text: str, prefix: str | None) -> None:
    asked = question(text, {})
    assert (asked and short_prefix(index_view(), HIGHLIGHT, asked)) == prefix
    if asked is not None:
        assert short_prefix(index_view(prefixSearch="disabled"), HIGHLIGHT, asked) is None
        assert short_prefix(index_view(), SearchQuery(q=text), asked) is None

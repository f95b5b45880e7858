"""The frequency strategy over shards: where words are, and how to ask without some of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miroir.core.reads.word_frequency import question
from miroir.core.reserved import NOWHERE, STAND_IN
from miroir.engine.query import parse_query
from miroir.engine.text import TextIndex

S = STAND_IN


@pytest.mark.parametrize(
    ("text", "words", "phrase_words"),
    [
        ("one two", ["one", "two"], 0),
        ("one  Two, ", ["one", "Two"], 0),
        ('a "b c" d', ["a", "d"], 2),
        ("a -b c", ["a", "c"], 0),
        ("a-b", ["a", "b"], 0),
        ("the a the", ["a", "the"], 0),
        ('a -"b c" d', ["a", "d"], 0),
        ("Peru Ашкеон", ["Peru", "Ашкеон"], 0),
        ('a -"b c" "d e"-f', ["a", "f"], 2),
    ],
)
def test_where_words_are(text: str, words: list[str], phrase_words: int) -> None:
    found = question(text, {"stopWords": ["the"]})
    assert found is not None
    assert [text[start:end] for start, end in found.words] == words
    assert found.phrase_words == phrase_words


def test_what_only_a_node_can_cut_is_left_to_nodes() -> None:
    assert question("東京 tower", {}) is None
    assert question("Ուpա", {}) is None  # two alphabets in one word
    assert question("j.k. rowling", {"dictionary": ["j.k."]}) is None
    assert question(" ".join("abcdefghijk"), {}) is None


def test_words_beyond_those_that_a_node_reads_can_be_cut() -> None:
    found = question("a b c d e f g h i j, k l", {}, cut=True)
    assert found is not None
    assert (found.text, len(found.words), found.open_end) == ("a b c d e f g h i j ", 10, False)
    for text, kept, number in (
        ('a b c d e f g h i j "k"', "a b c d e f g h i j ", 10),
        ('a b "c d" e f g h i j -x "k l" m n', 'a b "c d" e f g h i j -x "k l" ', 8),
        ('a b c d e f g h i "j k" "l m" n', 'a b c d e f g h i "j k" ', 9),
    ):
        found = question(text, {}, cut=True)
        assert found is not None
        assert (found.text, len(found.words), found.open_end) == (kept, number, False)
        assert question(text, {}) is None
    assert question('a b c d e f g h i "j, k" l', {}, cut=True) is None  # two phrases to a node


def test_words_left_out_keep_their_place() -> None:
    found = question("one two three", {})
    assert found is not None
    assert found.without([1]) == f"one {S} three"
    assert found.without([0, 2]) == f"{S} two {S} "  # nothing before the end becomes a prefix
    assert (found.word(0), found.word(2)) == ("one ", "three")
    assert (found.pair(0), found.pair(1)) == ("one two ", "two three")
    assert (found.also(1, 1), found.also(2, 1)) == ("two . two three", "two . three")
    assert found.lacking([1, 2]) == f"one {6 * NOWHERE} {6 * NOWHERE}"


@given(st.lists(st.sampled_from(["ab", "the", "x", "-", " ", ",", '"'])))
def test_words_are_those_of_a_parsed_query(parts: list[str]) -> None:
    """As the embedded engine reads it: every term that is no phrase, in order."""
    text = " ".join(parts)
    settings = {"stopWords": ["the"]}
    found = question(text, settings)
    if found is None:
        return
    terms = [term for term in parse_query(TextIndex.empty(settings), text).terms if term.phrase is None]
    assert [text[start:end] for start, end in found.words] == [term.original for term in terms]

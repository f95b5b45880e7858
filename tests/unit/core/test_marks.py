"""Marks put together from several answers; queries that make a node look words up."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miroir.core.reads.marks import (
    Reach,
    groups_lacking,
    merge_spans,
    question_of,
    reach_of,
    remarked,
    spans_of,
    with_left_out,
)
from miroir.core.reads.merging import Hit
from miroir.core.reads.word_frequency import question
from miroir.core.reserved import NOWHERE
from miroir.meili.commands import SearchQuery
from tests.unit.core.views import index_view

PLACE = ("text", ())
TEXT = "alpha béta-gamma δelta 日本"


def reach(text: str, together: int, settings: dict[str, Any] | None = None) -> Reach:
    asked = question(text, settings or {})
    assert asked is not None
    return Reach(asked, together)


def hit(kept: int | None, words: int, share: int = 0, seq: str = "s") -> Hit:
    details = {} if kept is None else {"words": {"matchingWords": kept, "maxMatchingWords": words}}
    made = Hit({}, details, 1.0, share)
    made.seq = seq
    return made


def marked(spans: list[tuple[int, int]], tags: tuple[str, str] = ("<em>", "</em>")) -> str:
    """TEXT as a node marks it."""
    raw, out, end = TEXT.encode(), b"", 0
    for start, length in spans:
        out += raw[end:start] + tags[0].encode() + raw[start : start + length] + tags[1].encode()
        end = start + length
    return (out + raw[end:]).decode()


def body(spans: list[tuple[int, int]]) -> dict[str, Any]:
    entries = [{"start": start, "length": length} for start, length in spans]
    return {
        "_formatted": {"text": marked(spans), "n": "1"},
        "_matchesPosition": {"text": entries} if entries else {},
    }


def words_of(raw: str) -> list[tuple[int, int]]:
    """(start, length) in bytes of the words of a text."""
    found, place = [], 0
    for word in raw.replace("-", " ").split():
        place = raw.encode().index(word.encode(), place)
        found.append((place, len(word.encode())))
        place += len(word.encode())
    return found


some_words = st.lists(st.sampled_from(words_of(TEXT)), unique=True).map(sorted)


@given(st.lists(some_words, min_size=1, max_size=4))
def test_all_marks_together_are_what_one_node_marks(parts: list[list[tuple[int, int]]]) -> None:
    everything = sorted({span for part in parts for span in part})
    query = SearchQuery(q="x", attributes_to_highlight=("*",))
    change = remarked([body(part) for part in parts], query)
    if everything == parts[0]:
        assert change is None
    else:
        assert change == body(everything)


@given(some_words, some_words)
def test_attributes_that_are_not_highlighted_stay_as_they_are(
    one: list[tuple[int, int]], other: list[tuple[int, int]]
) -> None:
    bodies = [{**body(part), "_formatted": {"text": TEXT}} for part in (one, other)]
    change = remarked(bodies, SearchQuery(q="x", attributes_to_highlight=("title",)))
    assert change is None or change["_formatted"] == {"text": TEXT}


def test_a_mark_inside_another_is_dropped_and_the_longer_one_stays() -> None:
    merged = merge_spans([{PLACE: [(0, 4), (11, 5)]}, {PLACE: [(0, 11), (6, 4)]}])
    assert merged == {PLACE: [(0, 11), (11, 5)]}


def test_marks_inside_arrays_keep_their_places() -> None:
    entries = [{"start": 0, "length": 1, "indices": [1]}, {"start": 2, "length": 1, "indices": [0]}]
    assert spans_of({"_matchesPosition": {"tags": entries}}, SearchQuery()) == {
        ("tags", (1,)): [(0, 1)],
        ("tags", (0,)): [(2, 1)],
    }


@pytest.mark.parametrize(
    ("text", "together", "kept", "first", "rewritten"),
    [
        ("one two three", 2, 1, 2, "one . three"),
        ("one two three ", 2, 1, 2, "one . three "),
        ("one two three four", 2, 1, 2, f"one . three . {NOWHERE} . four"),
        ("one two three four", 3, 1, 2, "one . three four"),
        ("one-two the three four", 3, 2, 3, "one-two . four"),
        ("one the two three four", 4, 2, 3, "one . two . four"),
        ("one two", 2, -1, 1, "two"),
        ("one two", 0, -1, 0, f"one . {NOWHERE} . two"),
    ],
)
def test_a_query_that_looks_a_word_up(
    text: str, together: int, kept: int, first: int, rewritten: str
) -> None:
    assert reach(text, together, {"stopWords": ["the"]}).rewritten(kept, first) == rewritten


def test_queries_for_what_a_hit_was_found_without() -> None:
    asked = reach("one two three", 0).asked
    assert with_left_out(asked, (1,)) == [asked.without((1,)), "one . two "]
    assert with_left_out(asked, (2, 0)) == [asked.without((2, 0)), "two . three", "two . one "]


@given(st.integers(1, 6), st.data())
def test_a_node_lacks_nothing_that_one_node_would_not_have(words: int, data: st.DataObject) -> None:
    together = data.draw(st.integers(1, words))
    kept = data.draw(st.integers(0, together))
    lacking = reach(" ".join(["word"] * words), together).lacking(kept)
    looked_up_by_all, looked_up_here = set(range(min(together + 1, words))), set(range(min(kept + 1, words)))
    assert set(lacking) == looked_up_by_all - looked_up_here


def test_only_hits_of_shards_that_lack_something_are_asked_again() -> None:
    hits = [hit(3, 3, 0, "a"), hit(2, 3, 1, "b"), hit(1, 3, 0, "c"), hit(1, 3, 2, "d")]
    asked = reach("one two three", 3)
    assert groups_lacking(asked, hits, hits, alone=False) == {2: {1: ["d"]}}
    assert groups_lacking(asked, hits, hits[2:], alone=True) == {0: {1: ["c"]}, 2: {1: ["d"]}}


def test_of_texts_in_an_array_positions_tell_the_last_and_tags_the_others() -> None:
    query = SearchQuery(q="x", attributes_to_highlight=("*",))
    position = {"start": 0, "length": 2, "indices": [2]}

    def tags(*texts: str) -> dict[str, Any]:
        return {"_formatted": {"tags": list(texts)}, "_matchesPosition": {"tags": [position]}}

    change = remarked(
        [tags("<em>ab</em> cd", "cd", "<em>ab</em>"), tags("ab <em>cd</em>", "cd", "ab")], query
    )
    assert change == tags("<em>ab</em> <em>cd</em>", "cd", "<em>ab</em>")


@pytest.mark.parametrize(
    "change",
    [
        {"attributes_to_highlight": None},
        {"q": " "},
        {"q": '"one two" three'},
        {"q": "東京 one"},
    ],
)
def test_where_no_marks_show_or_nobody_knows_the_words_nothing_is_asked(change: dict[str, Any]) -> None:
    plain = {"q": "one two three", "attributes_to_highlight": ("*",)}
    assert question_of(index_view(), SearchQuery(**plain)) is not None
    assert question_of(index_view(), SearchQuery(**(plain | change))) is None


def test_what_one_node_looked_up_is_told_by_the_best_hit() -> None:
    asked = question("one two three", {})
    assert asked is not None
    query = SearchQuery(q=asked.text)
    assert reach_of(asked, query, [hit(2, 3), hit(1, 3)]) == Reach(asked, 2)
    assert reach_of(asked, query, [hit(2, 4)]) is None  # the node counts other words
    every_word = SearchQuery(q=asked.text, matching_strategy="all")
    assert reach_of(asked, every_word, [hit(3, 3)]) is None

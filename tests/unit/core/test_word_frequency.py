"""The frequency strategy over shards: where words are, what may go missing, which rank that is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miroir.core.reads.scores import fold
from miroir.core.reads.word_frequency import (
    grouped,
    leaves_gap,
    levels,
    not_from_start,
    question,
    ranked_at,
)
from miroir.core.reserved import STAND_IN
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


@given(st.lists(st.integers(0, 3), min_size=1, max_size=4), st.integers(0, 2))
def test_levels_leave_out_the_most_frequent_first(counts: list[int], phrase_words: int) -> None:
    groups = grouped(counts)
    assert sorted(number for group in groups for number in group) == list(range(len(counts)))
    found = levels(counts, phrase_words)
    order = {number: place for place, group in enumerate(groups) for number in group}
    for cost, sets in found.removed():
        for removed in sets:
            assert len(set(removed)) == cost
            last = max((order[number] for number in removed), default=0)
            assert all(number in removed for group in groups[:last] for number in group)
    kept = 0 if phrase_words else len(groups[-1])
    assert len(found.always) == len(counts) - kept
    assert found.best_rank == 1 + max(0, phrase_words - 1) + len(found.always)


def test_words_that_nothing_has_go_missing_together() -> None:
    found = levels([0, 2, 0, 7, 0], 0)
    assert list(found.removed()) == [(3, [(0, 2, 4)]), (4, [(0, 2, 4, 3)])]
    assert list(levels([0, 0], 0).removed()) == [(0, [()])]
    assert list(levels([0, 0], 2).removed()) == [(2, [(0, 1)])]


def test_a_level_keeps_what_matches_all_of_its_words() -> None:
    def hit(matching: int, score: float) -> dict[str, Any]:
        words = {"order": 0, "matchingWords": matching, "maxMatchingWords": 2, "score": matching / 2}
        return {"id": matching, "_rankingScore": score, "_rankingScoreDetails": {"words": words}}

    (kept,) = ranked_at([hit(2, 0.75), hit(1, 0.5)], 3, 4)
    assert kept["_rankingScoreDetails"]["words"] == {
        "order": 0,
        "matchingWords": 3,
        "maxMatchingWords": 4,
        "score": 0.75,
    }
    assert kept["_rankingScore"] == (3 - 1 + 0.5) / 4  # half of the last of two buckets, of the third of four


def test_behind_a_gap_no_attribute_matches_from_its_start() -> None:
    assert not leaves_gap(3, ())
    assert not leaves_gap(3, (1, 2))
    assert leaves_gap(3, (1,))
    assert leaves_gap(3, (0, 2))
    ranks = [(1, 1), (2, 2), (1, 1), (11, 11), (2, 3), (2, 2)]  # one word, found at the start of an attribute
    details = {
        "words": {"order": 0, "matchingWords": 1, "maxMatchingWords": 1, "score": 1.0},
        "typo": {"order": 1, "typoCount": 0, "maxTypoCount": 1, "score": 1.0},
        "proximity": {"order": 2, "score": 1.0},
        "wordPosition": {"order": 3, "score": 1.0},
        "exactness": {"order": 4, "matchType": "matchesStart", "score": 2 / 3},
    }
    body = {"_rankingScore": fold(ranks), "_rankingScoreDetails": details}
    not_from_start(body, 1)
    assert details["exactness"] == {
        "order": 4,
        "matchType": "noExactMatch",
        "matchingWords": 1,
        "maxMatchingWords": 1,
        "score": 1 / 3,
    }
    assert body["_rankingScore"] == fold([*ranks[:4], (1, 3), (2, 2)])

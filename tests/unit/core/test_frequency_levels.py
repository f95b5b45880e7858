"""Which words may be missing together, as the embedded engine decides it, and what that is worth."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from miroir.core.reads.frequency_levels import Counts, grouped, levels, ranked_at, ways_kept, with_joined
from miroir.core.reads.merging import SEQ_RULE, Hit, take_hits
from miroir.core.reserved import encode_seq

COUNTS = st.lists(st.integers(0, 4), min_size=1, max_size=6)


@given(COUNTS, st.integers(0, 2))
def test_a_word_goes_missing_after_more_frequent_ones_behind_it(counts: list[int], phrase_words: int) -> None:
    groups = grouped(counts)
    place = {number: place for place, group in enumerate(groups) for number in group}
    found = levels(counts, phrase_words)
    kept = [] if phrase_words else groups[-1]
    assert sorted((*found.always, *kept)) == list(range(len(counts)))
    assert found.best_rank == 1 + max(0, phrase_words - 1) + len(found.always)
    may = {removed for _, sets in found.removed() for removed in sets}
    assert all(len(removed) == cost for cost, sets in found.removed() for removed in sets)
    for size in range(len(found.always) + 1):
        for removed in combinations(found.always, size):
            stays = [number for number in found.always if number not in removed]
            passed_over = any(a > b and place[a] < place[b] for a in stays for b in removed)
            lacks_unknown = any(not counts[number] for number in stays)
            assert (removed in may) == (not passed_over and not lacks_unknown)


def test_a_frequent_word_may_stay_before_a_rare_one_that_is_missing() -> None:
    assert [sets for _, sets in levels([96, 8, 6], 0).removed()] == [[()], [(0,), (1,)], [(0, 1)]]
    assert [sets for _, sets in levels([8, 96, 6], 0).removed()] == [[()], [(1,)], [(0, 1)]]


def test_words_that_nothing_has_go_missing_together() -> None:
    assert list(levels([0, 2, 0, 7, 0], 0).removed()) == [(3, [(0, 2, 4)]), (4, [(0, 2, 3, 4)])]
    assert list(levels([0, 0], 0).removed()) == [(0, [()])]
    assert list(levels([0, 0], 2).removed()) == [(2, [(0, 1)])]


def test_only_ways_that_find_something_first_are_taken() -> None:
    found = levels([9, 8, 7, 1], 0)
    patterns = {frozenset((1, 2)), frozenset((0, 2)), frozenset((2,))}
    assert list(found.finding(patterns)) == [(1, [(0,), (1,)]), (2, [(0, 1)])]
    assert list(found.finding({frozenset((0, 1, 2))})) == [(0, [()])]
    assert list(found.finding(set())) == []


def test_a_level_keeps_what_lacks_nothing_but_the_missing_words() -> None:
    def hit(matching: int, score: float) -> dict[str, Any]:
        words = {"order": 0, "matchingWords": matching, "maxMatchingWords": 3, "score": matching / 3}
        return {"id": matching, "_rankingScore": score, "_rankingScoreDetails": {"words": words}}

    (kept,) = ranked_at([hit(3, 1.0), hit(2, 0.5), hit(1, 0.25)], 1, 3, 4)
    assert kept["_rankingScoreDetails"]["words"] == {
        "order": 0,
        "matchingWords": 3,
        "maxMatchingWords": 4,
        "score": 0.75,
    }
    assert kept["_rankingScore"] == (3 - 1 + 0.5) / 4  # half of the second of three, now of the third of four


def test_a_way_without_a_hit_of_its_own_is_forgotten() -> None:
    def hits(left_out: tuple[int, ...], *numbers: int) -> list[Hit]:
        words = {"order": 0, "matchingWords": 1, "maxMatchingWords": 2, "score": 0.5}
        raw: list[dict[str, Any]] = [
            {
                "id": number,
                "_rankingScore": 0.5,
                "_rankingScoreDetails": {
                    "words": dict(words),
                    SEQ_RULE: {"order": 1, "value": encode_seq(number)},
                },
            }
            for number in numbers
        ]
        taken = take_hits(raw, 0)
        for hit in taken:
            hit.left_out = left_out
        return taken

    kept = ways_kept([hits((0,), 1, 2), hits((1,), 1), hits((2,), 1, 3)])
    assert [[hit.body["id"] for hit in each] for each in kept] == [[1, 2], [], [1, 3]]


def test_concatenations_count_for_both_of_their_words() -> None:
    # the pair: 5 documents, 2 of them have the first by itself, all the second; of the other pair all have both
    assert with_joined(3, [2, 7, 9, 5, 2, 5, 4, 4, 4]) == Counts([5, 7, 9], frozenset((0,)))
    assert with_joined(1, [4]) == Counts([4], frozenset())


def test_a_frequent_word_may_stay_behind_a_missing_one_in_a_concatenation() -> None:
    apart, joined = levels([4, 2, 90], 0), levels([4, 2, 90], 0, frozenset((1,)))
    assert [sets for _, sets in apart.removed()] == [[()], [(2,)], [(0, 2)]]
    assert [sets for _, sets in joined.removed()] == [[()], [(0,), (2,)], [(0, 2)]]
    assert joined.is_joined((0,))
    assert not joined.is_joined((2,))
    both = {frozenset((2,))}  # what has them may have them apart, which is not enough
    assert [sets for _, sets in joined.finding(both)] == [[(0,)], [(0, 2)]]
    assert frozenset((0, 2)) in joined.kept_alone()
    assert frozenset((0, 2)) not in apart.kept_alone()

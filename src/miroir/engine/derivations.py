"""Words that stand near a query word: typos and split words. Remembered per index version.

Distances count insertions, deletions, substitutions and swaps of neighbours, on characters; for a prefix
search see `_walk`. Candidates come in byte order and stop at the caps, so which ones
survive depends on the whole dictionary. Source: semantics B.4 and B.6.
"""

from __future__ import annotations

import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from rapidfuzz import process
from rapidfuzz.distance import OSA

from miroir.engine.text import TextIndex

ONE_TYPO_WORDS_MAX = 150
TWO_TYPO_WORDS_MAX = 50

_LAST = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class TypoWords:
    """Dictionary words one and two typos away."""

    one: tuple[str, ...] = ()
    two: tuple[str, ...] = ()


NO_TYPO_WORDS = TypoWords()


def typo_words(text: TextIndex, word: str, typos: int, *, is_prefix: bool) -> TypoWords:
    """Words within `typos` (0 to 2) of a word. A wrong first letter counts as two typos."""
    if typos == 0 or not word:
        return NO_TYPO_WORDS
    return text.cache.get(
        ("typos", word, typos, is_prefix),
        lambda: _find(text.tolerant_words, word, typos, is_prefix),
        lambda found: 100 * (len(found.one) + len(found.two)),
    )


def _find(dictionary: Sequence[str], word: str, typos: int, is_prefix: bool) -> TypoWords:
    same_first = _range(dictionary, word[0])
    distances = _distances(same_first, word, typos, is_prefix)
    near = np.flatnonzero((distances >= 1) & (distances <= typos))
    matches = [(same_first[i], int(distances[i])) for i in near.tolist()]
    if typos == 1:
        return TypoWords(one=tuple(candidate for candidate, _ in matches[:ONE_TYPO_WORDS_MAX]))
    matches.extend((candidate, 3) for candidate in _other_first(dictionary, word, is_prefix))
    return _capped(sorted(matches))


def _capped(matches: list[tuple[str, int]]) -> TypoWords:
    """Share candidates out; 3 marks one typo in the first letter, which moves to list one when two is full."""
    one: list[str] = []
    two: list[str] = []
    for candidate, distance in matches:
        one_full, two_full = len(one) >= ONE_TYPO_WORDS_MAX, len(two) >= TWO_TYPO_WORDS_MAX
        if one_full and two_full:
            break
        if distance >= 2 and not two_full:
            two.append(candidate)
        elif distance != 2 and not one_full and (distance == 1 or two_full):
            one.append(candidate)
    return TypoWords(tuple(one), tuple(two))


def _range(dictionary: Sequence[str], prefix: str) -> Sequence[str]:
    return dictionary[bisect_left(dictionary, prefix) : bisect_right(dictionary, prefix + _LAST)]


def _distances(candidates: Sequence[str], word: str, typos: int, is_prefix: bool) -> npt.NDArray[np.uint8]:
    """Distance of each candidate, `typos + 1` standing for more."""
    best = np.full(len(candidates), typos + 1, dtype=np.uint8)
    if not is_prefix:
        lengths = np.fromiter(map(len, candidates), dtype=np.int64, count=len(candidates))
        places = np.flatnonzero(np.abs(lengths - len(word)) <= typos)
        if len(places):
            best[places] = _compare(word, [candidates[i] for i in places.tolist()], typos)
        return best
    # The nearest prefix gives a lower bound; what passes it is few and is walked character by character.
    # Neighbours in byte order share prefixes, so each distinct one is compared once.
    cut = [candidate[: len(word) + typos] for candidate in candidates]
    distinct = list(dict.fromkeys(cut))
    bound = np.full(len(distinct), typos + 1, dtype=np.uint8)
    for length in range(max(len(word) - typos, 1), len(word) + typos + 1):
        np.minimum(bound, _compare(word, [c[:length] for c in distinct], typos), out=bound)
    near = {distinct[i]: int(bound[i]) for i in np.flatnonzero(bound <= typos).tolist()}
    for place, candidate in enumerate(cut):
        lowest = near.get(candidate)
        if lowest is not None:
            # Only two typos leave room for a prefix that is near but still getting nearer.
            exact = lowest if typos < 2 or lowest == 0 else _walk(word, candidates[place], typos)
            best[place] = exact
    return best


def _walk(word: str, candidate: str, typos: int) -> int:
    """Distance of a prefix search as an automaton sees it, `typos + 1` standing for more.

    It stops at the first prefix of the candidate that is near enough and that no continuation could bring
    nearer; a near prefix before that is passed over, and at the candidate's end the whole of it counts.
    """
    size = len(word)
    before: list[int] = []
    row = list(range(size + 1))
    for i, character in enumerate(candidate, 1):
        earlier, before = before, row
        row = [i]
        for j in range(1, size + 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (word[j - 1] != character))
            if i > 1 and j > 1 and character == word[j - 2] and candidate[i - 2] == word[j - 1]:
                cost = min(cost, earlier[j - 2] + 1)
            row.append(cost)
        if row[size] <= typos and min(row) >= row[size]:
            return row[size]
        if min(row) > typos:
            return typos + 1
    return min(row[size], typos + 1)


def _compare(word: str, candidates: list[str], typos: int) -> npt.NDArray[np.uint8]:
    if not candidates:
        return np.empty(0, dtype=np.uint8)
    matrix = process.cdist([word], candidates, scorer=OSA.distance, score_cutoff=typos, dtype=np.uint8)
    return np.asarray(matrix[0], dtype=np.uint8)


def _other_first(dictionary: Sequence[str], word: str, is_prefix: bool) -> set[str]:
    """Words with another first letter at distance one: that letter replaced, added, dropped or swapped."""
    shapes = {word[1:]}
    if len(word) > 1:
        shapes.add(word[1] + word[0] + word[2:])
    for letter in _first_letters(dictionary):
        shapes.add(letter + word[1:])
        shapes.add(letter + word)
    found: set[str] = set()
    for shape in shapes:
        if not shape or shape[0] == word[0]:
            continue
        if is_prefix:
            found.update(_range(dictionary, shape))
        else:
            place = bisect_left(dictionary, shape)
            if place < len(dictionary) and dictionary[place] == shape:
                found.add(shape)
    return found


def _first_letters(dictionary: Sequence[str]) -> Iterator[str]:
    place = 0
    while place < len(dictionary):
        letter = dictionary[place][0]
        yield letter
        if ord(letter) >= sys.maxunicode:
            return
        place = bisect_left(dictionary, chr(ord(letter) + 1), lo=place)

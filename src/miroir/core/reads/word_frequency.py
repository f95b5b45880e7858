"""`matchingStrategy: frequency` over shards: which words may go missing is decided by counts of the whole index.

A node drops the words that are most frequent on it; shards would drop different ones. So words are counted over all
shards, and where some node would decide otherwise the search is asked level by level: all words, then without the most
frequent one, and so on. A word that is left out is replaced by a stop word of ours, which keeps its place. Of each
answer only hits that match all that is left count.

Not seen here: n-grams of a dropped word and its neighbour, and text that is not cut at separators (Chinese, Thai, ...),
which nodes go on deciding by themselves. reference: search-semantics C.5, H11. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from miroir.core.reads.scores import fold, ranks_of
from miroir.core.reserved import STAND_IN
from miroir.core.writes.text_pieces import Splitter
from miroir.meili.folding import decompose

_TERMS_MAX = 10
_NEVER = 1 << 62
_CLOSE = 1e-9
#: Alphabets in which separators alone cut words, by code point.
_CUT_BY_SEPARATORS = ((0, 0x0590), (0x1E00, 0x2000))


@dataclass(frozen=True, slots=True)
class Question:
    """A query text with the places of its words: (start, end) each, in order; `phrase_words` are not among them."""

    text: str
    words: tuple[tuple[int, int], ...]
    phrase_words: int
    open_end: bool  #: the last word is a prefix

    def without(self, removed: Sequence[int]) -> str:
        """The text with some words replaced by the stand-in."""
        parts: list[str] = []
        place = 0
        for number in sorted(removed):
            start, end = self.words[number]
            parts += (self.text[place:start], STAND_IN)
            place = end
        parts.append(self.text[place:])
        text = "".join(parts)
        return text + " " if text.endswith(STAND_IN) else text

    def only(self, numbers: Sequence[int]) -> str:
        """Some words, far apart from each other; the last one a prefix only if it is one in the whole."""
        text = " . ".join(self.text[slice(*self.words[number])] for number in numbers)
        is_prefix = self.open_end and numbers[-1] == len(self.words) - 1
        return text + ("" if is_prefix else " ")

    def word(self, number: int) -> str:
        """One word as a query of its own; a prefix only if it is one in the whole."""
        start, end = self.words[number]
        is_prefix = self.open_end and number == len(self.words) - 1
        return self.text[start:end] + ("" if is_prefix else " ")


def question(text: str, settings: Mapping[str, Any], *, cut: bool = False) -> Question | None:
    """Where the words of a query are, None where that cannot be told without a node's tokenizer.

    None also where there are more words than a node reads, unless they are to be `cut` as there.
    """
    if any(character.isalnum() and not _is_plain(character) for character in text):
        return None
    if any(word in text for word in settings.get("dictionary") or ()):
        return None
    reader = _Reader(text, frozenset(settings.get("stopWords") or ()))
    if not all(map(reader.take, Splitter({**settings, "dictionary": []}).pieces(text))):
        return None
    if len(reader.terms) <= _TERMS_MAX:
        return reader.question()
    return reader.cut() if cut else None


@dataclass(slots=True)
class _Term:
    """A word, or a phrase of so many words that count; `end` is that of its last word."""

    end: int
    phrase: int  #: number of quotes before it; even for a word
    size: int = 1


class _Reader:
    """Goes through the words of a query as a node's parser does."""

    def __init__(self, text: str, stop_words: frozenset[str]) -> None:
        self._text = text
        self._stop_words = stop_words
        self._place = self._quotes = 0
        self._unwanted = False  #: inside a phrase that must not occur
        self._torn = False  #: a phrase may be several to a node
        self._words: list[tuple[int, int]] = []
        self.terms: list[_Term] = []

    def take(self, piece: str) -> bool:
        """Read one piece; False where the text can only be read as a whole."""
        start = self._text.find(piece, self._place)
        if start < 0:  # a text of several alphabets, kept whole
            return False
        before = self._text[self._place : start]
        opened = before.count('"')
        if opened:
            self._quotes += opened
            self._unwanted = self._is_unwanted(self._place + before.rindex('"'))
        self._place = end = start + len(piece)
        is_stop_word = decompose(piece) in self._stop_words
        if self._quotes % 2:
            if not (is_stop_word or self._unwanted):
                self._take_quoted(before, end)
        elif not (self._is_unwanted(start) or (is_stop_word and end < len(self._text))):
            self._words.append((start, end))
            self.terms.append(_Term(end, self._quotes))
        return True

    def _is_unwanted(self, start: int) -> bool:
        """Whether what begins here is to be left out of the results."""
        before = self._text[max(0, start - 2) : start]
        return before.endswith("-") and not before[:-1].strip()

    def _take_quoted(self, before: str, end: int) -> None:
        if self.terms and self.terms[-1].phrase == self._quotes:
            self._torn |= not before.isspace()
            self.terms[-1].size += 1
            self.terms[-1].end = end
        else:
            self.terms.append(_Term(end, self._quotes))

    def question(self) -> Question:
        phrase_words = sum(term.size for term in self.terms if term.phrase % 2)
        words = tuple(self._words)
        return Question(self._text, words, phrase_words, bool(words) and words[-1][1] == len(self._text))

    def cut(self) -> Question | None:
        """What a node reads of it."""
        if self._torn:
            return None
        terms = self.terms[:_TERMS_MAX]
        end = terms[-1].end
        words = tuple(place for place in self._words if place[1] <= end)
        if terms[-1].phrase % 2:
            end = self._text.index('"', end) + 1
        phrase_words = sum(term.size for term in terms if term.phrase % 2)
        return Question(self._text[:end] + " ", words, phrase_words, open_end=False)


def _is_plain(character: str) -> bool:
    code = ord(character)
    return any(start <= code < end for start, end in _CUT_BY_SEPARATORS)


def grouped(counts: Sequence[int]) -> list[list[int]]:
    """Words by how often they occur, the most frequent first; words that never occur before all others."""
    found: dict[int, list[int]] = {}
    for number, count in enumerate(counts):
        found.setdefault(count or _NEVER, []).append(number)
    return [found[count] for count in sorted(found, reverse=True)]


@dataclass(frozen=True, slots=True)
class Levels:
    """What may go missing: of a group any part, once all groups before it are gone."""

    groups: tuple[tuple[int, ...], ...]
    unknown: bool  #: the first group are words that no document has: without all of them nothing matches
    best_rank: int

    @property
    def always(self) -> tuple[int, ...]:
        """Words left out to count everything that matches."""
        return tuple(number for group in self.groups for number in group)

    def removed(self) -> Iterator[tuple[int, list[tuple[int, ...]]]]:
        """(cost, sets of words that may be left out together at this cost), the cheapest first."""
        gone: tuple[int, ...] = ()
        if not self.unknown:
            yield 0, [()]
        for place, group in enumerate(self.groups):
            whole = self.unknown and place == 0
            for size in range(len(group) if whole else 1, len(group) + 1):
                yield len(gone) + size, [(*gone, *chosen) for chosen in combinations(group, size)]
            gone = (*gone, *group)


def levels(counts: Sequence[int], phrase_words: int) -> Levels:
    """The levels of a question by how often each of its words occurs."""
    groups = grouped(counts)
    removable = groups if phrase_words else groups[:-1]
    fixed = 1 + max(0, phrase_words - 1)
    return Levels(
        tuple(map(tuple, removable)), 0 in counts and bool(removable), fixed + sum(map(len, removable))
    )


def leaves_gap(size: int, removed: Sequence[int]) -> bool:
    """Whether words that stay stand behind one that is left out: then no attribute matches from its start."""
    return any(number < size - len(removed) for number in removed)


def not_from_start(body: dict[str, Any], searchable_count: int) -> None:
    """Give a hit the exactness that it has behind a gap: the stand-in makes a node count words from there."""
    details = body["_rankingScoreDetails"]
    exactness = details.get("exactness")
    if exactness is None or exactness["matchType"] == "noExactMatch":
        return
    terms = details["words"]["matchingWords"]
    exact_words = terms - int(details.get("typo", {}).get("typoCount", 0) > 0)
    before = _score_of(details, terms, searchable_count)
    details["exactness"] = {
        "order": exactness["order"],
        "matchType": "noExactMatch",
        "matchingWords": exact_words,
        "maxMatchingWords": terms,
        "score": (exact_words + 1) / (3 * (terms + 1)),
    }
    if abs(before - body["_rankingScore"]) < _CLOSE:
        body["_rankingScore"] = _score_of(details, terms, searchable_count)


def _score_of(details: Mapping[str, Any], terms: int, searchable_count: int) -> float:
    """The score that these details make; sort values have no part in it."""
    rules = sorted(details.items(), key=lambda item: item[1]["order"])
    ranked = [item for item in rules if "value" not in item[1] and "distance" not in item[1]]
    return fold([rank for name, detail in ranked for rank in ranks_of(name, detail, terms, searchable_count)])


def ranked_at(raw: Sequence[dict[str, Any]], rank: int, best_rank: int) -> list[dict[str, Any]]:
    """Hits of one level that match all of its words, with the rank and the score that they have in the whole.

    Changes the details. `words` must be the first rule.
    """
    hits = []
    for body in raw:
        words = body["_rankingScoreDetails"]["words"]
        largest = words["maxMatchingWords"]
        if words["matchingWords"] < largest:
            continue
        below = body["_rankingScore"] * largest - (largest - 1)
        body["_rankingScore"] = (rank - 1 + below) / best_rank
        words.update(matchingWords=rank, maxMatchingWords=best_rank, score=rank / best_rank)
        hits.append(body)
    return hits

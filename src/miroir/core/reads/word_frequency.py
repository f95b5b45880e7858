"""`matchingStrategy: frequency` over shards: the words of a query, and what to ask where some of them go missing.

A node drops the words that are most frequent on it; shards would drop different ones. So words are counted over all
shards, and where some node would decide otherwise the search is asked for each set of words that may be missing
(`frequency_levels`). A word that is left out is replaced by one that no document has, which every node leaves out first.

Not seen here: n-grams of a dropped word and its neighbour, and text that is not cut at separators (Chinese, Thai, ...),
which nodes go on deciding by themselves. reference: search-semantics C.5, H11. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from miroir.core.reserved import NOWHERE, STAND_IN
from miroir.core.writes.text_pieces import Splitter
from miroir.meili.folding import decompose

_TERMS_MAX = 10
#: longer than typos can take off, so that joined with a neighbour it is nothing either
_NOTHING = 6 * NOWHERE
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

    def lacking(self, removed: Sequence[int]) -> str:
        """The text with some words replaced by one that nothing has."""
        parts: list[str] = []
        place = 0
        for number in sorted(removed):
            start, end = self.words[number]
            parts += (self.text[place:start], _NOTHING)
            place = end
        return "".join((*parts, self.text[place:]))

    def only(self, numbers: Sequence[int]) -> str:
        """Some words, far apart from each other; the last one a prefix only if it is one in the whole."""
        text = " . ".join(self.text[slice(*self.words[number])] for number in numbers)
        return text + ("" if self._ends_open(numbers[-1]) else " ")

    def word(self, number: int) -> str:
        """One word as a query of its own; a prefix only if it is one in the whole."""
        return self.only((number,))

    def pair(self, number: int) -> str:
        """A word and the next, as they stand."""
        start, end = self.words[number][0], self.words[number + 1][1]
        return self.text[start:end] + ("" if self._ends_open(number + 1) else " ")

    def also(self, number: int, pair: int) -> str:
        """What finds the documents of a pair that have one of its words by itself."""
        if self._ends_open(number):  # only the last of a text can be a prefix
            return self.only((pair, number))
        return f"{self.text[slice(*self.words[number])]} . {self.pair(pair)}"

    def _ends_open(self, number: int) -> bool:
        return self.open_end and number == len(self.words) - 1


def question(text: str, settings: Mapping[str, Any], *, cut: bool = False) -> Question | None:
    """Where the words of a query are, None where that cannot be told without a node's tokenizer.

    None also where there are more words than a node reads, unless they are to be `cut` as there.
    """
    if any(character.isalnum() and not _is_plain(character) for character in text):
        return None
    if any(word in text for word in settings.get("dictionary") or ()):
        return None
    reader = _Reader(text, frozenset(settings.get("stopWords") or ()))
    splitter = Splitter({**settings, "dictionary": []})
    parts = (
        [text] if " " in (settings.get("nonSeparatorTokens") or ()) else text.split()
    )  # each of one alphabet
    if not all(reader.take(piece) for part in parts for piece in splitter.pieces(part)):
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

"""Where the words of a query stand in a text, as highlights, crops and positions need it.

Source: search-semantics E.2 and E.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from miroir.engine.tokens import Token, Tokenizer
from miroir.meili.folding import normalize_whole

#: Positions of query words, both ends included.
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class MatchingPhrase:
    """Words that must follow one another; None stands for a stop word of the query."""

    words: tuple[str | None, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class MatchingTerm:
    """The single words that one query term may stand for; `char_count` is the length of the typed word."""

    words: tuple[str, ...]
    span: Span
    is_prefix: bool
    char_count: int


@dataclass(frozen=True, slots=True)
class Match:
    """A match from token `first` to token `last`; `char_count` characters of it are shown as matching."""

    first: int
    last: int
    first_word: int
    last_word: int
    char_count: int
    span: Span

    @property
    def word_count(self) -> int:
        """Words from the first to the last."""
        return self.last_word - self.first_word + 1

    @property
    def ids(self) -> range:
        """The query positions that the match stands for."""
        return range(self.span[0], self.span[1] + 1)


class MatchingWords:
    """Everything of a query that may match in a text."""

    def __init__(self, phrases: Iterable[MatchingPhrase] = (), terms: Iterable[MatchingTerm] = ()) -> None:
        self._phrases: dict[str, list[MatchingPhrase]] = {}
        for phrase in phrases:
            # A stop word at the start never matches, since texts are tokenised without stop words.
            if phrase.words and phrase.words[0] is not None:
                self._phrases.setdefault(phrase.words[0], []).append(phrase)
        self._terms = [
            (term, {word: place for place, word in reversed(list(enumerate(term.words)))})
            for term in sorted(terms, key=lambda t: (t.is_prefix, t.span[0] - t.span[1]))
        ]

    def __bool__(self) -> bool:
        return bool(self._phrases) or any(words for _, words in self._terms)

    def find(self, tokens: Sequence[Token]) -> list[Match]:
        """All matches in a text, left to right, without overlap."""
        words = [place for place, token in enumerate(tokens) if not token.is_separator]
        found: list[Match] = []
        position = 0
        while position < len(words):
            match = self._match_at(tokens, words, position)
            if match is None:
                position += 1
                continue
            found.append(match)
            position = match.last_word + 1
        return found

    def _match_at(self, tokens: Sequence[Token], words: Sequence[int], position: int) -> Match | None:
        token = tokens[words[position]]
        for phrase in self._phrases.get(token.lemma, ()):
            if len(phrase.words) == 1:
                return Match(
                    words[position], words[position], position, position, len(token.text), phrase.span
                )
            match = _complete(phrase, tokens, words, position)
            if match is not None:
                return match
        char_count, span = self._match_word(token)
        if span is None:
            return None
        return Match(words[position], words[position], position, position, char_count, span)

    def _match_word(self, token: Token) -> tuple[int, Span | None]:
        lemma = token.lemma
        for term, places in self._terms:
            if not term.is_prefix:
                if lemma in places:
                    return len(token.text), term.span
                continue
            best = min(
                (
                    place
                    for length in range(1, len(lemma) + 1)
                    if (place := places.get(lemma[:length])) is not None
                ),
                default=None,
            )
            if best is not None and term.char_count:
                prefix = term.words[best][: term.char_count]
                return _original_length(token, len(prefix.encode())), term.span
        return 0, None


def _complete(
    phrase: MatchingPhrase, tokens: Sequence[Token], words: Sequence[int], position: int
) -> Match | None:
    last = position + len(phrase.words) - 1
    if last >= len(words):
        return None
    if any(tokens[words[position + i]].lemma != word for i, word in enumerate(phrase.words)):
        return None
    start, end = tokens[words[position]], tokens[words[last]]
    char_count = end.start + len(end.text) - start.start
    return Match(words[position], words[last], position, last, char_count, phrase.span)


def _original_length(token: Token, byte_count: int) -> int:
    """How many characters of the token as written give at least `byte_count` bytes of its normal form."""
    if token.text.isascii():
        return min(byte_count, len(token.text))
    count = given = 0
    for character in token.text:
        if given >= byte_count:
            break
        given += len(normalize_whole(character).encode())
        count += 1
    return count


class Matcher:
    """The matches of one text; computed once, used for positions and formatting."""

    __slots__ = ("matches", "text", "tokens")

    def __init__(
        self, text: str, tokenizer: Tokenizer, words: MatchingWords, languages: Sequence[str] | None = None
    ) -> None:
        self.text = text
        self.tokens = tokenizer.tokenize(text, languages)
        self.matches = words.find(self.tokens)

    def bounds(self) -> list[tuple[int, int]]:
        """(start, length) of every match in bytes of UTF-8."""
        found = []
        for match in self.matches:
            start = self.tokens[match.first].start
            written = self.text[start : start + match.char_count]
            found.append((len(self.text[:start].encode()), len(written.encode())))
        return found

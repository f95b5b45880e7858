"""From text to tokens: words, stop words, and soft or hard separators.

Pipeline per text: script groups, split at separators and dictionary words, decompose (NFKD), classify, then
fold (lower case, accents, quotes) according to the script. Source: semantics A.4. Languages that need a
dictionary to find words (Chinese, Japanese, Thai...) are treated like a text of one long word per group.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Any

from miroir.engine.languages import splits_article
from miroir.engine.separators import DEFAULT_SEPARATORS, HARD_SEPARATORS
from miroir.meili.folding import decompose, fold
from miroir.meili.scripts import script_groups

#: Words longer than this many UTF-8 bytes are neither indexed nor searched.
MAX_WORD_BYTES = 250
#: Distinct tokens remembered per tokenizer; the memory is emptied when full.
_REMEMBERED_MAX = 200_000

_ARABIC_ARTICLES = ("ال", "أل", "إل", "آل", "ٱل")


class Kind(IntEnum):
    WORD = 0
    STOP_WORD = 1
    SOFT = 2  #: separator inside a thought
    HARD = 3  #: separator between thoughts
    EMPTY = 4  #: nothing left after normalisation


@dataclass(frozen=True, slots=True)
class Token:
    """`text` is as written, at character offset `start`; `lemma` is its normal form."""

    text: str
    lemma: str
    kind: Kind
    start: int

    @property
    def is_word(self) -> bool:
        """A word or a stop word, not a separator."""
        return self.kind <= Kind.STOP_WORD

    @property
    def is_separator(self) -> bool:
        return self.kind in (Kind.SOFT, Kind.HARD)


class Tokenizer:
    """Splits and normalises texts under one set of stop words, separators and dictionary words."""

    def __init__(
        self,
        stop_words: Iterable[str] = (),
        separator_tokens: Iterable[str] = (),
        non_separator_tokens: Iterable[str] = (),
        dictionary: Iterable[str] = (),
    ) -> None:
        self._stop_words = frozenset(decompose(word) for word in stop_words)
        self._separators = (DEFAULT_SEPARATORS | set(separator_tokens)) - set(non_separator_tokens)
        patterns = {p for p in (*self._separators, *dictionary) if p}
        self._splitter = _compile_splitter(patterns)
        self._known: dict[str, dict[str, tuple[Kind, str]]] = {}

    @classmethod
    def of(cls, settings: Mapping[str, Any], *, stop_words: bool = True) -> Tokenizer:
        """The tokenizer that an index's settings describe; highlighting leaves stop words out."""
        return _tokenizer(
            tuple((settings.get("stopWords") or ()) if stop_words else ()),
            tuple(settings.get("separatorTokens") or ()),
            tuple(settings.get("nonSeparatorTokens") or ()),
            tuple(settings.get("dictionary") or ()),
        )

    def classified(self, text: str, languages: Sequence[str] | None = None) -> list[tuple[Kind, str, str]]:
        """(kind, lemma, text as written) of every token, in order; the parts add up to `text`.

        `languages` (three letters): those that the text may be in, None when it may be any.
        """
        found: list[tuple[Kind, str, str]] = []
        for script, group in script_groups(text):
            known = self._known.setdefault(script, {})
            splits: bool | None = None  # a guess that only texts with an article need
            for is_match, piece in _alternating(self._splitter.split(group)):
                if not piece:
                    continue
                if script == "arabic" and not is_match and _has_article(piece):
                    if splits is None:
                        splits = splits_article(group, languages)
                    if splits:
                        found.extend(self._remember(known, part, script) for part in (piece[:2], piece[2:]))
                        continue
                entry = known.get(piece)
                if entry is None:
                    found.append(self._remember(known, piece, script))
                else:
                    found.append((*entry, piece))
        return found

    def tokenize(self, text: str, languages: Sequence[str] | None = None) -> list[Token]:
        """All tokens of `text` with their places; `languages` as in `classified`."""
        tokens: list[Token] = []
        start = 0
        for kind, lemma, written in self.classified(text, languages):
            tokens.append(Token(written, lemma, kind, start))
            start += len(written)
        return tokens

    def words(self, text: str) -> list[str]:
        """Lemmas of the words (not the stop words) of `text`."""
        return [lemma for kind, lemma, _ in self.classified(text) if kind == Kind.WORD]

    def _remember(self, known: dict[str, tuple[Kind, str]], piece: str, script: str) -> tuple[Kind, str, str]:
        entry = self._classify(piece, script)
        if len(known) >= _REMEMBERED_MAX:
            known.clear()
        known[piece] = entry
        return (*entry, piece)

    def _classify(self, piece: str, script: str) -> tuple[Kind, str]:
        lemma = decompose(piece)
        if not lemma.isprintable():
            lemma = "".join([c for c in lemma if unicodedata.category(c) != "Cc" or c.isspace()])
        if not lemma:
            return Kind.EMPTY, ""
        if lemma in self._stop_words:
            kind = Kind.STOP_WORD
        elif lemma in self._separators:
            kind = Kind.HARD if lemma in HARD_SEPARATORS else Kind.SOFT
        else:
            kind = Kind.WORD
        lemma = fold(lemma, script)
        return (kind, lemma) if lemma else (Kind.EMPTY, "")


@lru_cache(maxsize=16)
def _tokenizer(
    stop_words: tuple[str, ...],
    separator_tokens: tuple[str, ...],
    non_separator_tokens: tuple[str, ...],
    dictionary: tuple[str, ...],
) -> Tokenizer:
    """Shared: making one costs a millisecond, and what it has seen of words serves all."""
    return Tokenizer(stop_words, separator_tokens, non_separator_tokens, dictionary)


def is_numeric(word: str) -> bool:
    """Made of numeric characters and ASCII punctuation only (`disableOnNumbers`)."""
    return all(
        c.isnumeric() or (c.isascii() and not c.isalnum() and c.isprintable() and c != " ") for c in word
    )


def _has_article(piece: str) -> bool:
    return len(piece) > 2 and piece.startswith(_ARABIC_ARTICLES) and not is_numeric(piece)


def _alternating(parts: list[str]) -> Iterable[tuple[bool, str]]:
    """Mark every second part: the splitter's matches."""
    return [(bool(place & 1), part) for place, part in enumerate(parts)]


def _compile_splitter(patterns: set[str]) -> re.Pattern[str]:
    """Leftmost-longest matching of all patterns: longer ones first, single characters as one class."""
    longer = sorted((p for p in patterns if len(p) > 1), key=lambda p: (-len(p), p))
    singles = "".join(re.escape(p) for p in sorted(patterns) if len(p) == 1)
    alternatives = [re.escape(p) for p in longer]
    if singles:
        alternatives.append(f"[{singles}]")
    return re.compile("(" + "|".join(alternatives) + ")") if alternatives else re.compile("(?!)()")

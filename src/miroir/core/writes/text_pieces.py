"""Text cut into pieces in which a node finds the same words as in the whole text.

Source: reference/search-semantics.md, A.4 and H.0. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

#: Separators of Meilisearch by default, of those that are common. Leaving one out only makes pieces longer.
_SEPARATORS = " \t\n\r\f\v\u00a0_-'\"/@#&*()[]{}+\\:%!?;,.`’‘“”–—«»·•"
_HARD = ("; ", "! ", "? ")
#: Text in one alphabet that is cut at separators alone: Latin, or Cyrillic. All other text may need its context.
_LATIN = re.compile("[\x00-\u02af\u1e00-\u1eff\u2010-\u2027\u20a0-\u20bf]*")
_CYRILLIC = re.compile("[\x00-@\\[-`{-\u00bf\u0400-\u052f\u2010-\u2027]*")
#: Before a whole text among pieces.
WHOLE = "\ue0f1"
#: Longer texts are cut at spaces all the same, and longer pieces left out.
PIECE_MAX_CHARS = 30_000

#: object keys from the top of a document; arrays do not show
Path = tuple[str, ...]


class Splitter:
    """Cuts text into pieces that a node cuts further in the same way as the whole text."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        kept = set(settings.get("nonSeparatorTokens") or ())
        words = [word for word in settings.get("dictionary") or () if word]
        plain = [each for each in _SEPARATORS if each not in kept]
        self._blank = str.maketrans(dict.fromkeys(plain, " "))
        self._words = frozenset(words)
        self._pattern: re.Pattern[str] | None = None
        if kept or words:
            pairs = [pair for pair in (". ", ", ") if pair not in kept]
            patterns = sorted({*words, *plain, *pairs}, key=len, reverse=True)
            self._pattern = re.compile("(" + "|".join(map(re.escape, patterns)) + ")")
        #: between the words of a ghost: nothing reaches across it
        self.between = next((each for each in _HARD if each[0] not in kept and each not in kept), "\n")

    def pieces(self, text: str) -> Iterable[str]:
        """The pieces of a text, with repetitions; a text that needs its context is one, marked as whole."""
        if not (text.isascii() or _LATIN.fullmatch(text) or _CYRILLIC.fullmatch(text)):
            if len(text) < PIECE_MAX_CHARS:
                return (WHOLE + text,)
            return [WHOLE + part for part in text.split()]
        if self._pattern is None:
            return text.translate(self._blank).split()
        found = []
        for place, part in enumerate(self._pattern.split(text)):
            if part and (place % 2 == 0 or part in self._words):
                found.append(part)
        return found


_READ_BY = ("nonSeparatorTokens", "dictionary")


def reads_words_alike(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether text is cut into the same pieces under both settings."""
    return all((before.get(name) or []) == (after.get(name) or []) for name in _READ_BY)


def leaves(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    """(path, scalar) of everything below a value; containers come first, as None."""
    if isinstance(value, dict):
        yield path, None
        for key, child in value.items():
            yield from leaves(child, (*path, key))
    elif isinstance(value, list):
        yield path, None
        for child in value:
            yield from leaves(child, path)
    else:
        yield path, value


def weight(piece: str) -> int:
    """An upper bound of the words a node may find in a piece."""
    if piece.isalnum():
        return 1 if piece.isascii() else 1 + len(piece) // 2
    return 1 + sum(not character.isalnum() for character in piece) + (0 if piece.isascii() else len(piece))


def script_order(piece: str) -> tuple[str, str]:
    """Pieces of one script together: what begins with a digit takes the script of what stands before it."""
    return next((character for character in piece if character.isalpha()), ""), piece

"""The normal form of words: compatibility decomposition, then lower case, accents and quotes by script.

Source: reference/search-semantics.md, A.4.
"""

from __future__ import annotations

import unicodedata

from miroir.meili.scripts import script_groups

_CASED = frozenset({"latin", "cyrillic", "greek", "georgian", "armenian"})
_MARKS_REMOVED = frozenset({"hebrew", "thai", "arabic", "latin", "greek"})
_LATIN_FOLDING = str.maketrans({"’": "'", "‘": "'", "‛": "'", "œ": "oe", "Œ": "oe", "æ": "ae", "Æ": "ae"})
_ARABIC_FOLDING = str.maketrans({"ـ": None, "أ": "ا", "إ": "ا", "آ": "ا", "ٱ": "ا", "ى": "ي", "ة": "ه"})


def decompose(text: str) -> str:
    """Compatibility decomposition, character by character (no reordering of marks across characters)."""
    if text.isascii():
        return text
    return "".join([unicodedata.normalize("NFKD", character) for character in text])


def fold(lemma: str, script: str) -> str:
    """The lossy part of normalisation of an already decomposed lemma."""
    if lemma.isascii():
        return lemma.lower() if script in _CASED else lemma
    if script in _CASED:
        lemma = "".join([character.lower() for character in lemma])
    if script == "latin":
        lemma = lemma.translate(_LATIN_FOLDING)
    elif script == "arabic":
        lemma = lemma.translate(_ARABIC_FOLDING)
    if script in _MARKS_REMOVED:
        lemma = "".join([c for c in lemma if unicodedata.category(c) != "Mn"])
    return lemma


def normalize_whole(text: str) -> str:
    """A text in the normal form of its words, without splitting it (facet search compares so)."""
    return "".join(fold(decompose(part), script) for script, part in script_groups(text))

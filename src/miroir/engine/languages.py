"""Which language a text in Arabic letters is taken for: it decides whether the article is a word of its own.

The reference asks for a language only where several of its word splitters share a script, which in a build
without the Asian dictionaries is true of Arabic letters alone (Arabic and Persian split, Urdu does not). It
compares the text's trigrams with those of each language, as whatlang does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import cache

from miroir.engine.trigrams import TRIGRAMS
from miroir.meili.locales import THREE_LETTERS

#: Languages in Arabic letters whose article is split off.
_WITH_ARTICLE = frozenset({"ara", "pes"})
#: Trigrams of a profile, and what a trigram costs that a text does not have.
_PROFILE = 300
_TEXT_TRIGRAMS_MAX = 600
_STOPS = dict.fromkeys((*range(65), *range(91, 97), *range(123, 127)), " ")


def three_letters(codes: Sequence[str]) -> tuple[str, ...]:
    """Language codes in their three-letter form."""
    return tuple(THREE_LETTERS.get(code, code) for code in codes)


def splits_article(text: str, languages: Sequence[str] | None) -> bool:
    """Whether the article of words in this text (of Arabic letters) is split off.

    `languages`: the ones the text may be in (three letters); None: any. A single one is taken at its word.
    """
    if languages is not None and len(languages) == 1:
        return languages[0] in _WITH_ARTICLE
    return guess(text, TRIGRAMS if languages is None else languages) in _WITH_ARTICLE


def guess(text: str, languages: Collection[str]) -> str | None:
    """The most likely of these languages in Arabic letters; None when there is none among them."""
    places = _ranked_trigrams(text)
    found: str | None = None
    best = 0
    for language in TRIGRAMS:
        if language in languages:
            distance = _distance(_profile(language), places)
            if found is None or distance < best:
                found, best = language, distance
    return found


@cache
def _profile(language: str) -> tuple[str, ...]:
    letters = TRIGRAMS[language]
    return tuple(letters[place : place + 3] for place in range(0, len(letters), 3))


def _ranked_trigrams(text: str) -> dict[str, int]:
    """Trigram -> rank by frequency; of equally frequent ones the greater goes first."""
    letters = f" {text.lower().translate(_STOPS)} "
    trigrams = [letters[place : place + 3] for place in range(len(letters) - 2)]
    counts = Counter(t for t in trigrams if t[1] != " " or (t[0] != " " and t[2] != " "))
    ranked = sorted(((count, trigram) for trigram, count in counts.items()), reverse=True)
    return {trigram: rank for rank, (_, trigram) in enumerate(ranked[:_TEXT_TRIGRAMS_MAX])}


def _distance(profile: Sequence[str], places: Mapping[str, int]) -> int:
    """The sum of differences in rank, less what a text too short for all trigrams must miss."""
    total = sum(
        abs(places[trigram] - rank) if trigram in places else _PROFILE for rank, trigram in enumerate(profile)
    )
    if len(places) < _PROFILE:
        total -= (_PROFILE - len(places)) * _PROFILE
    return min(max(total, 0), _PROFILE * _PROFILE)

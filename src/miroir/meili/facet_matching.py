"""Which facet values a facet query finds: by prefix of a strong normal form, give or take typos.

Source: reference/search-semantics.md, D.6.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from rapidfuzz.distance import OSA

from miroir.meili.folding import normalize_whole


class FacetMatcher:
    """One facet query against the values of one facet, under an index's settings."""

    def __init__(self, settings: Mapping[str, Any], facet: str, query: str) -> None:
        self._wanted = strong_form(query)
        tolerance = settings.get("typoTolerance") or {}
        exact_attributes = tolerance.get("disableOnAttributes") or ()
        tolerant = tolerance.get("enabled", True) and facet not in exact_attributes
        exact_words = {strong_form(word) for word in tolerance.get("disableOnWords") or ()}
        self._whole = bool(tolerant and self._wanted in exact_words)
        self._typos = _typos_allowed(self._wanted, tolerance) if tolerant else 0

    def matches(self, value: str) -> bool:
        """Whether the query finds a value, given in any spelling."""
        form = strong_form(value)
        if self._whole:
            return form == self._wanted
        return form.startswith(self._wanted) or (self._typos > 0 and self._nearly(form))

    def _nearly(self, form: str) -> bool:
        wanted, typos = self._wanted, self._typos
        lengths = range(max(0, len(wanted) - typos), min(len(form), len(wanted) + typos) + 1)
        return any(OSA.distance(wanted, form[:length], score_cutoff=typos) <= typos for length in lengths)


@lru_cache(maxsize=1 << 16)
def strong_form(text: str) -> str:
    """How facet search compares values; values come in the order of these."""
    return normalize_whole(text)


def _typos_allowed(query: str, tolerance: Mapping[str, Any]) -> int:
    sizes = tolerance.get("minWordSizeForTypos") or {}
    length = len(query.encode())
    if length < sizes.get("oneTypo", 5):
        return 0
    return 1 if length < sizes.get("twoTypos", 9) else 2

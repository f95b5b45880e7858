"""What an index's settings say about words: where they are searched, how they may be misspelt.

Derived once per settings; see semantics A.3, A.7 and A.10.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from miroir.engine.languages import three_letters
from miroir.meili.settings_rules import attribute_list, is_inside, matches_pattern

_NEVER_SEARCHED = ("_vectors", "_geo", "_geojson")


@dataclass(frozen=True, slots=True)
class TextRules:
    """`searchable` None means every attribute, all with weight 0."""

    searchable: tuple[str, ...] | None = None
    exact_attributes: tuple[str, ...] = ()
    exact_numbers: bool = False
    typos_enabled: bool = True
    one_typo_chars_min: int = 5
    two_typos_chars_min: int = 9
    words_without_typos: frozenset[str] = frozenset()
    prefix_search: bool = True
    by_attribute: bool = False
    #: (attribute patterns, languages in three letters); the first entry that matches a path counts
    localized: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ()

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> TextRules:
        """Read the rules from a full settings object; absent or null members mean the defaults."""
        searchable = attribute_list(settings, "searchableAttributes")
        typo = settings.get("typoTolerance") or {}
        sizes = typo.get("minWordSizeForTypos") or {}
        return cls(
            searchable=None if "*" in searchable else tuple(dict.fromkeys(searchable)),
            exact_attributes=tuple(typo.get("disableOnAttributes") or ()),
            exact_numbers=bool(typo.get("disableOnNumbers", False)),
            typos_enabled=_or_default(typo.get("enabled"), True),
            one_typo_chars_min=_or_default(sizes.get("oneTypo"), 5),
            two_typos_chars_min=_or_default(sizes.get("twoTypos"), 9),
            words_without_typos=frozenset(typo.get("disableOnWords") or ()),
            prefix_search=settings.get("prefixSearch") != "disabled",
            by_attribute=settings.get("proximityPrecision") == "byAttribute",
            localized=tuple(
                (tuple(entry["attributePatterns"]), three_letters(entry["locales"]))
                for entry in settings.get("localizedAttributes") or ()
            ),
        )

    def weight(self, path: str) -> int | None:
        """Rank of the first entry that covers the path, 0 being the best; None if it is not searchable."""
        if any(is_inside(path, name) for name in _NEVER_SEARCHED):
            return None
        if self.searchable is None:
            return 0
        return next((i for i, name in enumerate(self.searchable) if is_inside(path, name)), None)

    @property
    def max_weight(self) -> int | None:
        """Weight of the last searchable attribute of the settings; None when all are searchable."""
        return None if self.searchable is None else max(0, len(self.searchable) - 1)

    def is_exact_path(self, path: str) -> bool:
        """Whether words of this attribute are found only as written."""
        return any(is_inside(path, name) for name in self.exact_attributes)

    def languages(self, path: str) -> tuple[str, ...] | None:
        """The languages that texts of an attribute may be in; None when nothing is said of it."""
        for patterns, languages in self.localized:
            if any(matches_pattern(pattern, path) for pattern in patterns):
                return languages
        return None

    def typos_allowed(self, word: str) -> int:
        """How many typos (0 to 2) a query word may have."""
        if not self.typos_enabled or len(word) < self.one_typo_chars_min or word in self.words_without_typos:
            return 0
        return 1 if len(word) < self.two_typos_chars_min else 2


def _or_default(value: Any, default: Any) -> Any:
    return default if value is None else value


@dataclass(frozen=True, slots=True)
class Restriction:
    """Field numbers a search is limited to (attributesToSearchOn), by whether typos may reach them."""

    tolerant: frozenset[int] = frozenset()
    exact: frozenset[int] = frozenset()

    @property
    def fields(self) -> frozenset[int]:
        return self.tolerant | self.exact

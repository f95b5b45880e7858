"""Facet counts of shards added up, ordered and cut as one node would. reference: search-semantics D.5, D.6, H9.

Values are one after trimming, NFKD and lower-casing, so they are added by that normal form and not by the spelling
a shard happens to show. Nodes are given a larger `maxValuesPerFacet` than the client's; the cut is made here.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from miroir.core.reserved import is_reserved
from miroir.core.topology import IndexView
from miroir.meili.facet_forms import normal_facet
from miroir.meili.facet_matching import strong_form
from miroir.meili.settings_rules import AttributeRules, value_order

DEFAULT_MAX_VALUES = 100
#: Documents have it, facets do not.
_WITHOUT_VALUES = frozenset({"_vectors", "_geojson"})
#: What a node knows of a point.
_POINT = {"_geo.lat", "_geo.lng"}
#: Up to this many candidates a node sorts numbers as text.
_TEXT_ORDER_CANDIDATES = 3000

Distribution = dict[str, dict[str, int]]
Stats = dict[str, dict[str, float]]
#: (is a string, number or normal form): what makes two shown values one
ValueKey = tuple[bool, float | str]


class FacetSum:
    """Counts of several nodes, or of several requests, added up field by field.

    `index`: whose they are, where that is known; its order of values tells numbers from texts that look like some.
    """

    def __init__(self, index: IndexView | None = None) -> None:
        self._index = index
        self._counts: dict[str, dict[ValueKey, int]] = {}
        self._shown: dict[str, dict[ValueKey, tuple[int, str]]] = {}
        self._doubtful: dict[str, set[ValueKey]] = {}  #: values that nodes spell differently
        self._stats: Stats = {}
        self._reduced = False

    def add(
        self,
        distribution: Mapping[str, Mapping[str, int]],
        stats: Mapping[str, Mapping[str, float]],
        sign: int = 1,
    ) -> None:
        """Add (or, with `sign` -1, take off) one answer's counts."""
        self._reduced |= sign < 0
        for field, values in distribution.items():
            if is_reserved(field):
                continue
            counts = self._counts.setdefault(field, {})
            shown = self._shown.setdefault(field, {})
            bounds = stats.get(field)
            in_order = self._index is not None and facet_order(self._index, field) == "alpha"
            for text, key in _typed(values, bounds, in_order=in_order):
                count = values[text]
                counts[key] = counts.get(key, 0) + sign * count
                if sign > 0:
                    before = shown.get(key)
                    if before is not None and before[1] != text:
                        self._doubtful.setdefault(field, set()).add(key)
                    if before is None or before[0] < count:
                        shown[key] = (count, text)
        if sign > 0:
            for field, bounds in stats.items():
                if is_reserved(field):
                    continue
                known = self._stats.get(field)
                if known is None:
                    self._stats[field] = dict(bounds)
                else:
                    known["min"] = min(known["min"], bounds["min"])
                    known["max"] = max(known["max"], bounds["max"])

    def values(self, field: str) -> Mapping[ValueKey, int]:
        """Counts by value of one field, those above zero."""
        return {key: count for key, count in self._counts.get(field, {}).items() if count > 0}

    def doubtful(self, index: IndexView, candidates: int, asked: Sequence[str]) -> list[tuple[str, str]]:
        """(field, some spelling) of values that will be shown but that nodes spell differently."""
        return [
            (field, self._shown[field][key][1])
            for field, keys in sorted(self._doubtful.items())
            for key, _ in self._chosen(field, index, candidates, asked)
            if key in keys
        ]

    def spell(self, field: str, text: str) -> None:
        """Show a value as `text`."""
        self._shown[field][True, normal_facet(text)] = (0, text)

    def strings(self, field: str) -> dict[str, tuple[int, str]]:
        """Strings of one field: normal form -> count, spelling."""
        shown = self._shown.get(field, {})
        return {
            str(key): (count, shown[is_string, key][1])
            for (is_string, key), count in self.values(field).items()
            if is_string
        }

    def distribution(
        self, index: IndexView, candidates: int, asked: Sequence[str] = ("*",), *, without: str | None = None
    ) -> Distribution:
        """What the client sees: fields by name, values ordered and cut.

        `asked` are the facets of the request: a field that comes only with a parent of its does not follow
        `sortFacetValuesBy`. `without` is a field nobody asked for.
        """
        return {
            field: {
                self._shown[field][key][1]: count
                for key, count in self._chosen(field, index, candidates, asked)
            }
            for field in sorted(self._counts.keys() | _known(index, asked))
            if field != without
        }

    def stats(self, *, without: str | None = None) -> Stats:
        """Least and greatest number of each field that has one."""
        bounds = self._stats
        if self._reduced:  # a bound may have gone with the documents taken off
            bounds = {}
            for field in self._stats:
                numbers = [float(key[1]) for key in self.values(field) if not key[0]]
                if numbers:
                    bounds[field] = {"min": min(numbers), "max": max(numbers)}
        return {field: bounds[field] for field in sorted(bounds) if field != without}

    def _chosen(
        self, field: str, index: IndexView, candidates: int, asked: Sequence[str]
    ) -> list[tuple[ValueKey, int]]:
        """Values in their order, up to the limit, with their counts."""
        limit = max_values(index)
        by_count = facet_order(index, field) == "count" and any(_names(name, field) for name in asked)
        counted = [(key, count) for key, count in self._counts.get(field, {}).items() if count > 0]
        numbers = [item for item in counted if not item[0][0]]
        strings = [item for item in counted if item[0][0]]
        if by_count:
            numbers.sort(key=lambda item: (item[1], item[0][1]), reverse=True)
            strings.sort(key=lambda item: (item[1], item[0][1]), reverse=True)
        else:
            if candidates <= _TEXT_ORDER_CANDIDATES:
                shown = self._shown.get(field, {})
                numbers.sort(key=lambda item: shown[item[0]][1])
            else:
                numbers.sort(key=lambda item: item[0][1])
            strings.sort(key=lambda item: item[0][1])
        exact_cut = not by_count and candidates <= _TEXT_ORDER_CANDIDATES
        if len(numbers) < limit or exact_cut:
            strings = strings[: max(0, limit - len(numbers))]
        # else: numbers alone reach the limit, and then a node forgets to cut the strings
        return numbers[:limit] + strings


def _known(index: IndexView, asked: Sequence[str]) -> set[str]:
    """Requested top-level fields that some document had: they have an entry also where no node remembers them.

    (A node sees what is left of operations that reached it together, and no document that was on other nodes.)
    """
    if len(index.field_order) < 2 or not index.settings.get("filterableAttributes"):
        return set()
    rules = AttributeRules(index.settings)
    found = {
        name
        for name in index.field_order
        if name not in _WITHOUT_VALUES
        and any(_names(each, name) for each in asked)
        and rules.is_filterable(name)
    }
    return found | (_POINT if "_geo" in found else set())


def _names(pattern: str, field: str) -> bool:
    """Whether a requested facet names the field itself."""
    if pattern.startswith("*") and pattern.endswith("*"):
        return pattern == "*" or pattern[1:-1] in field
    if pattern.startswith("*"):
        return field.endswith(pattern[1:])
    return field.startswith(pattern[:-1]) if pattern.endswith("*") else field == pattern


def _typed(
    values: Mapping[str, int], bounds: Mapping[str, float] | None, *, in_order: bool
) -> Iterable[tuple[str, ValueKey]]:
    """Shown values with their keys. Numbers stand before strings, and only a field with stats has any.

    `in_order`: not by counts, but as texts or as numbers.
    """
    numbers_over = bounds is None
    before = ("", -math.inf)
    for text in values:
        if not numbers_over:
            number = _number(text)
            if number is not None and bounds is not None and bounds["min"] <= number <= bounds["max"]:
                numbers_over = in_order and text < before[0] and number < before[1]
                before = (text, number)
            else:
                numbers_over = True
            if not numbers_over and number is not None:
                yield text, (False, number)
                continue
        yield text, (True, normal_facet(text))


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if "_" not in text and text.strip() == text else None


def max_values(index: IndexView) -> int:
    """The client's `faceting.maxValuesPerFacet`."""
    value = (index.settings.get("faceting") or {}).get("maxValuesPerFacet")
    return DEFAULT_MAX_VALUES if value is None else int(value)


def facet_order(index: IndexView, field: str) -> str:
    """`alpha` or `count` for a field: its own entry, or that of `*`."""
    return value_order(index.settings, field)


class FacetHits:
    """Facet search: values of all nodes summed, ordered, cut.

    Values come in the order of their normal form; those that match a query in the order of a stronger one.
    """

    def __init__(self, *, queried: bool) -> None:
        self._queried = queried
        self._counts: dict[str, int] = {}
        self._shown: dict[str, tuple[int, str]] = {}
        self._doubtful: set[str] = set()

    def add(self, value: str, count: int) -> None:
        """One value as a node shows it."""
        key = normal_facet(value)
        self._counts[key] = self._counts.get(key, 0) + count
        known = self._shown.get(key)
        if known is not None and known[1] != value:
            self._doubtful.add(key)
        if known is None or known[0] < count:
            self._shown[key] = (count, value)

    def see(self, value: str) -> None:
        """A spelling that some document has, which need not be among those counted."""
        key = normal_facet(value)
        known = self._shown.get(key)
        if known is not None and known[1] != value:
            self._doubtful.add(key)

    def recount(self, counted: Mapping[str, tuple[int, str]]) -> None:
        """Other values: normal form -> count, spelling."""
        self._counts = {key: count for key, (count, _) in counted.items()}
        self._shown = {**counted, **{key: each for key, each in self._shown.items() if key in counted}}

    def doubtful(self, index: IndexView, facet: str) -> list[str]:
        """Spellings of the values that will be shown but that nodes spell differently."""
        return [self._shown[key][1] for key in self._chosen(index, facet) if key in self._doubtful]

    def spell(self, text: str) -> None:
        """Show a value as `text`."""
        self._shown[normal_facet(text)] = (0, text)

    def hits(self, index: IndexView, facet: str) -> list[dict[str, Any]]:
        """What the client sees."""
        return [
            {"value": self._shown[key][1], "count": self._counts[key]} for key in self._chosen(index, facet)
        ]

    def _chosen(self, index: IndexView, facet: str) -> list[str]:
        limit = max_values(index)
        keys = sorted(self._counts)
        if self._queried:
            keys.sort(key=strong_form)
        if facet_order(index, facet) != "count":
            return keys[:limit]
        # A full heap gives up its worst member for any later value that is at least as frequent.
        heap: list[tuple[int, str, str]] = []
        for key in keys:
            entry = (self._counts[key], self._shown[key][1], key)
            if len(heap) < limit:
                heapq.heappush(heap, entry)
            elif heap and heap[0][0] <= entry[0]:
                heapq.heapreplace(heap, entry)
        return [key for _, _, key in sorted(heap, reverse=True)]

"""Facet counts of shards added up, ordered and cut as one node would. reference: search-semantics D.5, D.6, H9.

Values are one after trimming, NFKD and lower-casing, so they are added by that normal form and not by the spelling
a shard happens to show. Nodes are given a larger `maxValuesPerFacet` than the client's; the cut is made here.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from miroir.core.reserved import is_reserved
from miroir.core.topology import IndexView

DEFAULT_MAX_VALUES = 100
#: Up to this many candidates a node sorts numbers as text.
_TEXT_ORDER_CANDIDATES = 3000

Distribution = dict[str, dict[str, int]]
Stats = dict[str, dict[str, float]]
#: (is a string, number or normal form): what makes two shown values one
ValueKey = tuple[bool, float | str]


def normal_form(value: str) -> str:
    """How a node compares facet strings."""
    stripped = value.strip()
    return stripped.lower() if stripped.isascii() else unicodedata.normalize("NFKD", stripped).lower()


class FacetSum:
    """Counts of several nodes, or of several requests, added up field by field."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[ValueKey, int]] = {}
        self._shown: dict[str, dict[ValueKey, tuple[int, str]]] = {}
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
            for text, key in _typed(values, bounds):
                count = values[text]
                counts[key] = counts.get(key, 0) + sign * count
                if sign > 0 and (key not in shown or shown[key][0] < count):
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

    def distribution(self, index: IndexView, candidates: int, *, without: str | None = None) -> Distribution:
        """What the client sees: fields by name, values ordered and cut. `without` is a field nobody asked for."""
        return {
            field: self._ordered(field, index, candidates)
            for field in sorted(self._counts)
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

    def _ordered(self, field: str, index: IndexView, candidates: int) -> dict[str, int]:
        limit, order = max_values(index), facet_order(index, field)
        shown = self._shown[field]
        counted = [(key, count) for key, count in self._counts[field].items() if count > 0]
        numbers = [item for item in counted if not item[0][0]]
        strings = [item for item in counted if item[0][0]]
        if order == "count":
            numbers.sort(key=lambda item: (item[1], item[0][1]), reverse=True)
            strings.sort(key=lambda item: (item[1], item[0][1]), reverse=True)
        else:
            if candidates <= _TEXT_ORDER_CANDIDATES:
                numbers.sort(key=lambda item: shown[item[0]][1])
            else:
                numbers.sort(key=lambda item: item[0][1])
            strings.sort(key=lambda item: item[0][1])
        exact_cut = order == "alpha" and candidates <= _TEXT_ORDER_CANDIDATES
        if len(numbers) < limit or exact_cut:
            strings = strings[: max(0, limit - len(numbers))]
        # else: numbers alone reach the limit, and then a node forgets to cut the strings
        result: dict[str, int] = {}
        for key, count in numbers[:limit] + strings:
            result[shown[key][1]] = count
        return result


def _typed(values: Mapping[str, int], bounds: Mapping[str, float] | None) -> Iterable[tuple[str, ValueKey]]:
    """Shown values with their keys. Numbers stand before strings, and only a field with stats has any."""
    numbers_over = bounds is None
    for text in values:
        if not numbers_over:
            number = _number(text)
            if number is not None and bounds is not None and bounds["min"] <= number <= bounds["max"]:
                yield text, (False, number)
                continue
            numbers_over = True
        yield text, (True, normal_form(text))


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
    """`alpha` or `count` for a field: its own entry, the longest pattern that fits it, or `*`."""
    orders = (index.settings.get("faceting") or {}).get("sortFacetValuesBy") or {}
    if field in orders:
        return str(orders[field])
    fitting = [
        name
        for name in orders
        if name != "*"
        and (
            (name.endswith("*") and field.startswith(name[:-1]))
            or (name.startswith("*") and field.endswith(name[1:]))
        )
    ]
    if fitting:
        return str(orders[max(fitting, key=len)])
    return str(orders.get("*", "alpha"))


def merge_facet_hits(
    answers: Sequence[Sequence[Mapping[str, Any]]], index: IndexView, facet: str
) -> list[dict[str, Any]]:
    """Facet search: values of all nodes summed, ordered, cut."""
    counts: dict[str, int] = {}
    shown: dict[str, tuple[int, str]] = {}
    for hits in answers:
        for hit in hits:
            key = normal_form(hit["value"])
            counts[key] = counts.get(key, 0) + hit["count"]
            if key not in shown or shown[key][0] < hit["count"]:
                shown[key] = (hit["count"], hit["value"])
    keys = sorted(counts)
    if facet_order(index, facet) == "count":
        keys.sort(key=lambda key: (counts[key], key), reverse=True)
    return [{"value": shown[key][1], "count": counts[key]} for key in keys[: max_values(index)]]

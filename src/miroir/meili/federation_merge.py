"""How lists of hits, and facets of several indexes, become one: the parts of a federation that are no ranking.

Source: search-semantics G.1, G.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import orjson

from miroir.meili.facet_forms import normal_facet

T = TypeVar("T")
Distribution = dict[str, dict[str, int]]
Stats = dict[str, dict[str, float]]
#: (is a number, its JSON text or the normal form of a string): what makes two values one
HitValue = tuple[bool, str]


def merge_lists(lists: Iterable[Sequence[T]], stands_before: Callable[[T, T], bool]) -> Iterator[T]:
    """One list, head against head; the order inside a list is never changed.

    The comparison of hits is no total order (G.1), so what comes out depends on who is compared with whom: a binary
    heap with one place per list, as the server has it.
    """
    heads = [_Head(hits) for hits in lists if hits]

    def before(one: int, other: int) -> bool:
        return stands_before(heads[one].value, heads[other].value)

    def settle(place: int) -> None:
        child = 2 * place + 1
        while child + 1 < len(heads):
            child += before(child + 1, child)
            if not before(child, place):
                return
            heads[place], heads[child] = heads[child], heads[place]
            place, child = child, 2 * child + 1
        if child + 1 == len(heads) and before(child, place):
            heads[place], heads[child] = heads[child], heads[place]

    for place in reversed(range(len(heads) // 2)):
        settle(place)
    while heads:
        best = heads[0]
        yield best.value
        if not best.advance():
            heads[0] = heads[-1]
            heads.pop()
        if heads:
            settle(0)


class _Head:
    """The place a list has been read to."""

    __slots__ = ("_hits", "_place")

    def __init__(self, hits: Sequence[Any]) -> None:
        self._hits = hits
        self._place = 0

    @property
    def value(self) -> Any:
        return self._hits[self._place]

    def advance(self) -> bool:
        self._place += 1
        return self._place < len(self._hits)


# --- values of hits -------------------------------------------------------------------------------


def hit_values(document: Mapping[str, Any], path: str) -> list[HitValue]:
    """Numbers, strings and booleans at a path of a document, in the order found.

    Numbers are one only if they are written alike: `1` is not `1.0`.
    """
    found: list[HitValue] = []
    _collect(document, path, found)
    return found


def _collect(document: Mapping[str, Any], path: str, found: list[HitValue]) -> None:
    if path in document:
        value = document[path]
        for leaf in value if isinstance(value, list) else (value,):
            _leaf(leaf, found)
    place = path.rfind(".")
    while place >= 0:
        below = document.get(path[:place])
        for part in below if isinstance(below, list) else (below,):
            if isinstance(part, dict):
                _collect(part, path[place + 1 :], found)
        place = path.rfind(".", 0, place)


def _leaf(value: Any, found: list[HitValue]) -> None:
    if isinstance(value, str):
        found.append((False, normal_facet(value)))
    elif isinstance(value, bool):
        found.append((False, "true" if value else "false"))
    elif isinstance(value, int | float):
        found.append((True, orjson.dumps(value).decode()))


# --- facets ---------------------------------------------------------------------------------------


def without_documents(distribution: Distribution, documents: Sequence[Mapping[str, Any]]) -> Distribution:
    """The distribution with the values of documents taken off; values that reach 0 vanish."""
    return {path: _taken_off(path, values, documents) for path, values in distribution.items()}


def _taken_off(
    path: str, values: Mapping[str, int], documents: Sequence[Mapping[str, Any]]
) -> dict[str, int]:
    left = dict(values)
    shown = {normal: text for text in values if (normal := normal_facet(text)) != text}
    touched = False
    for document in documents:
        for is_number, form in hit_values(document, path):
            key = form if is_number else shown.get(form, form)
            if key in left:
                left[key] = max(0, left[key] - 1)
                touched = touched or not left[key]
    return {text: count for text, count in left.items() if count} if touched else left


def merge_facets(
    parts: Iterable[tuple[Mapping[str, Mapping[str, int]], Mapping[str, Mapping[str, float]]]],
    orders: Mapping[str, str],
    limit: int | None,
) -> tuple[Distribution, Stats]:
    """Counts summed by shown value, ordered (`alpha` or `count` by facet) and cut anew; widest stats."""
    sums: Distribution = {}
    stats: Stats = {}
    for distribution, part_stats in parts:
        for facet, values in distribution.items():
            merged = sums.setdefault(facet, {})
            for value, count in values.items():
                merged[value] = merged.get(value, 0) + count
        for facet, bounds in part_stats.items():
            known = stats.get(facet, bounds)
            stats[facet] = {"min": min(known["min"], bounds["min"]), "max": max(known["max"], bounds["max"])}
    for facet, values in sums.items():
        if orders.get(facet, "alpha") == "count":
            ordered = sorted(values.items(), key=lambda pair: -pair[1])
        else:
            ordered = sorted(values.items(), key=lambda pair: pair[0].encode())
        sums[facet] = dict(ordered[:limit])
    return dict(sorted(sums.items())), dict(sorted(stats.items()))

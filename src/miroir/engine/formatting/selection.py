"""Picking parts of a document by dotted path, and visiting its leaves.

A selector names a field, a nested path, or a literal key with dots; selecting a parent selects everything
below. Arrays are transparent: their objects are filtered, other elements dropped when a sub path is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from miroir.meili.settings_rules import is_inside

JsonObject = dict[str, Any]
#: (path, indices of the arrays around the value, value) -> new value
LeafMapper = Callable[[str, tuple[int, ...], Any], Any]


def select_values(document: Mapping[str, Any], selectors: Iterable[str]) -> JsonObject:
    """The selected parts of a document, in the document's order of keys."""
    wanted = set(selectors)
    if not any("." in selector for selector in wanted):
        return {key: value for key, value in document.items() if key in wanted}
    return _select_in_object(document, wanted)


def _select_in_object(document: Mapping[str, Any], selectors: set[str]) -> JsonObject:
    chosen: JsonObject = {}
    for key, value in document.items():
        if key in selectors:
            chosen[key] = value
            continue
        prefix = key + "."
        below = {selector[len(prefix) :] for selector in selectors if selector.startswith(prefix)}
        if not below:
            continue
        if isinstance(value, dict):
            chosen[key] = _select_in_object(value, below)
        elif isinstance(value, list):
            chosen[key] = _select_in_array(value, below)
    return chosen


def _select_in_array(values: Sequence[Any], selectors: set[str]) -> list[Any]:
    chosen: list[Any] = []
    for value in values:
        if isinstance(value, dict):
            part = _select_in_object(value, selectors)
            if part:
                chosen.append(part)
        elif isinstance(value, list):
            chosen.append(_select_in_array(value, selectors))
    return chosen


def is_related(path: str, selectors: Collection[str]) -> bool:
    """Whether a selector is the path, a parent of it, or below it."""
    return path in selectors or any(is_inside(s, path) or is_inside(path, s) for s in selectors)


def map_leaves(document: Mapping[str, Any], selectors: Collection[str], mapper: LeafMapper) -> JsonObject:
    """A copy of the document in which `mapper` replaced every leaf at or below (or above) a selector."""
    return _map_object(document, selectors, "", (), mapper)


def _map_object(
    document: Mapping[str, Any],
    selectors: Collection[str],
    base: str,
    indices: tuple[int, ...],
    mapper: LeafMapper,
) -> JsonObject:
    mapped: JsonObject = {}
    for key, value in document.items():
        path = f"{base}.{key}" if base else key
        mapped[key] = (
            _map_value(value, selectors, path, indices, mapper) if is_related(path, selectors) else value
        )
    return mapped


def _map_value(
    value: Any, selectors: Collection[str], path: str, indices: tuple[int, ...], mapper: LeafMapper
) -> Any:
    if isinstance(value, dict):
        return _map_object(value, selectors, path, indices, mapper)
    if isinstance(value, list):
        return [
            _map_value(element, selectors, path, (*indices, position), mapper)
            for position, element in enumerate(value)
        ]
    return mapper(path, indices, value)

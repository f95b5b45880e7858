"""Visiting the leaves of a document that dotted paths select."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from miroir.meili.settings_rules import is_inside

JsonObject = dict[str, Any]
#: (path, indices of the arrays around the value, value) -> new value
LeafMapper = Callable[[str, tuple[int, ...], Any], Any]


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

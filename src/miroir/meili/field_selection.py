"""Picking parts of a document by dotted path. Source: search-semantics E.1, E.2.

A selector names a field or a nested path; selecting a parent selects everything below. Arrays are transparent.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from miroir.meili.settings_rules import is_inside

JsonObject = dict[str, Any]


def retrieve(document: Mapping[str, Any], selectors: Collection[str]) -> JsonObject:
    """What a hit shows of a document: only members of objects are left out.

    What is no object where a path goes on, and objects of which nothing is left, stay as they are.
    """
    if not any("." in selector for selector in selectors):
        return {key: value for key, value in document.items() if key in selectors}
    return {
        key: _cut(value, key, selectors)
        for key, value in document.items()
        if any(is_inside(selector, key) for selector in selectors)
    }


def _cut(value: Any, path: str, selectors: Collection[str]) -> Any:
    if path in selectors:
        return value
    if isinstance(value, list):
        return [_cut(element, path, selectors) for element in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _cut(inner, below, selectors)
        for key, inner in value.items()
        if _is_related(below := f"{path}.{key}", selectors)
    }


def _is_related(path: str, selectors: Collection[str]) -> bool:
    return any(is_inside(path, selector) or is_inside(selector, path) for selector in selectors)


def select_values(document: Mapping[str, Any], selectors: Iterable[str]) -> JsonObject:
    """What a formatted hit shows: elements of arrays that are no objects, or of which nothing is left, are dropped."""
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

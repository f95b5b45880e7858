"""What one document contributes to the facet tables: a pure function of the document and the attribute rules.

Values are read by dotted path (reference: search-semantics A.2 and A.8). Arrays are transparent, objects
contribute through their children, `_vectors` and `_geojson` never, `_geo` only as `_geo.lat` and `_geo.lng`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from miroir.engine.attribute_rules import GEO_FIELD, AttributeRules
from miroir.meili.facet_forms import normal_facet
from miroir.meili.geo_field import finite_float
from miroir.meili.geojson import GEOJSON_FIELD

#: Facet string keys are cut here, in bytes of UTF-8 at a character boundary.
KEY_BYTES_MAX = 468
VECTORS_FIELD = "_vectors"
_NOT_TOP_LEVEL = frozenset({VECTORS_FIELD, GEO_FIELD, GEOJSON_FIELD})


@dataclass(frozen=True, slots=True)
class PathValues:
    """The values of one document at one path. `strings` maps key -> original spelling (the last one)."""

    numbers: tuple[float, ...] = ()
    strings: Mapping[str, str] = field(default_factory=dict)
    is_null: bool = False
    is_empty: bool = False


class _Collected:
    __slots__ = ("is_empty", "is_null", "numbers", "strings")

    def __init__(self) -> None:
        self.numbers: set[float] = set()
        self.strings: dict[str, str] = {}
        self.is_null = False
        self.is_empty = False


def facet_key(text: str) -> str:
    """`normal_facet` cut to the length that the tables keep."""
    key = normal_facet(text)
    if len(key) * 4 <= KEY_BYTES_MAX:
        return key
    raw = key.encode("utf-8", "surrogatepass")
    return key if len(raw) <= KEY_BYTES_MAX else raw[:KEY_BYTES_MAX].decode("utf-8", "ignore")


def document_values(document: Mapping[str, Any], rules: AttributeRules) -> dict[str, PathValues]:
    """All faceted paths of a document with their values; a path is present when any value stands there."""
    found: dict[str, _Collected] = {}
    for name, value in document.items():
        if name not in _NOT_TOP_LEVEL:
            _visit(name, value, rules, found, on_key=True)
    point = _stored_point(document) if rules.has_geo else None
    if point is not None:
        for axis, number in zip(("lat", "lng"), point, strict=True):
            path = f"{GEO_FIELD}.{axis}"
            if rules.is_faceted(path):
                found.setdefault(path, _Collected()).numbers.add(number)
    return {
        path: PathValues(tuple(sorted(c.numbers)), c.strings, c.is_null, c.is_empty)
        for path, c in found.items()
    }


def _visit(
    path: str, value: Any, rules: AttributeRules, found: dict[str, _Collected], *, on_key: bool
) -> None:
    if rules.is_faceted(path):
        slot = found.get(path)
        if slot is None:
            slot = found[path] = _Collected()
        _collect(slot, value, on_key=on_key)
    if isinstance(value, dict):
        for key, child in value.items():
            _visit(f"{path}.{key}", child, rules, found, on_key=True)
    elif isinstance(value, list):
        for element in value:
            _visit_element(path, element, rules, found)


def _visit_element(path: str, value: Any, rules: AttributeRules, found: dict[str, _Collected]) -> None:
    if isinstance(value, dict):
        for key, child in value.items():
            _visit(f"{path}.{key}", child, rules, found, on_key=True)
    elif isinstance(value, list):
        for element in value:
            _visit_element(path, element, rules, found)
    elif rules.is_faceted(path):
        _collect(found.setdefault(path, _Collected()), value, on_key=False)


def _collect(slot: _Collected, value: Any, *, on_key: bool) -> None:
    if isinstance(value, bool):
        text = "true" if value else "false"
        slot.strings[text] = text
    elif isinstance(value, int | float):
        number = float(value)
        if math.isfinite(number):
            slot.numbers.add(number + 0.0)
    elif isinstance(value, str) and value:
        slot.strings[facet_key(value)] = value
    elif on_key:
        if value is None:
            slot.is_null = True
        elif not value:
            slot.is_empty = True


# --- points -------------------------------------------------------------------------------------


def compact_json(value: Any) -> str:
    """JSON as error messages show it: no blanks, characters as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _stored_point(document: Mapping[str, Any]) -> tuple[float, float] | None:
    geo = document.get(GEO_FIELD)
    if not isinstance(geo, dict):
        return None
    lat, lng = finite_float(geo.get("lat")), finite_float(geo.get("lng"))
    return None if lat is None or lng is None else (lat, lng)


def points_of(documents: Sequence[tuple[int, Mapping[str, Any]]]) -> dict[int, tuple[float, float]]:
    """Points of documents that were validated when they were stored."""
    points = {}
    for docid, document in documents:
        point = _stored_point(document)
        if point is not None:
            points[docid] = point
    return points

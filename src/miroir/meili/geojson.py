"""Reading `_geojson` of a document: what it is made of, or the refusal in the server's words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from miroir.meili.codes import ApiError
from miroir.meili.refusals import compact_json

GEOJSON_FIELD = "_geojson"

#: (longitude, latitude) in degrees
Position = tuple[float, float]
Line = tuple[Position, ...]

_CODE = "invalid_document_geo_field"
_NESTING_MAX = 100


@dataclass(slots=True)
class Shape:
    """Geometries of one document. A polygon is its outer ring and its holes; rings need not be closed."""

    points: list[Position] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    polygons: list[tuple[Line, ...]] = field(default_factory=list)


def document_shape(document: Mapping[str, Any]) -> Shape | None:
    """What is in `_geojson`; None when the document has none.

    Raises:
        ApiError: `invalid_document_geo_field`, or `internal` for a polygon without corners.
    """
    if GEOJSON_FIELD not in document:
        return None
    shape = Shape()
    _add_object(shape, document[GEOJSON_FIELD])
    return shape


def _refusal(message: str) -> ApiError:
    return ApiError(_CODE, message)


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _refusal(f"Expected an owned Object, but got `{compact_json(value)}`")
    return value


def _type_of(found: Mapping[str, Any]) -> str:
    name = found.get("type")
    if not isinstance(name, str):
        raise _refusal("Encountered an unknown 'geometry' object type: `type`")
    return name


def _member(found: Mapping[str, Any], name: str) -> Any:
    if name not in found:
        raise _refusal(f"Expected a GeoJSON property for `{name}`, but got None")
    return found[name]


def _add_object(shape: Shape, value: Any) -> None:
    found = _object(value)
    name = _type_of(found)
    if name == "Feature":
        _add_feature(shape, found)
    elif name == "FeatureCollection":
        for feature in _array(_member(found, "features")):
            _add_feature(shape, _object(feature))
    elif name in _READERS or name == "GeometryCollection":
        _add_geometry(shape, found, 0)
    else:
        raise _refusal("Expected a Feature, FeatureCollection, or Geometry, but got an empty type")


def _add_feature(shape: Shape, found: dict[str, Any]) -> None:
    if (name := _type_of(found)) != "Feature":
        raise _refusal(f"Expected type `Feature`, but found `{name}`")
    geometry = _member(found, "geometry")
    properties = found.get("properties")
    if geometry is not None and not isinstance(geometry, dict):
        raise _refusal(
            "Encountered neither object type nor null type for 'geometry' field on 'feature' object: "
            f"`{compact_json(geometry)}`"
        )
    if properties is not None and not isinstance(properties, dict):
        raise _refusal(
            f"Encountered neither object type nor null type for 'properties' object: `{compact_json(properties)}`"
        )
    if geometry is None:
        raise _refusal(
            f"Attempted to a convert a feature without a geometry into a geo_types::Geometry: `{compact_json(found)}`"
        )
    _add_geometry(shape, geometry, 0)


def _add_geometry(shape: Shape, found: dict[str, Any], depth: int) -> None:
    name = _type_of(found)
    if name == "GeometryCollection":
        if depth > _NESTING_MAX:
            raise _refusal("recursion limit exceeded")
        for geometry in _array(_member(found, "geometries")):
            _add_geometry(shape, _object(geometry), depth + 1)
        return
    read = _READERS.get(name)
    if read is None:
        raise _refusal(f"Encountered an unknown 'geometry' object type: `{name}`")
    read(shape, _member(found, "coordinates"))


def _array(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _refusal("Expected an Array value, but got `None`")
    return value


def _position(value: Any) -> Position:
    numbers = _array(value)
    if len(numbers) < 2:
        raise _refusal(f"A position must contain two or more elements, but got `{len(numbers)}`")
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise _refusal("Expected a floating-point value, but got None")
    return float(numbers[0]), float(numbers[1])


def _line(value: Any) -> Line:
    return tuple(map(_position, _array(value)))


def _polygon(value: Any) -> tuple[Line, ...]:
    rings = tuple(map(_line, _array(value)))
    if not rings or not all(rings):
        raise ApiError("internal", "invalid ring (not enough coordinate)")
    return rings


_READERS = {
    "Point": lambda shape, value: shape.points.append(_position(value)),
    "MultiPoint": lambda shape, value: shape.points.extend(_line(value)),
    "LineString": lambda shape, value: shape.lines.append(_line(value)),
    "MultiLineString": lambda shape, value: shape.lines.extend(map(_line, _array(value))),
    "Polygon": lambda shape, value: shape.polygons.append(_polygon(value)),
    "MultiPolygon": lambda shape, value: shape.polygons.extend(map(_polygon, _array(value))),
}

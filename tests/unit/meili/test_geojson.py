"""`_geojson` of documents: what is read from it, and the words it is refused with."""

from typing import Any

import pytest

from miroir.meili.codes import ApiError
from miroir.meili.geojson import document_shape

_POINT = {"type": "Point", "coordinates": [1, 2, 3]}
_RING = [[0, 0], [0, 1], [1, 1]]


@pytest.mark.parametrize(
    ("value", "points", "lines", "polygons"),
    [
        (_POINT, [(1, 2)], 0, 0),
        ({"type": "Feature", "geometry": _POINT}, [(1, 2)], 0, 0),
        (
            {"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": _POINT}] * 2},
            [(1, 2)] * 2,
            0,
            0,
        ),
        ({"type": "MultiPoint", "coordinates": []}, [], 0, 0),
        ({"type": "LineString", "coordinates": _RING}, [], 1, 0),
        ({"type": "MultiPolygon", "coordinates": [[_RING], [_RING, _RING]]}, [], 0, 2),
        (
            {
                "type": "GeometryCollection",
                "geometries": [_POINT, {"type": "MultiLineString", "coordinates": [_RING]}],
            },
            [(1, 2)],
            1,
            0,
        ),
    ],
)
def test_shapes_are_read(value: Any, points: list[Any], lines: int, polygons: int) -> None:
    shape = document_shape({"_geojson": value})
    assert shape is not None
    assert (shape.points, len(shape.lines), len(shape.polygons)) == (points, lines, polygons)


def test_a_document_without_has_none() -> None:
    assert document_shape({"id": 1}) is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "Expected an owned Object, but got `null`"),
        ("x", 'Expected an owned Object, but got `"x"`'),
        ({}, "Encountered an unknown 'geometry' object type: `type`"),
        ({"type": "Nope"}, "Expected a Feature, FeatureCollection, or Geometry, but got an empty type"),
        ({"type": "Point"}, "Expected a GeoJSON property for `coordinates`, but got None"),
        (
            {"type": "Point", "coordinates": [1]},
            "A position must contain two or more elements, but got `1`",
        ),
        ({"type": "Point", "coordinates": [1, None]}, "Expected a floating-point value, but got None"),
        ({"type": "Polygon", "coordinates": [[0, 0]]}, "Expected an Array value, but got `None`"),
        ({"type": "Feature"}, "Expected a GeoJSON property for `geometry`, but got None"),
        (
            {"type": "Feature", "geometry": None, "properties": None},
            "Attempted to a convert a feature without a geometry into a geo_types::Geometry: "
            '`{"type":"Feature","geometry":null,"properties":null}`',
        ),
        (
            {"type": "Feature", "geometry": _POINT, "properties": 5},
            "Encountered neither object type nor null type for 'properties' object: `5`",
        ),
        ({"type": "FeatureCollection", "features": [5]}, "Expected an owned Object, but got `5`"),
    ],
)
def test_what_is_no_shape_is_refused(value: Any, message: str) -> None:
    with pytest.raises(ApiError) as refusal:
        document_shape({"_geojson": value})
    assert (refusal.value.code, refusal.value.message) == ("invalid_document_geo_field", message)


def test_a_polygon_without_corners_is_what_the_server_calls_internal() -> None:
    with pytest.raises(ApiError) as refusal:
        document_shape({"_geojson": {"type": "Polygon", "coordinates": [[]]}})
    assert refusal.value.code == "internal"

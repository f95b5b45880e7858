"""Filters: the traps of typing and of unknown attributes, as observed on the real engine."""

from typing import Any

import pytest
from pyroaring import BitMap

from miroir.engine.facets import FacetIndex
from miroir.engine.filtering import filter_documents
from miroir.engine.index import Index
from miroir.meili.codes import ApiError
from miroir.meili.filters import parse

MIXED = [2, 10, 1, "1", "b", "B", "  b", "a", True, 1.5, [3, "x"], 1e21, "é", "e\u0301", "", None, {"k": 1}]
EVERYTHING = set(range(len(MIXED)))


def make(values: list[Any], settings: dict[str, Any]) -> Index:
    documents = {docid: {"id": docid, "f": value} for docid, value in enumerate(values)}
    facets = FacetIndex().updated(
        settings, [(docid, None, document) for docid, document in documents.items()]
    )
    return Index(settings=settings, documents=documents, facets=facets)


def select(text: str, settings: dict[str, Any] | None = None) -> set[int]:
    index = make(MIXED, settings or {"filterableAttributes": ["f", "unseen"]})
    return set(filter_documents(index, parse(text), BitMap(index.documents)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("f = 1", {2, 3}),
        ("f = B", {4, 5, 6}),
        ("f = e", set()),
        ("f > 1", {0, 1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}),
        ("f < b", {3, 7}),
        ("f EXISTS", EVERYTHING),
        ("f IS NULL", {15}),
        ("f IS EMPTY", {14}),
        ("f 3 TO 1", set()),
        ("f = TRUE", {8}),
        ("f STARTS WITH ''", EVERYTHING),
        ("f != 1", EVERYTHING - {2, 3}),
        ("unseen != 1", set()),
        ("NOT unseen = 1", EVERYTHING),
        ("unseen != 1 OR f = 1", {2, 3}),
    ],
)
def test_selects_as_observed(text: str, expected: set[int]) -> None:
    assert select(text) == expected


def test_attribute_that_is_not_filterable_names_the_patterns() -> None:
    with pytest.raises(ApiError, match=r"Attribute `zz` is not filterable\. Available .*: `f`, `unseen`"):
        select("f = 1 AND zz = 2")


EQUALITY_ONLY = {
    "filterableAttributes": [
        {
            "attributePatterns": ["f"],
            "features": {"facetSearch": False, "filter": {"equality": True, "comparison": False}},
        }
    ]
}


def test_operator_switched_off_is_refused_only_when_reached() -> None:
    assert select("f = nothing AND f > 1", EQUALITY_ONLY) == set()
    with pytest.raises(ApiError, match="Filter operator `>` is not allowed"):
        select("f = b AND f > 1", EQUALITY_ONLY)


def test_box_around_the_antimeridian_and_radius() -> None:
    settings = {"filterableAttributes": ["_geo"]}
    points = [{"lat": 0, "lng": 179}, {"lat": 0, "lng": "-179"}, {"lat": 0, "lng": 0}, None]
    documents = {docid: {"id": docid, "_geo": point} for docid, point in enumerate(points)}
    facets = FacetIndex().updated(
        settings, [(docid, None, document) for docid, document in documents.items()]
    )
    index = Index(settings=settings, documents=documents, facets=facets)
    wrapped = parse("_geoBoundingBox([10, -170], [-10, 170])")
    assert set(filter_documents(index, wrapped, BitMap(documents))) == {0, 1}
    near = parse("_geoRadius(0, 180, 120000)")
    assert set(filter_documents(index, near, BitMap(documents))) == {0, 1}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("_geoPolygon([0, 0], [0, 2.1], [2.2, 2.1])", {1}),
        ("_geoRadius(1, 1.2, 50000)", {1, 3}),
        ("_geoBoundingBox([2, 2], [0, 0])", {1, 3}),
        ("NOT _geoBoundingBox([2, 52], [0, 0])", {2}),
    ],
)
def test_geo_filters_find_shapes_beside_points(text: str, expected: set[int]) -> None:
    far = {"type": "LineString", "coordinates": [[50, 1], [51, 1]]}
    near = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1.3, 1.0]}, "properties": None}
    documents: dict[int, dict[str, Any]] = {
        0: {"id": 0, "_geojson": far},
        1: {"id": 1, "_geojson": near},
        2: {"id": 2},
        3: {"id": 3, "_geo": {"lat": 1, "lng": 1.2}},
    }
    changes = [(docid, None, document) for docid, document in documents.items()]
    settings = {"filterableAttributes": [{"attributePatterns": ["_geo", "_geojson"]}]}
    index = Index(settings=settings, documents=documents, facets=FacetIndex().updated(settings, changes))
    assert set(filter_documents(index, parse(text), BitMap(documents))) == expected


def test_a_polygon_needs_filterable_shapes() -> None:
    with pytest.raises(ApiError, match="Attribute `_geojson` is not filterable"):
        select("_geoPolygon([0, 0], [0, 2], [2, 2])", {"filterableAttributes": ["f", "_geo"]})

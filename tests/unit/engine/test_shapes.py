"""Shapes that meet an area: as a reference server was observed to find them, and what must hold of any."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miroir.engine.shapes import Area, Figure, bent, circle
from miroir.meili.geojson import Position, Shape

_SQUARE = ((-5.1, -5.2), (5.3, -5.4), (5.5, 5.6), (-5.7, 5.8))
_HOLE = ((-1.0, -1.0), (3.0, -1.0), (3.0, 3.0), (-1.0, 3.0))
_FIGURES = {
    "mid": Shape(points=[(1.01, 1.02)]),
    "bulge": Shape(points=[(1.03, 2.0002)]),
    "near": Shape(points=[(2.05, 1.07)]),
    "many": Shape(points=[(9, 9), (1, 1)]),
    "one corner": Shape(lines=[((1, 1),)]),
    "line across": Shape(lines=[((-1, 1), (3, 1))]),
    "line beside": Shape(lines=[((3, 3), (4, 4))]),
    "inside": Shape(polygons=[(((0.5, 0.5), (0.6, 0.5), (0.6, 0.6)),)]),
    "around": Shape(polygons=[(_SQUARE,)]),
    "around with a hole": Shape(polygons=[(_SQUARE, _HOLE)]),
    "beside": Shape(polygons=[(((3, 3), (4, 3), (4, 4)),)]),
    "far": Shape(polygons=[(((10, 40), (30, 40), (30, 50), (10, 50)),)]),
    "antimeridian": Shape(points=[(175.1, 1.3), (-175.2, 1.1)]),
}
_BOTH = {"mid", "many", "line across", "inside", "around", "around with a hole"}


@pytest.mark.parametrize(
    ("area", "found"),
    [
        (Area.of([(2.02, 2.01), (0.04, 2.01), (0.04, 0.03), (2.02, 0.03)]), {*_BOTH, "bulge"}),
        (circle((1, 1), 100_000, 125), _BOTH),
        (circle((1, 1), 157_000, 125), {*_BOTH, "bulge", "near"}),
        (circle((1, 1), 111_300, 4), _BOTH),
        (circle((45, 20), 1, 125), {"far"}),
        (Area.of([(15, 50.2), (16, 50.2), (16, 50.21)]), {"far"}),
        (Area.of([(15, 50.5), (16, 50.5), (16, 50.6)]), set()),
        (Area.of([(-170, 2), (170, 2), (170, 0), (-170, 0)]), set()),
    ],
)
def test_shapes_are_found_as_on_a_server(area: Area, found: set[str]) -> None:
    assert {name for name, shape in _FIGURES.items() if Figure.of(shape).meets(area)} == found


_degrees = st.floats(-1, 1, allow_subnormal=False)
_positions = st.tuples(_degrees, _degrees)
_far = st.tuples(st.floats(-60, 60), st.floats(-60, 60))


@given(st.lists(_positions, min_size=3, max_size=6, unique=True), _positions)
def test_a_point_is_where_the_smallest_circle_about_it_is(ring: list[Position], point: Position) -> None:
    area = Area.of(ring)
    if Figure.of(Shape(points=[point])).meets(area):
        around = [(point[0] + dx, point[1] + dy) for dx, dy in ((-0.01, -0.01), (0.01, -0.01), (0, 0.01))]
        assert Figure.of(Shape(polygons=[(tuple(around),)])).meets(area)


@given(
    st.lists(_positions, min_size=3, max_size=5, unique=True),
    st.lists(_positions, min_size=3, max_size=5, unique=True),
)
def test_of_two_areas_each_meets_the_other(one: list[Position], other: list[Position]) -> None:
    first = Figure.of(Shape(polygons=[(tuple(one),)])).meets(Area.of(other))
    assert first == Figure.of(Shape(polygons=[(tuple(other),)])).meets(Area.of(one))


@given(_far, _far)
def test_long_edges_get_corners_and_keep_their_ends(a: Position, b: Position) -> None:
    line = bent((a, b))
    assert (line[0], line[-1]) == (a, b)
    assert all(abs(p[0] - q[0]) < 1 and abs(p[1] - q[1]) < 1 for p, q in pairwise(line))

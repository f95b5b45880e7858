"""Shapes on the map: whether what a document's `_geojson` holds meets the area that a filter asks for.

Longitude and latitude are plane coordinates; edges that are long enough for it to matter are bent along great circles
first, as the reference does. As there, an area that goes around the antimeridian holds nothing, holes of polygons do not
count, and a line that only touches an area with its end is outside.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from miroir.engine.geo import EARTH_RADIUS_M, distance_m
from miroir.meili.geojson import Line, Position, Shape

#: Edges longer than this get corners in between; the chord of one is off by 2 metres at most.
_EDGE_M = 10_000.0
_HALF_TURN = 180.0


@dataclass(frozen=True, slots=True)
class Area:
    """A ring with its edges and box, made once for a filter or a part of a document."""

    ring: Line
    box: tuple[float, float, float, float]

    @staticmethod
    def of(ring: Sequence[Position]) -> Area:
        """The area inside a ring, closed or not."""
        if any(abs(a[0] - b[0]) > _HALF_TURN for a, b in _edges((*ring, ring[0]))):
            return Area((), (math.inf, math.inf, -math.inf, -math.inf))
        closed = bent((*ring, ring[0]))
        return Area(closed, _box(closed))

    def holds(self, point: Position) -> bool:
        """Whether a point is inside, by the number of edges east of it."""
        west, south, east, north = self.box
        x, y = point
        if not (west <= x <= east and south <= y <= north):
            return False
        inside = False
        for (ax, ay), (bx, by) in _edges(self.ring):
            if (ay > y) is not (by > y) and x < (bx - ax) * (y - ay) / (by - ay) + ax:
                inside = not inside
        return inside


@dataclass(frozen=True, slots=True)
class Figure:
    """A document's shape, ready to be asked."""

    points: tuple[Position, ...]
    lines: tuple[Line, ...]
    polygons: tuple[Area, ...]

    @staticmethod
    def of(shape: Shape) -> Figure:
        """With its long edges bent."""
        return Figure(
            tuple(shape.points),
            tuple(bent(line) for line in shape.lines if len(line) > 1),
            tuple(Area.of(outer) for outer, *_ in shape.polygons),
        )

    def meets(self, area: Area) -> bool:
        """Whether any part of it is in the area, or the area in it."""
        return (
            any(map(area.holds, self.points))
            or any(_line_meets(line, area) for line in self.lines)
            or any(_polygon_meets(polygon, area) for polygon in self.polygons)
        )


def circle(centre: tuple[float, float], radius_m: float, corners: int) -> Area:
    """A circle about (latitude, longitude), as a ring of so many corners."""
    return Area.of([_destination(centre, 360.0 * i / corners, radius_m) for i in range(corners)])


def bent(line: Iterable[Position]) -> Line:
    """The line with corners between those that are far from each other, along great circles."""
    found: list[Position] = []
    for corner in line:
        if found:
            found.extend(_between(found[-1], corner))
        found.append(corner)
    return tuple(found)


def _between(a: Position, b: Position) -> Iterator[Position]:
    length = distance_m((a[1], a[0]), (b[1], b[0]))
    steps = math.ceil(length / _EDGE_M)
    if steps <= 1:
        return
    (lng_a, lat_a), (lng_b, lat_b) = (map(math.radians, a), map(math.radians, b))
    angle = length / EARTH_RADIUS_M
    if math.sin(angle) == 0:
        return
    for step in range(1, steps):
        part = step / steps
        weight_a = math.sin((1 - part) * angle) / math.sin(angle)
        weight_b = math.sin(part * angle) / math.sin(angle)
        x = weight_a * math.cos(lat_a) * math.cos(lng_a) + weight_b * math.cos(lat_b) * math.cos(lng_b)
        y = weight_a * math.cos(lat_a) * math.sin(lng_a) + weight_b * math.cos(lat_b) * math.sin(lng_b)
        z = weight_a * math.sin(lat_a) + weight_b * math.sin(lat_b)
        yield math.degrees(math.atan2(y, x)), math.degrees(math.atan2(z, math.hypot(x, y)))


def _destination(centre: tuple[float, float], bearing: float, metres: float) -> Position:
    lat, lng, turn = math.radians(centre[0]), math.radians(centre[1]), math.radians(bearing)
    angle = metres / EARTH_RADIUS_M
    there = math.asin(math.sin(lat) * math.cos(angle) + math.cos(lat) * math.sin(angle) * math.cos(turn))
    east = math.atan2(
        math.sin(turn) * math.sin(angle) * math.cos(lat), math.cos(angle) - math.sin(lat) * math.sin(there)
    )
    return (math.degrees(lng + east) + 540.0) % 360.0 - 180.0, math.degrees(there)


def _line_meets(line: Line, area: Area) -> bool:
    if not _boxes_meet(_box(line), area.box):
        return False
    return any(map(area.holds, line)) or _lines_cross(line, area.ring)


def _polygon_meets(polygon: Area, area: Area) -> bool:
    if not _boxes_meet(polygon.box, area.box):
        return False
    return (
        any(map(area.holds, polygon.ring))
        or polygon.holds(area.ring[0])
        or _lines_cross(polygon.ring, area.ring)
    )


def _lines_cross(one: Line, other: Line) -> bool:
    box = _box(other)
    for a, b in _edges(one):
        if not _boxes_meet(_box((a, b)), box):
            continue
        if any(_edges_cross(a, b, c, d) for c, d in _edges(other)):
            return True
    return False


def _edges(line: Sequence[Position]) -> Iterator[tuple[Position, Position]]:
    return pairwise(line)


def _edges_cross(a: Position, b: Position, c: Position, d: Position) -> bool:
    """Whether two edges go through each other."""
    return _turn(c, d, a) * _turn(c, d, b) < 0 and _turn(a, b, c) * _turn(a, b, d) < 0


def _turn(a: Position, b: Position, c: Position) -> int:
    area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    return (area > 0) - (area < 0)


def _box(line: Sequence[Position]) -> tuple[float, float, float, float]:
    xs, ys = [x for x, _ in line], [y for _, y in line]
    return min(xs), min(ys), max(xs), max(ys)


def _boxes_meet(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]

"""Sorting by values and by distance: request parameters, ranking rules, and the order of document listings.

Source: search-semantics C.10 and D.4.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyroaring import BitMap

from miroir.engine.attribute_rules import GEO_FIELD, AttributeRules
from miroir.engine.facet_values import parse_finite
from miroir.engine.facets import FacetIndex, FieldFacets
from miroir.engine.geo import Point, bad_latitude, bad_longitude, distance_m
from miroir.engine.ranking.rule import Bucket
from miroir.engine.ranking.score import GeoDetail, SortDetail
from miroir.meili.codes import ApiError

if TYPE_CHECKING:
    from miroir.engine.graph import QueryGraph

_RESERVED = (
    "_geo",
    "_geoDistance",
    "_geoPoint",
    "_geoRadius",
    "_geoBoundingBox",
    "_geoPolygon",
    "_vectors",
    "_geojson",
)
#: Below this many candidates distances are compared in whole metres.
_EXACT_FROM = 1000
_BUCKET_SIZE_MAX = 1000
_SAME_DISTANCE_M = 1.0


@dataclass(frozen=True, slots=True)
class FieldSort:
    """`name:asc` or `name:desc`."""

    name: str
    ascending: bool


@dataclass(frozen=True, slots=True)
class PointSort:
    """`_geoPoint(lat, lng):asc` or `:desc`."""

    target: Point
    ascending: bool


Criterion = FieldSort | PointSort


# --- the parameter ------------------------------------------------------------------------------


def parse_sort(sort: Sequence[str], code: str = "invalid_search_sort") -> tuple[Criterion, ...]:
    """Read the `sort` parameter of a search or a listing.

    Raises:
        ApiError: of the given code, at the first criterion that is none.
    """
    return tuple(_parse_criterion(text, code) for text in sort)


def _parse_criterion(text: str, code: str) -> Criterion:
    name, colon, direction = text.rpartition(":")
    if not colon or direction not in ("asc", "desc"):
        raise ApiError(
            code,
            f"Invalid syntax for the sort parameter: expected expression ending by `:asc` or `:desc`, found `{text}`.",
        )
    ascending = direction == "asc"
    if name.startswith("_geoPoint(") and name.endswith(")"):
        return PointSort(_parse_point(name, code), ascending)
    if name in _RESERVED or name.startswith(("_geoRadius(", "_geoBoundingBox(", "_geo(", "_geoDistance(")):
        raise ApiError(code, _reserved(name))
    return FieldSort(name, ascending)


def _parse_point(name: str, code: str) -> Point:
    parts = name[len("_geoPoint(") : -1].split(",", 1)
    numbers = [parse_finite(part.strip()) for part in parts]
    if len(numbers) != 2 or numbers[0] is None or numbers[1] is None:
        raise ApiError(code, _reserved(name))
    refusal = bad_latitude(numbers[0]) or bad_longitude(numbers[1])
    if refusal is not None:
        raise ApiError(code, refusal)
    return numbers[0], numbers[1]


def _reserved(name: str) -> str:
    if name.startswith("_geoPoint"):
        return (
            "Invalid syntax for the geo parameter: expected expression formated like `_geoPoint(latitude, longitude)` "
            f"and ending by `:asc` or `:desc`, found `{name}`."
        )
    geo_hint = " Use the _geoPoint(latitude, longitude) built-in rule to sort on _geo field coordinates."
    for built_in in ("_geoRadius", "_geoBoundingBox"):
        if name.startswith(built_in):
            return (
                f"`{built_in}` is a reserved keyword and thus can't be used as a sort expression.{geo_hint}"
            )
    hint = geo_hint if name == GEO_FIELD else ""
    return f"`{name}` is a reserved keyword and thus can't be used as a sort expression.{hint}"


def check_search_sort(
    rules: AttributeRules, settings: Mapping[str, Any], criteria: Sequence[Criterion]
) -> None:
    """Refuse criteria that are not sortable, or any where no rule `sort` stands.

    Raises:
        ApiError: `invalid_search_sort`.
    """
    if criteria and "sort" not in (settings.get("rankingRules") or ()):
        raise ApiError(
            "invalid_search_sort",
            "You must specify where `sort` is listed in the rankingRules setting to use the sort parameter at search "
            "time.",
        )
    for criterion in criteria:
        if not _is_sortable(rules, criterion):
            raise ApiError("invalid_search_sort", _not_sortable(rules, settings, criterion))


def check_document_sort(rules: AttributeRules, criteria: Sequence[Criterion]) -> None:
    """Refuse criteria of a listing that are not sortable.

    Raises:
        ApiError: `invalid_document_sort`.
    """
    for criterion in criteria:
        if not _is_sortable(rules, criterion):
            raise ApiError("invalid_document_sort", _not_sortable(rules, {}, criterion))


def _is_sortable(rules: AttributeRules, criterion: Criterion) -> bool:
    if isinstance(criterion, PointSort):
        return GEO_FIELD in rules.sortable
    return rules.is_sortable(criterion.name)


def _not_sortable(rules: AttributeRules, settings: Mapping[str, Any], criterion: Criterion) -> str:
    name = GEO_FIELD if isinstance(criterion, PointSort) else criterion.name
    start = f"Attribute `{name}` is not sortable."
    displayed = settings.get("displayedAttributes") or ["*"]
    listed = sorted(rules.sortable)
    shown = listed if "*" in displayed else [n for n in listed if n in displayed]
    if not shown:
        return f"{start} This index does not have configured sortable attributes."
    hidden = ", <..hidden-attributes>" if len(shown) < len(listed) else ""
    return f"{start} Available sortable attributes are: `{', '.join(shown)}{hidden}`."


# --- ranking rules ------------------------------------------------------------------------------


class SortRule:
    """Buckets by the value of one field: numbers, then strings, then everything without a value."""

    def __init__(
        self, table: FieldFacets | None, field: str, *, ascending: bool, hidden: bool = False
    ) -> None:
        self._table = table
        self._field = field
        self._ascending = ascending
        self._hidden = hidden
        self._buckets: Iterator[tuple[BitMap, float | str]] = iter(())

    def start(self, universe: BitMap, graph: QueryGraph | None) -> None:
        """Begin on a parent bucket."""
        self._buckets = (
            iter(())
            if self._table is None
            else value_buckets(self._table, universe, ascending=self._ascending)
        )

    def next_bucket(self, universe: BitMap) -> Bucket | None:
        """The next value's documents; at the end all that is left, with the value None."""
        if not universe:
            return None
        for documents, value in self._buckets:
            common = documents & universe
            if common:
                return Bucket(common, SortDetail(self._field, self._ascending, value, self._hidden))
        return Bucket(universe.copy(), SortDetail(self._field, self._ascending, None, self._hidden))


def sort_rule(index: FacetIndex, settings: Mapping[str, Any], field: str, *, ascending: bool) -> SortRule:
    """The rule for a sort criterion or a custom ranking rule; hides values of fields that are not displayed."""
    displayed = settings.get("displayedAttributes") or ["*"]
    hidden = "*" not in displayed and field not in displayed
    return SortRule(index.table(field), field, ascending=ascending, hidden=hidden)


def value_buckets(
    table: FieldFacets, universe: BitMap, *, ascending: bool
) -> Iterator[tuple[BitMap, float | str]]:
    """Documents by value: each stands at its first number in iteration order, without numbers at its first string."""
    left = universe & table.with_number
    yield from _key_buckets(table, left, ascending=ascending, numbers=True)
    yield from _key_buckets(table, (universe & table.with_string) - left, ascending=ascending, numbers=False)


def _key_buckets(
    table: FieldFacets, documents: BitMap, *, ascending: bool, numbers: bool
) -> Iterator[tuple[BitMap, float | str]]:
    keys: list[Any] = table.number_order.keys if numbers else table.string_order.keys
    postings: Mapping[Any, BitMap] = table.numbers if numbers else table.strings
    left = documents.copy()
    if len(left) * 8 < len(keys):
        pick = min if ascending else max
        first: dict[Any, list[int]] = {}
        for docid in left:
            values = table.values[docid]
            first.setdefault(pick(values.numbers if numbers else values.strings), []).append(docid)
        for key in sorted(first, reverse=not ascending):
            yield BitMap(first[key]), key
        return
    for key in keys if ascending else reversed(keys):
        if not left:
            return
        common = postings[key] & left
        if common:
            left -= common
            yield common, key


class GeoSortRule:
    """Buckets by distance: documents within a metre of the bucket's first one; last those without a point."""

    def __init__(self, index: FacetIndex, target: Point, *, ascending: bool) -> None:
        self._index = index
        self._target = target
        self._ascending = ascending
        self._distances: dict[int, float] = {}
        self._order: list[int] = []
        self._position = 0

    def start(self, universe: BitMap, graph: QueryGraph | None) -> None:
        """Begin on a parent bucket."""
        self._order = self._sorted(universe & self._index.with_point)
        self._position = 0

    def _sorted(self, documents: BitMap) -> list[int]:
        distances = self._distances
        for docid in documents:
            if docid not in distances:
                distances[docid] = distance_m(self._target, self._index.points[docid])
        if len(documents) < _EXACT_FROM:
            order = sorted(documents, key=lambda docid: int(distances[docid]))
        else:
            order = sorted(documents, key=lambda docid: distances[docid])
        return order if self._ascending else order[::-1]

    def next_bucket(self, universe: BitMap) -> Bucket | None:
        """The nearest (or farthest) documents left."""
        if not universe:
            return None
        members: list[int] = []
        start = 0.0
        while self._position < len(self._order) and len(members) < _BUCKET_SIZE_MAX:
            docid = self._order[self._position]
            if docid in universe:
                distance = self._distances[docid]
                if not members:
                    start = distance
                elif abs(start - distance) > _SAME_DISTANCE_M:
                    break
                members.append(docid)
            self._position += 1
        if not members:
            return Bucket(universe.copy(), GeoDetail(self._target, self._ascending, None, None))
        point = self._index.points[members[0]]
        return Bucket(BitMap(members), GeoDetail(self._target, self._ascending, point, start))


# --- listings and hits --------------------------------------------------------------------------


def sorted_documents(index: FacetIndex, criteria: Sequence[Criterion], candidates: BitMap) -> Iterator[int]:
    """Docids of a listing in order.

    A document that has the field but no value under it (null, empty) is dropped, as the server does;
    criteria on fields that no document ever had are skipped.
    """
    while criteria and isinstance(criteria[0], FieldSort) and criteria[0].name not in index.known:
        criteria = criteria[1:]
    if not criteria:
        yield from candidates
        return
    criterion, rest = criteria[0], criteria[1:]
    if isinstance(criterion, PointSort):
        rule = GeoSortRule(index, criterion.target, ascending=criterion.ascending)
        with_point = candidates & index.with_point
        rule.start(with_point, None)
        left = with_point.copy()
        while left and (bucket := rule.next_bucket(left)) is not None:
            left -= bucket.docids
            yield from sorted_documents(index, rest, bucket.docids)
        without = candidates - with_point
    else:
        table = index.table(criterion.name) or FieldFacets()
        for documents, _ in value_buckets(table, candidates, ascending=criterion.ascending):
            yield from sorted_documents(index, rest, documents)
        without = candidates - table.exists
    if without:
        yield from sorted_documents(index, rest, without)


def hit_distance(criteria: Sequence[Criterion], document: Mapping[str, Any]) -> int | None:
    """`_geoDistance` of a hit: whole metres to the first point of the sort, None without one."""
    target = next((c.target for c in criteria if isinstance(c, PointSort)), None)
    geo = document.get(GEO_FIELD)
    if target is None or not isinstance(geo, Mapping):
        return None
    lat, lng = _coordinate(geo.get("lat")), _coordinate(geo.get("lng"))
    if lat is None or lng is None:
        return None
    return int(distance_m(target, (lat, lng)) + 0.5)


def _coordinate(value: Any) -> float | None:
    if isinstance(value, str):
        return parse_finite(value)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

"""Sorting by values and by distance: request parameters, ranking rules, and the order of document listings.

Source: search-semantics C.10 and D.4.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pyroaring import BitMap

from miroir.engine.attribute_rules import GEO_FIELD, AttributeRules
from miroir.engine.facets import FacetIndex, FieldFacets
from miroir.engine.geo import Point, distance_m
from miroir.engine.ranking.rule import Bucket
from miroir.engine.ranking.score import GeoDetail, SortDetail
from miroir.meili.codes import ApiError
from miroir.meili.geo_field import parse_finite
from miroir.meili.settings_rules import attribute_list
from miroir.meili.sorted_walk import SortedWalk
from miroir.meili.sorting import Sort, not_sortable_error

if TYPE_CHECKING:
    from miroir.engine.graph import QueryGraph

#: Below this many candidates distances are compared in whole metres.
_EXACT_FROM = 1000
_BUCKET_SIZE_MAX = 1000
_SAME_DISTANCE_M = 1.0


def check_search_sort(rules: AttributeRules, settings: Mapping[str, Any], criteria: Sequence[Sort]) -> None:
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
            raise _not_sortable(rules, settings, criterion, "invalid_search_sort")


def check_document_sort(rules: AttributeRules, criteria: Sequence[Sort], field_ids: Collection[str]) -> None:
    """Refuse criteria of a listing that are not sortable.

    A distance is sortable only once a document had a `_geo`: the server looks for the field's number.

    Raises:
        ApiError: `invalid_document_sort`.
    """
    for criterion in criteria:
        is_known = criterion.point is None or GEO_FIELD in field_ids
        if not is_known or not _is_sortable(rules, criterion):
            raise _not_sortable(rules, {}, criterion, "invalid_document_sort")


def _is_sortable(rules: AttributeRules, criterion: Sort) -> bool:
    if criterion.point is not None:
        return GEO_FIELD in rules.sortable
    return rules.is_sortable(criterion.name)


def _not_sortable(rules: AttributeRules, settings: Mapping[str, Any], criterion: Sort, code: str) -> ApiError:
    displayed = attribute_list(settings, "displayedAttributes")
    shown = [name for name in rules.sortable if "*" in displayed or name in displayed]
    hidden = bool(shown) and len(shown) < len(rules.sortable)
    return not_sortable_error(criterion.name, shown, hidden=hidden, code=code)


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
    displayed = attribute_list(settings, "displayedAttributes")
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


def sorted_page(
    index: FacetIndex, criteria: Sequence[Sort], candidates: BitMap, offset: int, limit: int
) -> list[int]:
    """A page of the docids of a listing in order.

    A document that has the field but no value under it (null, empty) is dropped, as the server does, which
    counts it all the same when it skips whole buckets. Criteria on fields that no document ever had are
    skipped.
    """
    return _walk(index, criteria, candidates).page(offset, limit)


def _walk(index: FacetIndex, criteria: Sequence[Sort], candidates: BitMap) -> SortedWalk[int]:
    while criteria and criteria[0].point is None and criteria[0].name not in index.known:
        criteria = criteria[1:]
    if not criteria:
        return SortedWalk(len(candidates), leaf=iter(candidates))
    return SortedWalk(len(candidates), buckets=_buckets(index, criteria, candidates))


def _buckets(index: FacetIndex, criteria: Sequence[Sort], candidates: BitMap) -> Iterator[SortedWalk[int]]:
    criterion, rest = criteria[0], criteria[1:]
    if criterion.point is not None:
        rule = GeoSortRule(index, criterion.point, ascending=criterion.direction == "asc")
        with_point = candidates & index.with_point
        rule.start(with_point, None)
        left = with_point.copy()
        while left and (bucket := rule.next_bucket(left)) is not None:
            left -= bucket.docids
            yield _walk(index, rest, bucket.docids)
        without = candidates - with_point
    else:
        table = index.table(criterion.name) or FieldFacets()
        for documents, _ in value_buckets(table, candidates, ascending=criterion.direction == "asc"):
            yield _walk(index, rest, documents)
        without = candidates - table.exists
    if without:
        yield _walk(index, rest, without)


def hit_distance(criteria: Sequence[Sort], document: Mapping[str, Any]) -> int | None:
    """`_geoDistance` of a hit: whole metres to the first point of the sort, None without one."""
    target = next((c.point for c in criteria if c.point is not None), None)
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

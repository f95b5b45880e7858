"""Merging the results of a federated multi-search: hits of all queries in one list, facets per index or merged.

Source: search-semantics G.1 and G.2. Queries run elsewhere; here stands what their results become.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyroaring import BitMap

from miroir.engine.facet_distribution import Distribution, Stats, facet_order
from miroir.engine.facet_values import normalize_facet
from miroir.engine.formatting.hits import HitMaker
from miroir.engine.formatting.selection import JsonObject
from miroir.engine.geo import shown_float
from miroir.engine.hybrid import compare_sort_values
from miroir.engine.index import Index
from miroir.engine.ranking.score import Detail, GeoDetail, ScoreValue, SortDetail, global_score, score_values
from miroir.meili.codes import ApiError

_SAME_SCORE = 2.220446049250313e-16
FacetValue = float | str


@dataclass(frozen=True, slots=True)
class QueryResult:
    """One query of one index, executed with offset 0; `hits` are (docid, details), best first."""

    position: int
    weight: float
    hits: Sequence[tuple[int, Sequence[Detail]]]
    candidates: BitMap
    maker: HitMaker


@dataclass(frozen=True, slots=True)
class FederatedHit:
    """A hit with what places it among the hits of other queries."""

    index_uid: str
    position: int
    docid: int
    values: Sequence[ScoreValue]  #: scores and similarities already weighted
    score: float  #: weighted global score
    hit: JsonObject
    document: Mapping[str, Any]  #: as stored, for distinct and facets
    has_similarity: bool


@dataclass(frozen=True, slots=True)
class IndexResult:
    """All queries of one index, merged: every document once."""

    hits: tuple[FederatedHit, ...]
    candidates: BitMap


def merge_queries(
    index_uid: str, index: Index, results: Sequence[QueryResult], wanted: int, distinct: str | None = None
) -> IndexResult:
    """The best `wanted` documents of the queries of one index."""
    candidates = BitMap.union(BitMap(), *[result.candidates for result in results])
    lists = [
        [_placed(index_uid, index, result, docid, details) for docid, details in result.hits]
        for result in results
    ]
    seen: set[int] = set()
    values_seen: set[FacetValue] = set()
    kept: list[FederatedHit] = []
    makers = {result.position: (result.maker, dict(result.hits)) for result in results}
    for hit in merge_hits(lists):
        if len(kept) >= wanted:
            break
        if hit.docid in seen:
            continue
        seen.add(hit.docid)
        if distinct is not None:
            values = facet_values(hit.document, distinct)
            if not values_seen.isdisjoint(values):
                candidates.discard(hit.docid)
                continue
            values_seen.update(values)
        maker, details_of = makers[hit.position]
        federation = {
            "indexUid": index_uid,
            "queriesPosition": hit.position,
            "weightedRankingScore": hit.score,
        }
        shown = maker.make(hit.docid, details_of[hit.docid], federation)
        kept.append(
            FederatedHit(
                hit.index_uid,
                hit.position,
                hit.docid,
                hit.values,
                hit.score,
                shown,
                hit.document,
                hit.has_similarity,
            )
        )
    return IndexResult(tuple(kept), candidates)


def _placed(
    index_uid: str, index: Index, result: QueryResult, docid: int, details: Sequence[Detail]
) -> FederatedHit:
    values = [
        value * result.weight if isinstance(value, float | int) else value for value in score_values(details)
    ]
    has_similarity = any(type(detail).__name__ == "VectorDetail" for detail in details)
    score = global_score(details) * result.weight
    return FederatedHit(
        index_uid, result.position, docid, values, score, {}, index.documents[docid], has_similarity
    )


# --- order --------------------------------------------------------------------------------------


def merge_hits(lists: Sequence[Sequence[FederatedHit]]) -> list[FederatedHit]:
    """K-way merge by the comparison of weighted values; ties go to the query that was asked first.

    Lists are merged as they are: the order within a list is never changed.
    """
    places = [0] * len(lists)
    merged: list[FederatedHit] = []
    while True:
        best: int | None = None
        for number, hits in enumerate(lists):
            if places[number] >= len(hits):
                continue
            if best is None or _stands_before(hits[places[number]], lists[best][places[best]]):
                best = number
        if best is None:
            return merged
        merged.append(lists[best][places[best]])
        places[best] += 1


def _stands_before(one: FederatedHit, other: FederatedHit) -> bool:
    order = compare_hits(one, other)
    return order > 0 or (order == 0 and one.position < other.position)


def compare_hits(one: FederatedHit, other: FederatedHit) -> int:
    """Positive when `one` is better."""
    for place, (left, right) in enumerate(zip(one.values, other.values, strict=False)):
        order = _compare_values(left, right)
        if order is None:
            # Rules of different kinds: the side with more rules left, else the global score.
            left_rest, right_rest = len(one.values) - place, len(other.values) - place
            if left_rest != right_rest:
                return 1 if left_rest > right_rest else -1
            return (one.score > other.score) - (one.score < other.score)
        if order:
            return order
    return (len(one.values) > len(other.values)) - (len(one.values) < len(other.values))


def _compare_values(left: ScoreValue, right: ScoreValue) -> int | None:
    if isinstance(left, float | int) and isinstance(right, float | int):
        if abs(left - right) <= _SAME_SCORE:
            return 0
        return 1 if left > right else -1
    if isinstance(left, SortDetail) and isinstance(right, SortDetail):
        if left.ascending != right.ascending:
            return None
        return compare_sort_values(left.value, right.value, ascending=left.ascending)
    if isinstance(left, GeoDetail) and isinstance(right, GeoDetail):
        if left.ascending != right.ascending:
            return None
        if left.distance is None or right.distance is None:
            return (left.distance is not None) - (right.distance is not None)
        # The server takes the larger distance first in both directions.
        return (left.distance > right.distance) - (left.distance < right.distance)
    return None


# --- the whole federation -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Merged:
    """The hits of a page and what was left out for the sake of `distinct`."""

    page: tuple[FederatedHit, ...]
    total: int
    rejected: Mapping[str, Sequence[FederatedHit]]

    @property
    def semantic_count(self) -> int:
        """Hits of the page that a vector brought in."""
        return sum(hit.has_similarity for hit in self.page)


def merge_indexes(
    results: Mapping[str, IndexResult], offset: int, limit: int, distinct: str | None = None
) -> Merged:
    """One page over all indexes; with `distinct`, the first hit of every value in the merged list stays."""
    total = sum(len(result.candidates) for result in results.values())
    merged = merge_hits([result.hits for result in results.values()])
    rejected: dict[str, list[FederatedHit]] = {}
    if distinct is not None:
        kept: list[FederatedHit] = []
        seen: set[FacetValue] = set()
        for hit in merged:
            values = facet_values(hit.document, distinct)
            if not seen.isdisjoint(values):
                rejected.setdefault(hit.index_uid, []).append(hit)
                continue
            seen.update(values)
            kept.append(hit)
        total = max(0, total - (len(merged) - len(kept)))
        merged = kept
    return Merged(tuple(merged[offset : offset + limit]), total, rejected)


# --- facets -------------------------------------------------------------------------------------


def check_facet_orders(indexes: Mapping[str, tuple[Mapping[str, Any], Iterable[str]]]) -> dict[str, str]:
    """The order of values of every facet to merge, from (settings, facet paths) by index.

    Raises:
        ApiError: `invalid_multi_search_facet_order` when two indexes order one facet differently.
    """
    orders: dict[str, tuple[str, str]] = {}
    for index_uid, (settings, paths) in indexes.items():
        for path in paths:
            order = facet_order(settings, path)
            first_uid, first_order = orders.setdefault(path, (index_uid, order))
            if order != first_order:
                raise ApiError(
                    "invalid_multi_search_facet_order",
                    f"Inside `.federation.facetsByIndex.{index_uid}`: Inconsistent order for values in facet "
                    f"`{path}`: index `{first_uid}` orders {_ORDERS[first_order]}, but index `{index_uid}` orders "
                    f"{_ORDERS[order]}.\n - Hint: Remove `federation.mergeFacets` or change "
                    "`faceting.sortFacetValuesBy` to be consistent in settings.",
                )
    return {path: order for path, (_, order) in orders.items()}


_ORDERS = {"alpha": "alphabetically", "count": "by count"}


def merge_facets(
    parts: Sequence[tuple[Distribution, Stats]], orders: Mapping[str, str], limit: int | None
) -> tuple[Distribution, Stats]:
    """Sum counts by shown value, order and cut anew; widest stats."""
    sums: Distribution = {}
    stats: Stats = {}
    for distribution, part_stats in parts:
        for facet, values in distribution.items():
            merged = sums.setdefault(facet, {})
            for value, count in values.items():
                merged[value] = merged.get(value, 0) + count
        for facet, bounds in part_stats.items():
            known = stats.get(facet, bounds)
            stats[facet] = {"min": min(known["min"], bounds["min"]), "max": max(known["max"], bounds["max"])}
    for facet, values in sums.items():
        if orders.get(facet, "alpha") == "count":
            ordered = sorted(values.items(), key=lambda pair: -pair[1])
        else:
            ordered = sorted(values.items())
        sums[facet] = dict(ordered[:limit])
    return dict(sorted(sums.items())), dict(sorted(stats.items()))


def without_hits(distribution: Distribution, hits: Iterable[FederatedHit]) -> Distribution:
    """The distribution with the values of rejected hits taken off; values that reach 0 vanish."""
    rejected = list(hits)
    if not rejected:
        return distribution
    reduced: Distribution = {}
    for facet, values in distribution.items():
        shown = {normalize_facet(value): value for value in values if normalize_facet(value) != value}
        left = dict(values)
        for hit in rejected:
            for value in facet_values(hit.document, facet):
                key = shown_float(value) if isinstance(value, float) else shown.get(value, value)
                if key in left:
                    left[key] = max(0, left[key] - 1)
        reduced[facet] = {value: count for value, count in left.items() if count}
    return reduced


def facet_values(document: Mapping[str, Any], path: str) -> list[FacetValue]:
    """Numbers and normalised strings at a path of a document."""
    found: list[FacetValue] = []
    _collect(document, path, found)
    return found


def _collect(document: Mapping[str, Any], path: str, found: list[FacetValue]) -> None:
    if path in document:
        _scalars(document[path], found)
    for place in range(len(path) - 1, 0, -1):
        if path[place] != ".":
            continue
        below = document.get(path[:place])
        for part in below if isinstance(below, list) else (below,):
            if isinstance(part, dict):
                _collect(part, path[place + 1 :], found)


def _scalars(value: Any, found: list[FacetValue]) -> None:
    if isinstance(value, bool):
        found.append("true" if value else "false")
    elif isinstance(value, int | float):
        found.append(float(value))
    elif isinstance(value, str):
        found.append(normalize_facet(value))
    elif isinstance(value, list):
        for element in value:
            _scalars(element, found)

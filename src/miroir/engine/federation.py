"""Merging the results of a federated multi-search: hits of all queries in one list, facets per index or merged.

Source: search-semantics G.1 and G.2. Queries run elsewhere; here stands what their results become.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyroaring import BitMap

from miroir.engine.formatting.hits import HitMaker
from miroir.engine.formatting.selection import JsonObject
from miroir.engine.hybrid import compare_sort_values
from miroir.engine.index import Index
from miroir.engine.ranking.score import Detail, GeoDetail, ScoreValue, SortDetail, global_score, score_values
from miroir.meili.federation_merge import HitValue, hit_values, merge_lists

_SAME_SCORE = 2.220446049250313e-16


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
    values_seen: set[HitValue] = set()
    kept: list[FederatedHit] = []
    makers = {result.position: (result.maker, dict(result.hits)) for result in results}
    for hit in merge_hits(lists):
        if len(kept) >= wanted:
            break
        if hit.docid in seen:
            continue
        seen.add(hit.docid)
        if distinct is not None:
            values = hit_values(hit.document, distinct)
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
    """By the comparison of weighted values; ties go to the query that was asked first."""
    return list(merge_lists(lists, _stands_before))


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
    rejected: Mapping[str, Sequence[FederatedHit]]  #: by index, in the order of the merged list

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
        seen: set[HitValue] = set()
        for hit in merged:
            values = hit_values(hit.document, distinct)
            if not seen.isdisjoint(values):
                rejected.setdefault(hit.index_uid, []).append(hit)
                continue
            seen.update(values)
            kept.append(hit)
        total = max(0, total - (len(merged) - len(kept)))
        merged = kept
    return Merged(tuple(merged[offset : offset + limit]), total, rejected)

"""Hits of several queries in one list. reference: search-semantics G.1, G.2.

Each query's list is global already (merged over shards, scores repaired); here the queries meet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from miroir.core.reads.merging import Hit
from miroir.core.reads.score_order import Value, compare, weighted
from miroir.core.reads.scores import score_values
from miroir.meili.federation_merge import HitValue, hit_values, merge_lists


@dataclass(frozen=True, slots=True)
class QueryHits:
    """The list of one query of a federation."""

    index_uid: str
    position: int  #: place in `queries`
    shown_position: int  #: what `queriesPosition` says
    weight: float
    hits: Sequence[Hit]
    searchable_count: int


@dataclass(slots=True)
class Placed:
    """One hit with the query it came from."""

    query: QueryHits
    hit: Hit
    values: list[Value]
    score: float  #: weighted


@dataclass(frozen=True, slots=True)
class Federated:
    """Hits in order, and those that a federation-wide `distinct` rejected."""

    kept: list[Placed]
    rejected: list[Placed]


def federate_index(lists: Sequence[QueryHits], depth: int, distinct: str | None) -> Federated:
    """The first `depth` hits of the queries of one index; a document is kept once, at its better place."""
    found = Federated([], [])
    seen: set[str] = set()
    values_seen: set[HitValue] = set()
    for each in merge_lists([list(_placed(query)) for query in lists], _stands_before):
        if len(found.kept) == depth:
            break
        if each.hit.seq in seen:
            continue
        seen.add(each.hit.seq)
        _keep_or_reject(each, found, distinct, values_seen)
    return found


def federate(lists: Sequence[Sequence[Placed]], distinct: str | None) -> Federated:
    """The hits of all indexes, which stand in the order of their uids."""
    found = Federated([], [])
    values_seen: set[HitValue] = set()
    for each in merge_lists(lists, _stands_before):
        _keep_or_reject(each, found, distinct, values_seen)
    return found


def _keep_or_reject(each: Placed, found: Federated, distinct: str | None, values_seen: set[HitValue]) -> None:
    keys = [] if distinct is None else hit_values(each.hit.body, distinct)
    if values_seen.isdisjoint(keys):
        values_seen.update(keys)
        found.kept.append(each)
    else:
        found.rejected.append(each)


def _stands_before(one: Placed, other: Placed) -> bool:
    """Ties go to the query that says it was asked first."""
    order = compare(one.values, other.values, one.score, other.score)
    return order < 0 or (order == 0 and one.query.shown_position < other.query.shown_position)


def _placed(query: QueryHits) -> Iterator[Placed]:
    for hit in query.hits:
        values = score_values(hit.details, hit.score, query.searchable_count)
        yield Placed(query, hit, weighted(values, query.weight), hit.score * query.weight)


def federation_mark(placed: Placed) -> dict[str, Any]:
    """`_federation` of a hit."""
    return {
        "indexUid": placed.query.index_uid,
        "queriesPosition": placed.query.shown_position,
        "weightedRankingScore": placed.score,
    }

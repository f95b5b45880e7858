"""Hits of several queries in one list. reference: search-semantics G.1, G.2.

Each query's list is global already (merged over shards, scores repaired); here the queries meet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from miroir.core.distinct import distinct_keys
from miroir.core.merging import Hit
from miroir.core.projection import at_path
from miroir.core.score_order import Value, compare, weighted
from miroir.core.scores import score_values


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


def federate(lists: Sequence[QueryHits], depth: int, distinct: str | None) -> tuple[list[Placed], int]:
    """The first `depth` hits of all queries, and how many a federation-wide `distinct` rejected.

    A document that several queries of one index found is kept once, at its better place.
    """
    result: list[Placed] = []
    seen: set[tuple[str, str]] = set()
    values_seen: set[Any] = set()
    rejected = 0
    for each in _in_order(lists):
        if len(result) == depth:
            break
        identity = (each.query.index_uid, each.hit.seq)
        if identity in seen:
            continue
        seen.add(identity)
        if distinct is not None:
            keys = distinct_keys(at_path(each.hit.body, distinct))
            if keys and not values_seen.isdisjoint(keys):
                rejected += 1
                continue
            values_seen.update(keys)
        result.append(each)
    return result, rejected


def _in_order(lists: Sequence[QueryHits]) -> Iterator[Placed]:
    """Head against head: the comparison is no order over all hits (G.1, 4), so sorting would not do."""
    streams = [_placed(query) for query in lists]
    heads = [next(stream, None) for stream in streams]
    while True:
        best: int | None = None
        for place, head in enumerate(heads):
            if head is None:
                continue
            first = None if best is None else heads[best]
            if first is None or compare(head.values, first.values, head.score, first.score) < 0:
                best = place
        if best is None:
            return
        chosen = heads[best]
        assert chosen is not None
        yield chosen
        heads[best] = next(streams[best], None)


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


def merge_index_facets(
    by_index: Mapping[str, Mapping[str, Any]],
    orders: Mapping[str, str],
    max_values: int | None,
) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, float]]]:
    """`mergeFacets`: counts of several indexes summed by the displayed key; `orders` is facet -> alpha or count."""
    counts: dict[str, dict[str, int]] = {}
    stats: dict[str, dict[str, float]] = {}
    for part in by_index.values():
        for facet, values in part["distribution"].items():
            total = counts.setdefault(facet, {})
            for text, count in values.items():
                total[text] = total.get(text, 0) + count
        for facet, bounds in part["stats"].items():
            known = stats.setdefault(facet, dict(bounds))
            known["min"] = min(known["min"], bounds["min"])
            known["max"] = max(known["max"], bounds["max"])
    merged = {}
    for facet in sorted(counts):
        if orders.get(facet) == "count":
            items = sorted(counts[facet].items(), key=lambda item: -item[1])
        else:
            items = sorted(counts[facet].items())
        merged[facet] = dict(items if max_values is None else items[:max_values])
    return merged, dict(sorted(stats.items()))

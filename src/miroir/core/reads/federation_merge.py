"""Hits of several queries in one list. reference: search-semantics G.1, G.2.

Each query's list is global already (merged over shards, scores repaired); here the queries meet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from miroir.core.reads.distinct import distinct_keys, number_text
from miroir.core.reads.facet_merge import normal_form
from miroir.core.reads.merging import Hit
from miroir.core.reads.projection import at_path
from miroir.core.reads.score_order import Value, compare, weighted
from miroir.core.reads.scores import score_values


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
    values_seen: set[Any] = set()
    for each in _in_order([list(_placed(query)) for query in lists]):
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
    values_seen: set[Any] = set()
    for each in _in_order(lists):
        _keep_or_reject(each, found, distinct, values_seen)
    return found


def _keep_or_reject(each: Placed, found: Federated, distinct: str | None, values_seen: set[Any]) -> None:
    keys = [] if distinct is None else distinct_keys(at_path(each.hit.body, distinct))
    if values_seen.isdisjoint(keys):
        values_seen.update(keys)
        found.kept.append(each)
    else:
        found.rejected.append(each)


def _in_order(lists: Sequence[Sequence[Placed]]) -> Iterator[Placed]:
    """Head against head: the comparison is no order over all hits (G.1, 4), so sorting would not do."""
    places = [0] * len(lists)
    while True:
        best: int | None = None
        for number, hits in enumerate(lists):
            if places[number] < len(hits) and (
                best is None or _stands_before(hits[places[number]], lists[best][places[best]])
            ):
                best = number
        if best is None:
            return
        yield lists[best][places[best]]
        places[best] += 1


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


def without_rejected(
    distribution: Mapping[str, Mapping[str, int]], rejected: Sequence[Placed]
) -> dict[str, dict[str, int]]:
    """The facets of an index with the values of rejected hits taken off; values that reach 0 vanish."""
    reduced: dict[str, dict[str, int]] = {}
    for facet, values in distribution.items():
        left = dict(values)
        shown = {normal_form(text): text for text in values}
        for each in rejected:
            for is_string, key in distinct_keys(at_path(each.hit.body, facet)):
                text = shown.get(str(key)) if is_string else number_text(key)
                if text is not None and left.get(text, 0) > 0:
                    left[text] -= 1
        reduced[facet] = {text: count for text, count in left.items() if count}
    return reduced


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

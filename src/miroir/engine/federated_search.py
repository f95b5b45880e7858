"""A federated multi-search: every query runs over its index, the hits become one list."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from miroir.engine.catalog import LiveIndex
from miroir.engine.facet_distribution import facet_distribution, selected_fields
from miroir.engine.federation import IndexResult, Merged, QueryResult, merge_indexes, merge_queries
from miroir.engine.formatting.hits import HitMaker
from miroir.engine.search import Found, find, max_total_hits
from miroir.engine.search_times import Stopwatch, late_after, new_request_uid
from miroir.engine.state import State
from miroir.meili.codes import ApiError
from miroir.meili.commands import Federation, MultiSearch, MultiSearchItem, SearchQuery
from miroir.meili.federation_checks import FederationChecks, groups_of
from miroir.meili.federation_merge import merge_facets, without_documents
from miroir.meili.federation_requests import check_federation, shown_position
from miroir.meili.multi_search import inside
from miroir.meili.search import check_personalize
from miroir.meili.search_kinds import asks_embedder

_Facets = dict[str, tuple[str, ...]]


async def federated_search(
    state: State,
    multi: MultiSearch,
    *,
    include_metadata: bool,
    named: Callable[[ApiError, str], ApiError],
    metadata: Callable[[State, LiveIndex, SearchQuery], dict[str, Any]],
) -> dict[str, Any]:
    """The answer's body. `named` adds an index's name to an error.

    Raises:
        ApiError: prefixed with the query, or the member of `federation`, that is wrong.
    """
    federation = multi.federation
    assert federation is not None
    watch = Stopwatch()
    check_federation(multi, lambda feature: state.features.get(feature, False))
    groups = groups_of(multi)
    facets = {uid: patterns for uid, patterns in federation.facets_by_index.items() if patterns is not None}
    offset, limit = _window(federation)
    checks = FederationChecks(federation, lambda uid: _named_facets(state.index(uid), facets[uid]))
    results: dict[str, IndexResult] = {}
    vectors: dict[str, list[float]] = {}
    opened: dict[str, LiveIndex] = {}
    for uid, group in groups.items():
        live = state.scheduler.catalog.get(uid)
        if live is None:
            raise checks.missing(uid, group)
        opened[uid] = live
        checks.begin(uid, live.index.settings, group)
        parts = []
        for i, item in group:
            checks.query(uid, live.index.settings, i, item)
            position = shown_position(item, i)
            try:
                found = _run(state, live, item, federation, offset + limit)
            except ApiError as error:
                raise inside(position, named(error, uid)) from None
            parts.append(_part(live, item, position, found))
            if item.search.retrieve_vectors and found.query_vector is not None:
                vectors[str(position)] = list(found.query_vector)
            await asyncio.sleep(0)
        wanted = min(offset + limit, max_total_hits(live.index.settings))
        results[uid] = merge_queries(uid, live.index, parts, wanted, federation.distinct)
        checks.end(uid, live.index.settings, group)
    for uid in federation.facets_by_index:
        if uid not in groups:
            unused = state.scheduler.catalog.get(uid)
            checks.unused(uid, None if unused is None else unused.index.settings)
    merged = merge_indexes(results, offset, limit, federation.distinct)
    check_personalize(federation)
    body: dict[str, Any] = {"hits": [hit.hit for hit in merged.page]}
    if any(item.search.retrieve_vectors for item in multi.queries):
        body["queryVectors"] = vectors
    body["processingTimeMs"] = watch.elapsed_ms()
    body |= _totals(federation, merged.total)
    body |= _facets(federation, facets, opened, results, merged, checks.orders)
    body["requestUid"] = new_request_uid(state)
    if include_metadata:
        body["metadata"] = [
            metadata(state, state.index(item.index_uid), item.search) for item in multi.queries
        ]
    if any(asks_embedder(item.search) for item in multi.queries):
        body["semanticHitCount"] = merged.semantic_count
    if federation.show_performance_details:
        body["performanceDetails"] = watch.details()
    return body


def _run(state: State, live: LiveIndex, item: MultiSearchItem, federation: Federation, length: int) -> Found:
    settings = live.index.settings
    length = min(length, max_total_hits(settings))
    is_paged = federation.page is not None or federation.hits_per_page is not None
    return find(
        live.index,
        replace(
            item.search,
            page=1 if is_paged else None,
            hits_per_page=length if is_paged else None,
            distinct=item.search.distinct if federation.distinct is None else federation.distinct,
        ),
        length,
        is_enabled=lambda feature: state.features.get(feature, False),
        is_late=late_after(settings),
    )


def _part(live: LiveIndex, item: MultiSearchItem, position: int, found: Found) -> QueryResult:
    options = item.federation_options
    return QueryResult(
        position=position,
        weight=1.0 if options is None else options.weight,
        hits=list(zip(found.docids, found.details, strict=True)),
        candidates=found.candidates,
        maker=HitMaker(live.index, item.search, found.words, found.sort),
    )


def _window(federation: Federation) -> tuple[int, int]:
    if federation.page is None and federation.hits_per_page is None:
        return federation.offset, federation.limit
    per_page = 20 if federation.hits_per_page is None else federation.hits_per_page
    page = 1 if federation.page is None else federation.page
    return ((page - 1) * per_page, per_page) if page else (0, 0)


def _totals(federation: Federation, total: int) -> dict[str, int]:
    if federation.page is None and federation.hits_per_page is None:
        return {"limit": federation.limit, "offset": federation.offset, "estimatedTotalHits": total}
    per_page = 20 if federation.hits_per_page is None else federation.hits_per_page
    return {
        "hitsPerPage": per_page,
        "page": 1 if federation.page is None else federation.page,
        "totalPages": math.ceil(total / per_page) if per_page else 0,
        "totalHits": total,
    }


def _named_facets(live: LiveIndex, patterns: tuple[str, ...]) -> list[str]:
    """The known paths that the requested patterns name themselves."""
    return [path for path, is_named in selected_fields(live.index.facets, patterns).items() if is_named]


def _facets(
    federation: Federation,
    asked: _Facets,
    indexes: Mapping[str, LiveIndex],
    results: Mapping[str, IndexResult],
    merged: Merged,
    orders: Mapping[str, str],
) -> dict[str, Any]:
    """`facetsByIndex`, or the merged pair."""
    parts = {
        uid: facet_distribution(live.index.facets, live.index.settings, asked[uid], results[uid].candidates)
        for uid, live in indexes.items()
        if uid in asked
    }
    if not parts:
        return {}
    rejected = {uid: [hit.document for hit in hits] for uid, hits in merged.rejected.items()}
    if federation.merge_facets is None:
        return {
            "facetsByIndex": {
                uid: {"distribution": without_documents(distribution, rejected.get(uid, ())), "stats": stats}
                for uid, (distribution, stats) in parts.items()
            }
        }
    distribution, stats = merge_facets(parts.values(), orders, federation.merge_facets.max_values_per_facet)
    everything = [document for _, documents in sorted(rejected.items()) for document in documents]
    return {"facetDistribution": without_documents(distribution, everything), "facetStats": stats}

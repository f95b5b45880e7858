"""A federated multi-search: every query runs over its index, the hits become one list."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from miroir.engine.catalog import LiveIndex
from miroir.engine.facet_distribution import check_facets, facet_distribution, selected_fields
from miroir.engine.federation import (
    IndexResult,
    Merged,
    QueryResult,
    check_facet_orders,
    merge_facets,
    merge_indexes,
    merge_queries,
    without_hits,
)
from miroir.engine.formatting.hits import HitMaker
from miroir.engine.search import Found, check_embedder, find, max_total_hits, runs_semantic
from miroir.engine.search_times import Stopwatch, late_after, new_request_uid
from miroir.engine.state import State
from miroir.meili.codes import ApiError
from miroir.meili.commands import Federation, MultiSearch, MultiSearchItem, SearchQuery
from miroir.meili.multi_search import QueryError, check_multi_search, check_remote, inside
from miroir.meili.rule_compatibility import CanonicalRules, SearchKind, canonical_rules, check_compatible
from miroir.meili.sorting import parse_sorts

_Facets = dict[str, tuple[str, ...]]


async def federated_search(
    state: State,
    multi: MultiSearch,
    *,
    include_metadata: bool,
    check: Callable[[SearchQuery], None],
    named: Callable[[ApiError, str], ApiError],
    metadata: Callable[[State, LiveIndex, SearchQuery], dict[str, Any]],
) -> dict[str, Any]:
    """The answer's body. `check` refuses what no index is needed for; `named` adds an index's name to an error.

    Raises:
        ApiError: prefixed with the query, or the member of `federation`, that is wrong.
    """
    federation = multi.federation
    assert federation is not None
    watch = Stopwatch()
    check_multi_search(multi)
    groups = _grouped(state, multi, check)
    facets = {uid: patterns for uid, patterns in federation.facets_by_index.items() if patterns is not None}
    offset, limit = _window(federation)
    results: dict[str, IndexResult] = {}
    vectors: dict[str, list[float]] = {}
    previous: CanonicalRules | None = None
    opened: dict[str, LiveIndex] = {}
    for uid, items in groups.items():
        live = opened[uid] = _opened(state, uid, items)
        _check_order(federation, facets, opened, items)
        parts = []
        for position, item in items:
            try:
                check_embedder(live.index, item.search)
                rules = _rules(live, item, position)
                previous = rules if previous is None else check_compatible(previous, rules)
                found = _run(state, live, item, federation, offset + limit)
            except ApiError as error:
                raise inside(position, named(error, uid)) from None
            parts.append(_part(live, item, position, found))
            if item.search.retrieve_vectors and found.query_vector is not None:
                vectors[str(position)] = list(found.query_vector)
            await asyncio.sleep(0)
        wanted = min(offset + limit, max_total_hits(live.index.settings))
        results[uid] = merge_queries(uid, live.index, parts, wanted, federation.distinct)
        _check_facets(live, federation, items)
    _check_unused_facets(state, federation, groups)
    merged = merge_indexes(results, offset, limit, federation.distinct)
    body: dict[str, Any] = {"hits": [hit.hit for hit in merged.page]}
    if any(item.search.retrieve_vectors for item in multi.queries):
        body["queryVectors"] = vectors
    body["processingTimeMs"] = watch.elapsed_ms()
    body |= _totals(federation, merged.total)
    body |= _facets(federation, facets, opened, results, merged)
    body["requestUid"] = new_request_uid(state)
    if include_metadata:
        body["metadata"] = [
            metadata(state, state.index(item.index_uid), item.search) for item in multi.queries
        ]
    if any(
        item.search.hybrid is not None and item.search.hybrid.semantic_ratio > 0 for item in multi.queries
    ):
        body["semanticHitCount"] = merged.semantic_count
    return body


_Items = list[tuple[int, MultiSearchItem]]


def _grouped(state: State, multi: MultiSearch, check: Callable[[SearchQuery], None]) -> dict[str, _Items]:
    """Index uid -> its queries with their positions, in order of uids."""
    groups: dict[str, _Items] = {}
    for position, item in enumerate(multi.queries):
        try:
            check_remote(item, lambda feature: state.features.get(feature, False))
            check(item.search)
        except ApiError as error:
            raise inside(position, error) from None
        groups.setdefault(item.index_uid, []).append((position, item))
    return dict(sorted(groups.items()))


def _opened(state: State, uid: str, items: _Items) -> LiveIndex:
    """The index of a group; that there is none is the fault of its first query."""
    try:
        return state.index(uid)
    except ApiError as error:
        raise inside(items[0][0], error) from None


def _check_facets(live: LiveIndex, federation: Federation, items: _Items) -> None:
    """Refuse facets that the index cannot give; its queries have run by then."""
    try:
        check_facets(live.index.facets.rules, federation.facets_by_index.get(live.uid) or ())
    except ApiError as error:
        where = f"Inside `.federation.facetsByIndex.{live.uid}`: "
        raise inside(items[0][0], ApiError(error.code, where + error.message)) from None


def _check_unused_facets(state: State, federation: Federation, groups: Mapping[str, _Items]) -> None:
    """An index that no query uses must exist and have the facets all the same."""
    for uid, patterns in federation.facets_by_index.items():
        if uid in groups:
            continue
        try:
            check_facets(state.index(uid).index.facets.rules, patterns or ())
        except ApiError as error:
            note = f"\n - Note: index `{uid}` is not used in queries"
            where = f"Inside `.federation.facetsByIndex.{uid}`: "
            raise QueryError(error.code, where + error.message + note) from None


def _rules(live: LiveIndex, item: MultiSearchItem, position: int) -> CanonicalRules:
    """What a query ranks by, in the form in which queries are compared."""
    return canonical_rules(
        live.index.settings["rankingRules"],
        parse_sorts(item.search.sort) if item.search.sort is not None else None,
        strategy=item.search.matching_strategy,
        kind=_kind(item.search),
        query_position=position,
        index_uid=live.uid,
    )


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
            distinct=federation.distinct or item.search.distinct,
        ),
        length,
        is_enabled=lambda feature: state.features.get(feature, False),
        is_late=late_after(settings),
    )


def _kind(query: SearchQuery) -> SearchKind:
    if runs_semantic(query):
        return "vector"
    return "keyword" if query.q is not None and query.q.strip() else "placeholder"


def _part(live: LiveIndex, item: MultiSearchItem, position: int, found: Found) -> QueryResult:
    options = item.federation_options
    shown = position if options is None or options.query_position is None else options.query_position
    return QueryResult(
        position=shown,
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


def _orders(
    asked: _Facets, indexes: Mapping[str, LiveIndex]
) -> dict[str, tuple[Mapping[str, Any], Iterable[str]]]:
    """What decides the order of values: settings and facet paths by index."""
    return {
        uid: (live.index.settings, selected_fields(live.index.facets, asked[uid]))
        for uid, live in indexes.items()
        if uid in asked
    }


def _check_order(
    federation: Federation, asked: _Facets, opened: Mapping[str, LiveIndex], items: _Items
) -> None:
    """Refuse to merge facets that two indexes order differently; the later index is to blame."""
    if federation.merge_facets is None:
        return
    try:
        check_facet_orders(_orders(asked, opened))
    except ApiError as error:
        raise inside(items[0][0], error) from None


def _facets(
    federation: Federation,
    asked: _Facets,
    indexes: Mapping[str, LiveIndex],
    results: Mapping[str, IndexResult],
    merged: Merged,
) -> dict[str, Any]:
    """`facetsByIndex`, or the merged pair."""
    if not asked:
        return {}
    parts = {}
    for uid, patterns in asked.items():
        if uid not in indexes:
            continue
        index = indexes[uid].index
        distribution, stats = facet_distribution(
            index.facets, index.settings, patterns, results[uid].candidates
        )
        parts[uid] = (without_hits(distribution, merged.rejected.get(uid, ())), stats)
    if not parts:
        return {}
    if federation.merge_facets is None:
        return {
            "facetsByIndex": {
                uid: {"distribution": distribution, "stats": stats}
                for uid, (distribution, stats) in parts.items()
            }
        }
    orders = check_facet_orders(_orders(asked, {uid: indexes[uid] for uid in parts}))
    distribution, stats = merge_facets(
        list(parts.values()), orders, federation.merge_facets.max_values_per_facet
    )
    return {"facetDistribution": distribution, "facetStats": stats}

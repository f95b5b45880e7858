"""A federated multi-search: each query over all shards, then the queries' lists in one. reference: G.2."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from miroir.core.reads.facet_merge import FacetSum, facet_order
from miroir.core.reads.federation_merge import (
    Federated,
    Placed,
    QueryHits,
    federate,
    federate_index,
    federation_mark,
    merge_index_facets,
    without_rejected,
)
from miroir.core.reads.federation_rules import check_comparable
from miroir.core.reads.hybrid_merge import is_semantic
from miroir.core.reads.scores import searchable_count
from miroir.core.reads.search_plan import max_total_hits, total_pages, window
from miroir.core.topology import IndexView
from miroir.meili.codes import ApiError
from miroir.meili.commands import Federation, FederationOptions, MultiSearch, SearchQuery
from miroir.services.reads.federated_counts import FederationCounts, IndexCount
from miroir.services.reads.ranked import Ranked
from miroir.services.reads.scatter import Reading, Scatter
from miroir.services.reads.search import IndexSearch, finish


class FederatedSearch:
    """Runs the queries of a federation and merges their lists. `parallel` bounds the queries at a time."""

    def __init__(self, scatter: Scatter, *, parallel: int) -> None:
        self._search = IndexSearch(scatter)
        self._counts = FederationCounts(scatter)
        self._parallel = parallel

    async def search(self, readings: Sequence[Reading], request: MultiSearch) -> dict[str, Any]:
        """The answer without what only the edge of the request knows. Raises ApiError."""
        federation = request.federation
        assert federation is not None
        check_comparable(
            [(reading.index, item.search) for reading, item in zip(readings, request.queries, strict=True)]
        )
        page = SearchQuery(
            offset=federation.offset,
            limit=federation.limit,
            page=federation.page,
            hits_per_page=federation.hits_per_page,
        )
        offset, limit = window(page)
        lists = await self._rank_each(readings, request, offset + limit)
        by_index = self._merged(readings, request, lists, offset + limit)
        merged = federate([found.kept for found in by_index.values()], federation.distinct)
        shown = merged.kept[offset : offset + limit]
        result: dict[str, Any] = {"hits": await self._finish(readings, lists, shown), "processingTimeMs": 0}
        counts = await self._count(readings, request, lists, by_index)
        total = max(0, sum(count.total for count in counts.values()) - len(merged.rejected))
        if page.is_paged:
            result["hitsPerPage"] = 20 if page.hits_per_page is None else page.hits_per_page
            result["page"] = 1 if page.page is None else page.page
            result["totalPages"] = total_pages(total, page)
            result["totalHits"] = total
        else:
            result |= {"limit": federation.limit, "offset": federation.offset, "estimatedTotalHits": total}
        result |= _facets(readings, federation, counts, merged.rejected)
        if any(q.search.hybrid is not None and q.search.hybrid.semantic_ratio > 0 for q in request.queries):
            result["semanticHitCount"] = sum(1 for each in shown if is_semantic(each.hit))
        return result

    def _merged(
        self, readings: Sequence[Reading], request: MultiSearch, lists: Sequence[Ranked], depth: int
    ) -> dict[str, Federated]:
        """The hits of each index, in the order of the indexes' uids."""
        assert request.federation is not None
        by_index: dict[str, list[QueryHits]] = {}
        reach: dict[str, int] = {}
        for position, (reading, ranked) in enumerate(zip(readings, lists, strict=True)):
            uid = reading.index.uid
            reach[uid] = min(depth, max_total_hits(reading.index))
            by_index.setdefault(uid, []).append(
                QueryHits(
                    index_uid=uid,
                    position=position,
                    shown_position=_shown_position(request, position),
                    weight=_options(request, position).weight,
                    hits=ranked.hits,
                    searchable_count=searchable_count(reading.index),
                )
            )
        distinct = request.federation.distinct
        return {uid: federate_index(by_index[uid], reach[uid], distinct) for uid in sorted(by_index)}

    async def _rank_each(self, readings: Sequence[Reading], request: MultiSearch, depth: int) -> list[Ranked]:
        gate = asyncio.Semaphore(self._parallel)
        federation = request.federation
        assert federation is not None
        alone = _alone(request)
        is_paged = federation.page is not None or federation.hits_per_page is not None

        async def one(position: int) -> Ranked | ApiError:
            item = request.queries[position]
            uid, query = item.index_uid, item.search
            facets = federation.facets_by_index.get(uid)
            if uid in alone:
                query = replace(query, facets=facets)
            if is_paged:
                query = replace(query, page=1, hits_per_page=depth)
            if federation.distinct is not None:
                query = replace(query, distinct=federation.distinct)
            needed = () if federation.distinct is None else (federation.distinct, *_plain(facets))
            async with gate:
                try:
                    return await self._search.rank(readings[position], query, depth=depth, needed=needed)
                except ApiError as error:
                    where = f"Inside `.queries[{position}]`: "
                    if error.code == "invalid_search_facets":
                        where += f"Inside `.federation.facetsByIndex.{item.index_uid}`: "
                    return ApiError(error.code, where + error.message)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(position)) for position in range(len(request.queries))]
        results = []
        for task in tasks:
            result = task.result()
            if isinstance(result, ApiError):
                raise result
            results.append(result)
        return results

    async def _count(
        self,
        readings: Sequence[Reading],
        request: MultiSearch,
        lists: Sequence[Ranked],
        by_index: Mapping[str, Federated],
    ) -> dict[str, IndexCount]:
        """Candidates and facets of each index: of the union of its queries."""
        assert request.federation is not None
        counts: dict[str, IndexCount] = {}
        for reading in readings:
            uid = reading.index.uid
            if uid not in counts:
                mine = [place for place, item in enumerate(request.queries) if item.index_uid == uid]
                counts[uid] = await self._counts.count(
                    reading,
                    [request.queries[place].search for place in mine],
                    [lists[place] for place in mine],
                    request.federation.facets_by_index.get(uid),
                    {each.hit.seq for each in by_index[uid].rejected},
                )
        return counts

    async def _finish(
        self, readings: Sequence[Reading], lists: Sequence[Ranked], shown: Sequence[Placed]
    ) -> list[dict[str, Any]]:
        """The page as the client sees it, in its order."""
        done: dict[int, dict[str, Any]] = {}
        for position, (reading, ranked) in enumerate(zip(readings, lists, strict=True)):
            mine = [place for place, each in enumerate(shown) if each.query.position == position]
            hits = [shown[place].hit for place in mine]
            await self._search.fetch_bodies(reading, ranked, hits)
            for place, hit in zip(mine, hits, strict=True):
                hit.body["_federation"] = federation_mark(shown[place])
            done.update(zip(mine, finish(ranked, hits), strict=True))
        return [done[place] for place in range(len(shown))]


def _plain(facets: Sequence[str] | None) -> tuple[str, ...]:
    """Facets that are names and no patterns."""
    return tuple(name for name in facets or () if "*" not in name)


def _alone(request: MultiSearch) -> frozenset[str]:
    """Indexes that exactly one query asks."""
    uids = [item.index_uid for item in request.queries]
    return frozenset(uid for uid in uids if uids.count(uid) == 1)


def _options(request: MultiSearch, position: int) -> FederationOptions:
    return request.queries[position].federation_options or FederationOptions()


def _shown_position(request: MultiSearch, position: int) -> int:
    chosen = _options(request, position).query_position
    return position if chosen is None else chosen


_ORDERS = {"alpha": "alphabetically", "count": "by count"}


def _check_facet_orders(readings: Sequence[Reading], by_index: Mapping[str, Mapping[str, Any]]) -> None:
    """Counts of one facet can be merged only where all indexes order its values alike. Raises ApiError."""
    first: dict[str, IndexView] = {}
    for position, reading in enumerate(readings):
        index = reading.index
        for facet in by_index.get(index.uid, {}).get("distribution", {}):
            other = first.setdefault(facet, index)
            before, here = facet_order(other, facet), facet_order(index, facet)
            if before != here:
                raise ApiError(
                    "invalid_multi_search_facet_order",
                    f"Inside `.queries[{position}]`: Inside `.federation.facetsByIndex.{index.uid}`: Inconsistent "
                    f"order for values in facet `{facet}`: index `{other.uid}` orders {_ORDERS[before]}, but index "
                    f"`{index.uid}` orders {_ORDERS[here]}.\n - Hint: Remove `federation.mergeFacets` or change "
                    "`faceting.sortFacetValuesBy` to be consistent in settings.",
                )


def _facets(
    readings: Sequence[Reading],
    federation: Federation,
    counts: Mapping[str, IndexCount],
    rejected: Sequence[Placed],
) -> dict[str, Any]:
    """`facetsByIndex`, or the merged pair."""
    indexes = {reading.index.uid: reading.index for reading in readings}
    by_index: dict[str, dict[str, Any]] = {}
    for uid, asked in sorted(federation.facets_by_index.items()):
        if asked is None or uid not in counts:
            continue
        summed = counts[uid].facets or FacetSum()
        distribution = summed.distribution(indexes[uid], counts[uid].total, asked)
        mine = [each for each in rejected if each.query.index_uid == uid]
        if mine:
            distribution = without_rejected(distribution, mine)
        by_index[uid] = {"distribution": distribution, "stats": summed.stats()}
    if not by_index:
        return {}
    if federation.merge_facets is None:
        return {"facetsByIndex": by_index}
    _check_facet_orders(readings, by_index)
    orders = {
        facet: facet_order(indexes[uid], facet)
        for uid, part in by_index.items()
        for facet in part["distribution"]
    }
    distribution, stats = merge_index_facets(by_index, orders, federation.merge_facets.max_values_per_facet)
    return {"facetDistribution": distribution, "facetStats": stats}

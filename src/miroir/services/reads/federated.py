"""A federated multi-search: each query over all shards, then the queries' lists in one. reference: G.2."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from miroir.core.reads.facet_merge import FacetSum
from miroir.core.reads.federation_merge import (
    Federated,
    Placed,
    QueryHits,
    federate,
    federate_index,
    federation_mark,
)
from miroir.core.reads.federation_order import facets_in_doubt, hits_needed, judge, names_facet, value_orders
from miroir.core.reads.hybrid_merge import is_semantic
from miroir.core.reads.scores import searchable_count
from miroir.core.reads.search_plan import max_total_hits, total_pages, window
from miroir.core.topology import IndexView
from miroir.meili.codes import ApiError
from miroir.meili.commands import Federation, FederationOptions, MultiSearch, SearchQuery
from miroir.meili.federation_merge import merge_facets, without_documents
from miroir.meili.federation_requests import shown_position
from miroir.meili.multi_search import inside
from miroir.meili.search_kinds import asks_embedder
from miroir.services.reads.federated_counts import FederationCounts, IndexCount
from miroir.services.reads.ranked import Ranked, facet_sum
from miroir.services.reads.scatter import Ask, Reading, Scatter, together
from miroir.services.reads.search import IndexSearch, finish

Open = Callable[[IndexView], Reading]


@dataclass(frozen=True, slots=True)
class _Run:
    """One federation on its way: `readings` by index, `order` the positions of its queries as one node runs them."""

    request: MultiSearch
    federation: Federation
    page: SearchQuery
    readings: Mapping[str, Reading]
    order: Sequence[int]

    def reading(self, position: int) -> Reading:
        return self.readings[self.request.queries[position].index_uid]

    def asking(self, uid: str) -> list[int]:
        """Positions of the queries of one index."""
        return [place for place, item in enumerate(self.request.queries) if item.index_uid == uid]


class FederatedSearch:
    """Runs the queries of a federation and merges their lists. `parallel` bounds the queries at a time."""

    def __init__(self, scatter: Scatter, *, parallel: int) -> None:
        self._scatter = scatter
        self._search = IndexSearch(scatter)
        self._counts = FederationCounts(scatter)
        self._parallel = parallel

    async def search(
        self, indexes: Mapping[str, IndexView], open_index: Open, request: MultiSearch
    ) -> dict[str, Any]:
        """The answer without what only the edge of the request knows. Raises ApiError."""
        federation = request.federation
        assert federation is not None
        judged = judge(request, indexes, await self._known_facets(federation, indexes, open_index))
        page = SearchQuery(
            offset=federation.offset,
            limit=federation.limit,
            page=federation.page,
            hits_per_page=federation.hits_per_page,
        )
        uids = {request.queries[position].index_uid for position in judged.reached}
        readings = {uid: open_index(indexes[uid]) for uid in sorted(uids)}
        run = _Run(request, federation, page, readings, judged.reached)
        if judged.refusal is not None:
            await self._rank_each(run, 0, judge_only=True)
            raise judged.refusal
        return await self._answer(run)

    async def _answer(self, run: _Run) -> dict[str, Any]:
        offset, limit = window(run.page)
        lists = await self._rank_each(run, offset + limit)
        by_index = _merged(run, lists, offset + limit)
        merged = federate([found.kept for found in by_index.values()], run.federation.distinct)
        shown = merged.kept[offset : offset + limit]
        result: dict[str, Any] = {"hits": await self._finish(run, lists, shown)}
        result |= _query_vectors(run, lists)
        result["processingTimeMs"] = 0
        await self._complete_rejected(run, lists, merged.rejected)
        counts = await self._count(run, lists, by_index)
        result |= _totals(run, max(0, sum(count.total for count in counts.values()) - len(merged.rejected)))
        result |= _facets(run, counts, merged.rejected)
        if any(asks_embedder(item.search) for item in run.request.queries):
            result["semanticHitCount"] = sum(1 for each in shown if is_semantic(each.hit))
        return result

    async def _known_facets(
        self, federation: Federation, indexes: Mapping[str, IndexView], open_index: Open
    ) -> dict[str, list[str]]:
        """Paths that facets in doubt name, by index."""
        known: dict[str, list[str]] = {}
        for uid, patterns in facets_in_doubt(federation, indexes).items():
            if patterns:
                found = await self._facet_paths(open_index(indexes[uid]), patterns)
                known[uid] = list(value_orders(federation, indexes, {uid: found}))
        return known

    async def _facet_paths(self, reading: Reading, patterns: Sequence[str]) -> list[str]:
        ask = Ask("/search", {"limit": 0, "facets": list(patterns)})
        answers = await self._scatter.ask(reading, lambda _share, _origin: ask)
        return list(facet_sum(answers, reading.index).distribution(reading.index, 0, patterns))

    async def _rank_each(self, run: _Run, depth: int, *, judge_only: bool = False) -> dict[int, Ranked]:
        """The list of each query by its position. `judge_only`: none of them will be shown.

        Raises ApiError of the first query, in the order of one node, that is refused.
        """
        gate = asyncio.Semaphore(self._parallel)

        async def one(position: int) -> Ranked | ApiError:
            item, reading = run.request.queries[position], run.reading(position)
            query = item.search if judge_only else _counted_with(run, position)
            if run.page.is_paged:
                query = replace(query, page=1, hits_per_page=depth)
            if run.federation.distinct is not None:
                query = replace(query, distinct=run.federation.distinct)
            needed = hits_needed(run.federation, reading.index)
            alone = len(run.asking(item.index_uid)) == 1
            async with gate:
                try:
                    return await self._search.rank(
                        reading, query, depth=depth, needed=needed, by_name=not judge_only and not alone
                    )
                except ApiError as error:
                    return inside(shown_position(item, position), error)

        results = {}
        for position, result in zip(run.order, await together(map(one, run.order)), strict=True):
            if isinstance(result, ApiError):
                raise result
            results[position] = result
        return results

    async def _count(
        self, run: _Run, lists: Mapping[int, Ranked], by_index: Mapping[str, Federated]
    ) -> dict[str, IndexCount]:
        """Candidates and facets of each index: of the union of its queries."""
        counts: dict[str, IndexCount] = {}
        for uid, reading in run.readings.items():
            mine = run.asking(uid)
            counts[uid] = await self._counts.count(
                reading,
                [lists[place] for place in mine],
                run.federation.facets_by_index.get(uid),
                {each.hit.seq for each in by_index[uid].rejected},
            )
        return counts

    async def _complete_rejected(
        self, run: _Run, lists: Mapping[int, Ranked], rejected: Sequence[Placed]
    ) -> None:
        """Give hits that `distinct` dropped the values that come off the facets with them."""
        if any(run.federation.facets_by_index.values()):
            for position, ranked in lists.items():
                hits = [each.hit for each in rejected if each.query.position == position]
                await self._search.fetch_bodies(run.reading(position), ranked, hits)

    async def _finish(
        self, run: _Run, lists: Mapping[int, Ranked], shown: Sequence[Placed]
    ) -> list[dict[str, Any]]:
        """The page as the client sees it, in its order."""
        done: dict[int, dict[str, Any]] = {}
        for position, ranked in lists.items():
            mine = [place for place, each in enumerate(shown) if each.query.position == position]
            hits = [shown[place].hit for place in mine]
            await self._search.fetch_bodies(run.reading(position), ranked, hits)
            for place, hit in zip(mine, hits, strict=True):
                hit.body["_federation"] = federation_mark(shown[place])
            done.update(zip(mine, finish(ranked, hits), strict=True))
        return [done[place] for place in range(len(shown))]


def _counted_with(run: _Run, position: int) -> SearchQuery:
    """The query; where it is the only one of its index, its own answer counts the facets."""
    item = run.request.queries[position]
    if len(run.asking(item.index_uid)) > 1:
        return item.search
    return replace(item.search, facets=run.federation.facets_by_index.get(item.index_uid))


def _merged(run: _Run, lists: Mapping[int, Ranked], depth: int) -> dict[str, Federated]:
    """The hits of each index, in the order of the indexes' uids."""
    merged: dict[str, Federated] = {}
    for uid, reading in run.readings.items():
        queries = [
            QueryHits(
                index_uid=uid,
                position=position,
                shown_position=shown_position(run.request.queries[position], position),
                weight=(run.request.queries[position].federation_options or FederationOptions()).weight,
                hits=lists[position].hits[: lists[position].plan.wanted],
                searchable_count=searchable_count(reading.index),
            )
            for position in run.asking(uid)
        ]
        reach = min(depth, max_total_hits(reading.index))
        merged[uid] = federate_index(queries, reach, run.federation.distinct)
    return merged


def _query_vectors(run: _Run, lists: Mapping[int, Ranked]) -> dict[str, Any]:
    """`queryVectors`, by the shown position: what semantic searches compared with."""
    if not any(item.search.retrieve_vectors for item in run.request.queries):
        return {}
    vectors = {}
    for position, item in enumerate(run.request.queries):
        plan = lists[position].plan
        if item.search.retrieve_vectors and plan.semantic and plan.query.vector is not None:
            vectors[str(shown_position(item, position))] = list(plan.query.vector)
    return {"queryVectors": vectors}


def _totals(run: _Run, total: int) -> dict[str, Any]:
    page = run.page
    if not page.is_paged:
        return {"limit": page.limit, "offset": page.offset, "estimatedTotalHits": total}
    return {
        "hitsPerPage": 20 if page.hits_per_page is None else page.hits_per_page,
        "page": 1 if page.page is None else page.page,
        "totalPages": total_pages(total, page),
        "totalHits": total,
    }


def _facets(run: _Run, counts: Mapping[str, IndexCount], rejected: Sequence[Placed]) -> dict[str, Any]:
    """`facetsByIndex`, or the merged pair."""
    parts = {}
    for uid, asked in sorted(run.federation.facets_by_index.items()):
        if asked is not None and uid in counts:
            summed = counts[uid].facets or FacetSum()
            index = run.readings[uid].index
            counted = summed.distribution(index, counts[uid].total, asked)
            paths = [path for path in counted if names_facet(asked, path)]
            stats = summed.stats()
            parts[uid] = (
                {path: counted[path] for path in paths},
                {path: stats[path] for path in paths if path in stats},
            )
    if not parts:
        return {}
    gone = {uid: [each.hit.body for each in rejected if each.query.index_uid == uid] for uid in run.readings}
    if run.federation.merge_facets is None:
        return {
            "facetsByIndex": {
                uid: {"distribution": without_documents(distribution, gone[uid]), "stats": stats}
                for uid, (distribution, stats) in parts.items()
            }
        }
    indexes = {uid: reading.index for uid, reading in run.readings.items()}
    found = {uid: list(distribution) for uid, (distribution, _) in parts.items()}
    orders = value_orders(run.federation, indexes, found)
    distribution, stats = merge_facets(
        parts.values(), orders, run.federation.merge_facets.max_values_per_facet
    )
    everything = [body for bodies in gone.values() for body in bodies]
    return {"facetDistribution": without_documents(distribution, everything), "facetStats": stats}

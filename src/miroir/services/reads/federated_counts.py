"""How many documents a federation found, and their facets: of the union of the queries of each index.

Nodes count unions, but without `distinct`: what single queries dropped for its sake is found out and taken off.
reference: search-semantics G.2, H8.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from miroir.core.reads.distinct import duplicates_filter
from miroir.core.reads.facet_merge import FacetSum
from miroir.core.reads.federation_counts import count_parts, federation_count_body
from miroir.core.reads.node_errors import as_api_error
from miroir.core.reads.search_plan import (
    Matching,
    facets_of,
    matching_of,
    only,
    sequences,
)
from miroir.meili.commands import SearchQuery
from miroir.services.reads.ranked import Ranked, add_facets, counted_matching
from miroir.services.reads.scatter import Ask, NodeRefusal, Reading, Scatter
from miroir.services.reads.spelling import Speller, found_sequences


@dataclass(frozen=True, slots=True)
class IndexCount:
    """What the queries of one index found together."""

    total: int
    facets: FacetSum | None


class FederationCounts:
    """Counts for one index of a federation at a time."""

    def __init__(self, scatter: Scatter) -> None:
        self._scatter = scatter
        self._speller = Speller(scatter)

    async def count(
        self,
        reading: Reading,
        queries: Sequence[SearchQuery],
        lists: Sequence[Ranked],
        facets: Sequence[str] | None,
        rejected: Collection[str],
    ) -> IndexCount:
        """`lists` are the queries' own results; `rejected` the sequences of hits dropped between them."""
        if len(queries) == 1:
            found = IndexCount(lists[0].total, lists[0].facets)
        else:
            found = await self._union(reading, queries, facets)
            gone = {*rejected, *await self._dropped(reading, queries, lists)}
            if gone:
                found = await self._without(reading, found, facets, sorted(gone))
        if found.facets is not None:
            counted = [
                counted_matching(ranked, matching_of(reading.index, query))
                for ranked, query in zip(lists, queries, strict=True)
            ]
            await self._speller.settle(reading, found.facets, found.total, facets or (), counted)
        return found

    async def _union(
        self, reading: Reading, queries: Sequence[SearchQuery], facets: Sequence[str] | None
    ) -> IndexCount:
        total, summed = 0, FacetSum()
        for part in count_parts(queries):
            total += await self._count_part(reading, part, facets, summed)
        return IndexCount(total, summed if facets else None)

    async def _count_part(
        self, reading: Reading, queries: Sequence[SearchQuery], facets: Sequence[str] | None, summed: FacetSum
    ) -> int:
        """Candidates of queries that a node can federate; their facets are added to `summed`."""
        try:
            answers = await self._scatter.ask(
                reading,
                lambda share, _: Ask(
                    "",
                    federation_count_body(reading.index, queries, share, facets),
                    absolute="/multi-search",
                ),
            )
        except NodeRefusal as refusal:
            raise as_api_error(refusal.body, reading.index) from refusal
        for answer in answers:
            part = (answer.value.get("facetsByIndex") or {}).get(reading.index.physical_uid) or {}
            summed.add(part.get("distribution") or {}, part.get("stats") or {})
        return sum(answer.value["estimatedTotalHits"] for answer in answers)

    async def _without(
        self, reading: Reading, found: IndexCount, facets: Sequence[str] | None, gone: Sequence[str]
    ) -> IndexCount:
        if found.facets is not None and facets:
            wanted = tuple(facets)
            for answer in await self._scatter.ask(
                reading, lambda share, _: Ask("/search", facets_of(share, wanted, gone))
            ):
                add_facets(found.facets, answer, sign=-1)
        return IndexCount(found.total - len(gone), found.facets)

    async def _dropped(
        self, reading: Reading, queries: Sequence[SearchQuery], lists: Sequence[Ranked]
    ) -> set[str]:
        """Sequences of documents that every query which found them dropped as duplicates."""
        matchings = [matching_of(reading.index, query) for query in queries]
        dropped: list[set[str]] = []
        for matching, ranked in zip(matchings, lists, strict=True):
            dropped.append(await self._duplicates(reading, matching, ranked))
        suspects = sorted(set().union(*dropped))
        if not suspects:
            return set()
        gone = set(suspects)
        for matching, mine in zip(matchings, dropped, strict=True):
            gone -= await self._matching(reading, matching, only(suspects)) - mine
        return gone

    async def _duplicates(self, reading: Reading, matching: Matching, ranked: Ranked) -> set[str]:
        plan = ranked.plan
        if plan.distinct is None or not plan.distinct_is_countable:
            return set()
        shared = duplicates_filter(plan.distinct, [keys for _, keys in ranked.visited])
        if shared is None:
            return set()
        visited = {hit.seq for hit, _ in ranked.visited}
        return await self._matching(reading, matching, shared) - visited

    async def _matching(self, reading: Reading, matching: Matching, wanted: str) -> set[str]:
        """Sequences of what a query finds among the documents that pass a filter."""
        answers = await self._scatter.ask(
            reading, lambda share, _: Ask("/search", sequences(matching, share, wanted))
        )
        return {seq for answer in answers for seq in found_sequences(answer.value)}

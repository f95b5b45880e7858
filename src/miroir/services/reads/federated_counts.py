"""How many documents a federation found, and their facets: of the union of the queries of each index.

Nodes count unions, but without `distinct`: what single queries dropped for its sake is found out and taken off.
reference: search-semantics G.2, H8.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from miroir.core.reads.distinct import duplicates_filter
from miroir.core.reads.facet_merge import FacetSum
from miroir.core.reads.federation_counts import count_parts, counted_query, federation_count_body
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
        lists: Sequence[Ranked],
        facets: Sequence[str] | None,
        rejected: Collection[str],
    ) -> IndexCount:
        """Of the union of some queries; `rejected` are the sequences of hits dropped between them."""
        told = [ranked for ranked in lists if ranked.counted is None]
        read = frozenset().union(*(ranked.counted or () for ranked in lists)) - set(rejected)
        if len(lists) == 1 and not rejected:
            found = IndexCount(lists[0].total, lists[0].facets)
        elif told:
            found = await self._union(reading, [counted_query(ranked.plan) for ranked in told], facets)
            gone = {*rejected, *await self._dropped(reading, told)} - read
            known = {seq for ranked in told for seq in await self._found_by(reading, ranked, [*gone, *read])}
            found = await self._changed(reading, found, facets, sorted(gone & known), -1)
            found = await self._changed(reading, found, facets, sorted(read - known), 1)
        else:
            found = IndexCount(0, FacetSum(reading.index) if facets is not None else None)
            found = await self._changed(reading, found, facets, sorted(read) or [""], 1)
            found = replace(found, total=len(read))
        if found.facets is not None:
            counted = [counted_matching(ranked, _matching_of(ranked)) for ranked in told]
            if read:
                counted.append(Matching({}, only(sorted(read))))
            await self._speller.settle(reading, found.facets, found.total, facets or (), counted)
        return found

    async def _union(
        self, reading: Reading, queries: Sequence[SearchQuery], facets: Sequence[str] | None
    ) -> IndexCount:
        total, summed = 0, FacetSum(reading.index)
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

    async def _changed(
        self,
        reading: Reading,
        found: IndexCount,
        facets: Sequence[str] | None,
        seqs: Sequence[str],
        sign: int,
    ) -> IndexCount:
        """The counts with some documents added, or taken off."""
        if not seqs:
            return found
        if found.facets is not None and facets:
            wanted = tuple(facets)
            for answer in await self._scatter.ask(
                reading, lambda share, _: Ask("/search", facets_of(share, wanted, seqs))
            ):
                add_facets(found.facets, answer, sign=sign)
        return IndexCount(found.total + sign * len(seqs), found.facets)

    async def _dropped(self, reading: Reading, lists: Sequence[Ranked]) -> set[str]:
        """Sequences of documents that every query which found them dropped as duplicates."""
        dropped = [await self._duplicates(reading, ranked) for ranked in lists]
        suspects = sorted(set().union(*dropped))
        gone = set(suspects)
        for ranked, mine in zip(lists, dropped, strict=True):
            gone -= await self._found_by(reading, ranked, suspects) - mine
        return gone

    async def _found_by(self, reading: Reading, ranked: Ranked, seqs: Collection[str]) -> set[str]:
        """Which of some documents a query finds."""
        if not seqs:
            return set()
        return await self._matching(reading, _matching_of(ranked), only(sorted(seqs)))

    async def _duplicates(self, reading: Reading, ranked: Ranked) -> set[str]:
        plan = ranked.plan
        if plan.distinct is None or not plan.distinct_is_countable:
            return set()
        shared = duplicates_filter(plan.distinct, [keys for _, keys in ranked.visited])
        if shared is None:
            return set()
        visited = {hit.seq for hit, _ in ranked.visited}
        return await self._matching(reading, _matching_of(ranked), shared) - visited

    async def _matching(self, reading: Reading, matching: Matching, wanted: str) -> set[str]:
        """Sequences of what a query finds among the documents that pass a filter."""
        answers = await self._scatter.ask(
            reading, lambda share, _: Ask("/search", sequences(matching, share, wanted))
        )
        return {seq for answer in answers for seq in found_sequences(answer.value)}


def _matching_of(ranked: Ranked) -> Matching:
    return matching_of(ranked.plan.index, counted_query(ranked.plan))

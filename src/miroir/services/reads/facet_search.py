"""Facet search over all shards. reference: search-semantics D.6, H9."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from miroir.core.reads.facet_merge import FacetHits
from miroir.core.reads.facet_search import facet_search_body
from miroir.core.reads.node_errors import as_api_error
from miroir.core.reads.search_plan import shard_proof, with_filter
from miroir.core.reserved import is_reserved
from miroir.meili.codes import ApiError
from miroir.meili.commands import FacetSearchQuery, JsonObject
from miroir.meili.facet_matching import FacetMatcher
from miroir.meili.filters import parse
from miroir.services.reads.scatter import Ask, NodeRefusal, Reading, Scatter
from miroir.services.reads.search import IndexSearch
from miroir.services.reads.spelling import Speller

#: Hits that a node's accompanying search looks for.
_SEARCHED = 20


class FacetSearch:
    """Searches the values of one facet of one index."""

    def __init__(self, scatter: Scatter) -> None:
        self._scatter = scatter
        self._search = IndexSearch(scatter)
        self._speller = Speller(scatter)

    async def search(self, reading: Reading, query: FacetSearchQuery) -> dict[str, Any]:
        """The answer's JSON, `processingTimeMs` for the caller to fill in. Raises ApiError."""
        if is_reserved(query.facet_name):
            raise ApiError(
                "invalid_facet_search_facet_name", f"Attribute `{query.facet_name}` is not facet-searchable."
            )
        asked: Any = query.search.filter
        if not isinstance(asked, str | list | None):
            parse(asked)  # no filter at all, and the server says so before it looks at anything
        body = facet_search_body(query)
        try:
            answers = await self._scatter.ask(
                reading,
                lambda share, _: Ask(
                    "/facet-search",
                    with_filter(body, shard_proof(reading.index, query.search.filter), share.shard_filter),
                ),
            )
        except NodeRefusal as refusal:
            raise await self._judged(reading, query, body, refusal) from refusal
        hits = FacetHits(queried=query.facet_query is not None)
        for answer in answers:
            for hit in answer.value["facetHits"]:
                hits.add(hit["value"], hit["count"])
        counts = await self._counted(reading, query)
        if counts is not None:
            hits.recount(counts)
        if reading.index.exact and (query.search.q or query.search.filter is not None):
            await self._see_all(reading, query, hits)
        await self._speller.settle_hits(reading, hits, query.facet_name)
        return {
            "facetHits": hits.hits(reading.index, query.facet_name),
            "facetQuery": query.facet_query,
            "processingTimeMs": 0,
        }

    async def _see_all(self, reading: Reading, query: FacetSearchQuery, hits: FacetHits) -> None:
        """Let the spellings of all documents raise doubts: those found are not the ones that decide."""
        body = {"facetName": query.facet_name, "facetQuery": query.facet_query}
        for answer in await self._scatter.ask(
            reading, lambda share, _: Ask("/facet-search", with_filter(body, share.shard_filter))
        ):
            for hit in answer.value["facetHits"]:
                hits.see(hit["value"])

    async def _judged(
        self, reading: Reading, query: FacetSearchQuery, body: JsonObject, refusal: NodeRefusal
    ) -> ApiError:
        """The refusal in the words for the client's own filter, not for the form we ask it in."""
        ask = Ask("/facet-search", with_filter(body, query.search.filter))
        plain = await self._scatter.judgement(reading, ask, refusal.share)
        return as_api_error(plain or refusal.body, reading.index)

    async def _counted(self, reading: Reading, query: FacetSearchQuery) -> dict[str, tuple[int, str]] | None:
        """Values by normal form where a node counts only what a search of its own comes across.

        That is so with a distinct attribute or a threshold; None where every match counts.
        """
        search = query.search
        reduced = (
            reading.index.settings.get("distinctAttribute") or search.ranking_score_threshold is not None
        )
        if not reduced or (search.hybrid is not None and search.hybrid.semantic_ratio > 0.0):
            return None
        counting = replace(search, facets=(query.facet_name,), limit=_SEARCHED)
        if query.exhaustive_facet_count:
            counting = replace(counting, page=1, hits_per_page=0)
        try:
            ranked = await self._search.rank(reading, counting)
        except ApiError:  # facets of the search need more rights than a facet search
            return None
        assert ranked.facets is not None
        values = ranked.facets.strings(query.facet_name)
        if query.facet_query is None:
            return values
        matcher = FacetMatcher(reading.index.settings, query.facet_name, query.facet_query)
        return {key: value for key, value in values.items() if matcher.matches(key)}

"""Facet search over all shards. reference: search-semantics D.6, H9."""

from __future__ import annotations

from typing import Any

from miroir.core.facet_merge import merge_facet_hits
from miroir.core.node_errors import as_api_error
from miroir.core.reserved import is_reserved
from miroir.core.search_plan import facet_search_body, shard_proof, with_filter
from miroir.meili.codes import ApiError
from miroir.meili.commands import FacetSearchQuery
from miroir.services.scatter import Ask, NodeRefusal, Reading, Scatter


class FacetSearch:
    """Searches the values of one facet of one index."""

    def __init__(self, scatter: Scatter) -> None:
        self._scatter = scatter

    async def search(self, reading: Reading, query: FacetSearchQuery) -> dict[str, Any]:
        """The answer's JSON, `processingTimeMs` for the caller to fill in. Raises ApiError."""
        if is_reserved(query.facet_name):
            raise ApiError(
                "invalid_facet_search_facet_name", f"Attribute `{query.facet_name}` is not facet-searchable."
            )
        body = facet_search_body(query)
        try:
            answers = await self._scatter.ask(
                reading,
                lambda share, _: Ask(
                    "/facet-search",
                    with_filter(body, share.shard_filter, shard_proof(reading.index, query.search.filter)),
                ),
            )
        except NodeRefusal as refusal:
            raise as_api_error(refusal.body, reading.index) from refusal
        hits = merge_facet_hits(
            [answer.value["facetHits"] for answer in answers], reading.index, query.facet_name
        )
        return {"facetHits": hits, "facetQuery": query.facet_query, "processingTimeMs": 0}

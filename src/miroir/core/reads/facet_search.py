"""What a facet search asks of each node. reference: search-semantics D.6."""

from __future__ import annotations

from miroir.core.reads.search_plan import matching_body
from miroir.meili.commands import FacetSearchQuery, JsonObject


def facet_search_body(query: FacetSearchQuery) -> JsonObject:
    """A facet search for every node, without filters."""
    body = matching_body(query.search)
    body["facetName"] = query.facet_name
    if query.facet_query is not None:
        body["facetQuery"] = query.facet_query
    if query.exhaustive_facet_count is not None:
        body["exhaustiveFacetCount"] = query.exhaustive_facet_count
    if query.search.ranking_score_threshold is not None:
        body["rankingScoreThreshold"] = query.search.ranking_score_threshold
    if query.search.vector is not None:
        body["vector"] = list(query.search.vector)
    if query.search.hybrid is not None:
        hybrid = query.search.hybrid
        body["hybrid"] = {"embedder": hybrid.embedder, "semanticRatio": hybrid.semantic_ratio}
    return body

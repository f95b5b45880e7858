"""Documents like a given one, by the vectors of an embedder. Source: search-semantics F.4; api 7.8."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pyroaring import BitMap

from miroir.engine.filtering import filter_documents
from miroir.engine.formatting.hits import HitMaker
from miroir.engine.index import Index
from miroir.engine.ranking.score import VectorDetail
from miroir.engine.search import everything, max_total_hits
from miroir.engine.vectors import Embedder
from miroir.meili import filters
from miroir.meili.codes import ApiError
from miroir.meili.commands import SearchQuery, SimilarQuery

JsonObject = dict[str, Any]
_FILTER_CODE = "invalid_similar_filter"


def similar(index: Index, query: SimilarQuery, *, is_enabled: Callable[[str], bool]) -> JsonObject:
    """The answer of `/similar` in the order of the API, without the time.

    Raises:
        ApiError: unknown embedder, document or attribute.
    """
    embedder = index.vectors.embedders.get(query.embedder)
    if embedder is None:
        raise ApiError("invalid_similar_embedder", f"Cannot find embedder with name `{query.embedder}`.")
    node = filters.parse(query.filter, _FILTER_CODE)
    filters.check_features(node, is_enabled)
    if query.refused_id is not None:
        raise query.refused_id
    docid = index.docids.get(query.id)
    if docid is None:
        raise ApiError("not_found_similar_id", f"Document `{query.id}` not found.")
    universe = everything(index)
    if node is not None:
        universe = filter_documents(index, node, universe, _FILTER_CODE)
    universe = universe - BitMap((docid,))
    found, candidates = _page(
        _neighbours(embedder, docid, universe, query.limit + query.offset + 1), query, universe
    )
    search = SearchQuery(
        attributes_to_retrieve=query.attributes_to_retrieve,
        retrieve_vectors=query.retrieve_vectors,
        show_ranking_score=query.show_ranking_score,
        show_ranking_score_details=query.show_ranking_score_details,
    )
    maker = HitMaker(index, search)
    return {
        "hits": [maker.make(neighbour, (VectorDetail(similarity),)) for neighbour, similarity in found],
        "id": query.id,
        "limit": query.limit,
        "offset": query.offset,
        "estimatedTotalHits": min(len(candidates), max_total_hits(index.settings)),
    }


def _neighbours(embedder: Embedder, docid: int, universe: BitMap, limit: int) -> list[tuple[int, float]]:
    """Documents near the document, best first; each once."""
    best: dict[int, float] = {}
    for neighbour, similarity in embedder.near_document(docid, universe, limit):
        best.setdefault(neighbour, similarity)
    return list(best.items())


def _page(
    neighbours: Sequence[tuple[int, float]], query: SimilarQuery, universe: BitMap
) -> tuple[list[tuple[int, float]], BitMap]:
    """The page, and what counts as found: a hit below the threshold ends both."""
    end = query.offset + query.limit
    page: list[tuple[int, float]] = []
    for place, (neighbour, similarity) in enumerate(neighbours[query.offset : end], query.offset):
        if query.ranking_score_threshold is not None and similarity < query.ranking_score_threshold:
            seen = BitMap(docid for docid, _ in neighbours[:place])
            return page, universe & seen
        page.append((neighbour, similarity))
    return page, universe

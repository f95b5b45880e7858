"""Documents near a document: its vector from its owner, then a semantic search everywhere. reference: H24."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from miroir.core.hashing import shard_of
from miroir.core.reads.covering import cover
from miroir.core.reads.node_errors import as_api_error
from miroir.core.reads.search_plan import join_filters, max_total_hits, only, similar_body
from miroir.core.reserved import SEQ_FIELD
from miroir.meili.codes import ApiError
from miroir.meili.commands import Hybrid, SearchQuery, SimilarQuery
from miroir.services.reads.scatter import Ask, NodeRefusal, Reading, Scatter, incomplete
from miroir.services.reads.search import IndexSearch, finish


class Similar:
    """Finds similar documents of one index."""

    def __init__(self, scatter: Scatter) -> None:
        self._scatter = scatter
        self._search = IndexSearch(scatter)

    async def search(self, reading: Reading, query: SimilarQuery) -> dict[str, Any]:
        """The answer's JSON, `processingTimeMs` for the caller to fill in. Raises ApiError."""
        source = await self._source(reading, query)
        vector = _vector(source, query.embedder)
        end = min(query.offset + query.limit, max_total_hits(reading.index))
        hits: list[Any] = []
        total = 0
        if vector is None:
            # Nothing is near to it; found is what could have been, as the server counts.
            await self._validate(reading, query)
            all_of_them = SearchQuery(limit=1, filter=query.filter)
            ranked = await self._search.rank(reading, all_of_them, depth=1)
            total = ranked.total - int(await self._passes(reading, query, source))
        else:
            near = SearchQuery(
                vector=vector,
                hybrid=Hybrid(query.embedder, 1.0),
                limit=end + 1,
                filter=query.filter,
                attributes_to_retrieve=query.attributes_to_retrieve,
                retrieve_vectors=query.retrieve_vectors,
                show_ranking_score=query.show_ranking_score,
                show_ranking_score_details=query.show_ranking_score_details,
                ranking_score_threshold=query.ranking_score_threshold,
            )
            try:
                ranked = await self._search.rank(reading, near, depth=end + 1)
            except ApiError:
                await self._validate(reading, query)  # says it in the words of this route
                raise
            others = [hit for hit in ranked.hits if hit.seq != source[SEQ_FIELD]]
            shown_itself = len(others) < len(ranked.hits)
            total = ranked.total - int(shown_itself or await self._passes(reading, query, source))
            near_ones = [hit for hit in others if hit.details["vectorSort"]["similarity"] is not None]
            hits = finish(ranked, near_ones[query.offset : end])
        return {
            "hits": hits,
            "id": query.id,
            "processingTimeMs": 0,
            "limit": query.limit,
            "offset": query.offset,
            "estimatedTotalHits": total,
        }

    async def _source(self, reading: Reading, query: SimilarQuery) -> dict[str, Any]:
        """The document itself, with its vectors."""
        ask = Ask(f"/documents/{quote(query.id, safe='')}", method="GET", query="retrieveVectors=true")
        try:
            answers = await self._ask_owner(reading, query, ask)
        except NodeRefusal as refusal:
            await self._validate(reading, query)
            raise as_api_error(refusal.body, reading.index) from refusal
        document: dict[str, Any] = answers[0].value
        return document

    async def _validate(self, reading: Reading, query: SimilarQuery) -> None:
        """Let a node judge the request as the client wrote it."""
        try:
            await self._ask_owner(reading, query, Ask("/similar", similar_body(query)))
        except NodeRefusal as refusal:
            raise as_api_error(refusal.body, reading.index) from refusal

    async def _passes(self, reading: Reading, query: SimilarQuery, source: dict[str, Any]) -> bool:
        """Whether the document itself is among the candidates."""
        if query.ranking_score_threshold is not None:
            return False
        joined = join_filters(only([source[SEQ_FIELD]]), query.filter)
        answers = await self._ask_owner(reading, query, Ask("/search", {"limit": 0, "filter": joined}))
        return bool(answers[0].value["estimatedTotalHits"])

    async def _ask_owner(self, reading: Reading, query: SimilarQuery, ask: Ask) -> list[Any]:
        shard = shard_of(query.id, reading.index.shard_count)
        covering = cover(reading.snapshot, reading.index, rotation=reading.rotation, shards=[shard])
        if covering.missing:
            raise incomplete(reading.index, covering.missing)
        return await self._scatter.ask(reading, lambda _share, _origin: ask, shares=covering.shares)


def _vector(document: dict[str, Any], embedder: str) -> tuple[float, ...] | None:
    """The document's (first) vector of an embedder."""
    entry = (document.get("_vectors") or {}).get(embedder)
    vectors = entry.get("embeddings") if isinstance(entry, dict) else entry
    if not vectors:
        return None
    return tuple(vectors[0] if isinstance(vectors[0], list) else vectors)

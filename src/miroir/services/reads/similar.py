"""Documents near a document: its vector from its owner, then a semantic search everywhere. reference: H24."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import quote

from miroir.core.hashing import shard_of
from miroir.core.reads.merging import Hit, take_hits
from miroir.core.reads.node_errors import as_api_error
from miroir.core.reads.search_plan import Kind, SearchPlan, join_filters, node_search, only, plan_search
from miroir.core.reads.similar import (
    compare_here,
    compared_here,
    is_settled,
    nearest,
    page_of,
    ranks_by_similarity,
    shown_total,
    similar_body,
    undistinguished,
    vector_of,
)
from miroir.core.reserved import SEQ_FIELD
from miroir.meili.codes import ApiError
from miroir.meili.commands import FilterValue, Hybrid, SearchQuery, SimilarQuery
from miroir.meili.document_ids import MAX_ID_BYTES
from miroir.services.reads.listing import LISTED_MAX
from miroir.services.reads.scatter import Ask, Builder, NodeRefusal, Reading, Scatter
from miroir.services.reads.search import shown

#: the longest id there can be
_NOWHERE = "_" * MAX_ID_BYTES


class Similar:
    """Finds similar documents of one index."""

    def __init__(self, scatter: Scatter) -> None:
        self._scatter = scatter

    async def search(self, reading: Reading, query: SimilarQuery) -> dict[str, Any]:
        """The answer's JSON, `processingTimeMs` for the caller to fill in. Raises ApiError."""
        if query.refused_id is not None:
            await self._judge_the_rest(reading, query)
            raise query.refused_id
        source = await self._source(reading, query)
        if not await self._passes(reading, query, query.rule, source):
            await self._judge_the_rest(reading, query)
            raise ApiError("not_found_similar_id", f"Document `{query.id}` not found.")
        vector = vector_of(source, query.embedder)
        if vector is None:
            await self._validate(reading, query)
        kind: Kind = "keyword" if vector is None else "semantic"
        plan = undistinguished(plan_search(reading.index, _asked(query, vector), kind=kind))
        try:
            near, total = await self._near(reading, plan, source, query, vector)
        except NodeRefusal as refusal:
            await self._validate(reading, query)  # says it in the words of this route
            raise as_api_error(refusal.body, reading.index) from refusal
        page, total = page_of(near, query, total)
        return {
            "hits": shown(plan, page),
            "id": query.id,
            "processingTimeMs": 0,
            "limit": query.limit,
            "offset": query.offset,
            "estimatedTotalHits": shown_total(reading.index, total),
        }

    async def _near(
        self,
        reading: Reading,
        plan: SearchPlan,
        source: dict[str, Any],
        query: SimilarQuery,
        vector: tuple[float, ...] | None,
    ) -> tuple[list[Hit], int]:
        """(the nearest, at least to the end of the page; the number of documents that could be among them)."""
        itself = source[SEQ_FIELD]
        wanted = query.offset + query.limit + 1
        size = wanted if ranks_by_similarity(plan) else LISTED_MAX
        while True:
            asked = replace(plan, body=plan.body | {"limit": size})
            if compared_here(plan):
                asked.body["retrieveVectors"] = True
            answers = await self._scatter.ask(reading, _asking(asked))
            lists = [take_hits(answer.value["hits"], place) for place, answer in enumerate(answers)]
            if compared_here(plan):
                compare_here(lists, plan)
            found = nearest(lists, plan)
            if is_settled(lists, found, plan, wanted, size) or size >= LISTED_MAX:
                break
            size = min(4 * size, LISTED_MAX)
        total = sum(answer.value["estimatedTotalHits"] for answer in answers)
        shown_itself = any(hit.seq == itself for hits in lists for hit in hits)
        total -= int(shown_itself or await self._passes(reading, query, plan.filter, source))
        return [hit for hit in found if hit.seq != itself], total

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

    async def _judge_the_rest(self, reading: Reading, query: SimilarQuery) -> None:
        """Let a node judge a request without an id, by asking it for a document that nobody has."""
        try:
            await self._validate(reading, replace(query, id=_NOWHERE))
        except ApiError as error:
            if error.code != "not_found_similar_id":
                raise

    async def _passes(
        self, reading: Reading, query: SimilarQuery, wanted: FilterValue | None, source: dict[str, Any]
    ) -> bool:
        """Whether the document itself passes a filter. Raises ApiError."""
        if wanted is None:
            return True
        joined = join_filters(only([source[SEQ_FIELD]]), wanted)
        try:
            answers = await self._ask_owner(reading, query, Ask("/search", {"limit": 0, "filter": joined}))
        except NodeRefusal as refusal:
            await self._validate(reading, query)  # says it in the words of this route
            raise as_api_error(refusal.body, reading.index) from refusal
        return bool(answers[0].value["estimatedTotalHits"])

    async def _ask_owner(self, reading: Reading, query: SimilarQuery, ask: Ask) -> list[Any]:
        owners = self._scatter.owners(reading, {shard_of(query.id, reading.index.shard_count)})
        return await self._scatter.ask(reading, lambda _share, _origin: ask, shares=owners)


def _asking(plan: SearchPlan) -> Builder:
    return lambda share, _: Ask("/search", node_search(plan, share))


def _asked(query: SimilarQuery, vector: tuple[float, ...] | None) -> SearchQuery:
    """The search for what is near; everything that passes the filter when there is nothing to be near to."""
    end = query.offset + query.limit + 1
    return SearchQuery(
        vector=vector,
        hybrid=None if vector is None else Hybrid(query.embedder, 1.0),
        limit=end,
        filter=query.filter,
        attributes_to_retrieve=query.attributes_to_retrieve,
        retrieve_vectors=query.retrieve_vectors,
        show_ranking_score=query.show_ranking_score,
        show_ranking_score_details=query.show_ranking_score_details,
    )

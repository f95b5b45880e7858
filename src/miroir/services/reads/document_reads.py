"""Documents by list, by id, and what an index holds in sum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode

from miroir.core.hashing import shard_of
from miroir.core.reads.covering import Share, cover
from miroir.core.reads.document_reads import (
    SORT_VALUES_HEADER,
    added_fields,
    fetch_body,
    holds_only,
    merge_documents,
    merge_stats,
)
from miroir.core.reads.field_lists import fields_body, merge_fields
from miroir.core.reads.node_errors import as_api_error
from miroir.core.reads.projection import Finisher, Projection
from miroir.core.reads.search_plan import join_filters
from miroir.core.reserved import is_reserved
from miroir.meili.codes import ApiError
from miroir.meili.commands import DocumentGet, DocumentsQuery, FieldsQuery
from miroir.services.reads.scatter import Ask, NodeRefusal, Reading, Scatter, incomplete


class DocumentReads:
    """Reads documents of one index."""

    def __init__(self, scatter: Scatter) -> None:
        self._scatter = scatter

    async def list(self, reading: Reading, query: DocumentsQuery) -> dict[str, Any]:
        """A page in insertion order, or in the order of `sort`. Raises ApiError."""
        headers = SORT_VALUES_HEADER if query.sort else {}
        shares = reading.shares if query.ids is None else self._owners(reading, query.ids)
        try:
            answers = await self._scatter.ask(
                reading,
                lambda share, _: Ask(
                    "/documents/fetch", fetch_body(reading.index, query, share), headers=headers
                ),
                shares=shares,
            )
        except NodeRefusal as refusal:
            raise await self._judged(reading, query, refusal) from refusal
        finisher = _finisher(reading, added_fields(query))
        page = merge_documents([answer.value["results"] for answer in answers], query)
        return {
            "results": [finisher.document(document) for document in page],
            "offset": query.offset,
            "limit": query.limit,
            "total": sum(answer.value["total"] for answer in answers),
        }

    async def _judged(self, reading: Reading, query: DocumentsQuery, refusal: NodeRefusal) -> ApiError:
        """The refusal in the words for the client's own filter, not for the form we ask it in."""
        if query.filter is not None:
            ask = Ask("/documents/fetch", {"filter": query.filter, "limit": 0})
            try:
                await self._scatter.ask(reading, lambda _share, _origin: ask, shares=[refusal.share])
            except NodeRefusal as plain:
                refusal = plain
        return as_api_error(refusal.body, reading.index)

    def _owners(self, reading: Reading, ids: Sequence[str]) -> tuple[Share, ...]:
        """Only the shards that can hold these ids; at least one is asked, so that a bad request is refused."""
        count = reading.index.shard_count
        shards = {shard_of(each, count) for each in ids} or {0}
        covering = cover(reading.snapshot, reading.index, rotation=reading.rotation, shards=shards)
        if covering.missing:
            raise incomplete(reading.index, covering.missing)
        return covering.shares

    async def get(self, reading: Reading, query: DocumentGet) -> dict[str, Any]:
        """One document by id. Raises ApiError document_not_found."""
        parameters: dict[str, str] = {}
        if query.fields is not None:
            parameters["fields"] = ",".join(query.fields)
        if query.retrieve_vectors:
            parameters["retrieveVectors"] = "true"
        ask = Ask(f"/documents/{quote(query.id, safe='')}", method="GET", query=urlencode(parameters))
        try:
            answers = await self._scatter.ask(
                reading, lambda _share, _origin: ask, shares=self._owners(reading, (query.id,))
            )
        except NodeRefusal as refusal:
            if refusal.body.get("code") == "document_not_found":
                raise ApiError("document_not_found", f"Document `{query.id}` not found.") from refusal
            raise as_api_error(refusal.body, reading.index) from refusal
        return _finisher(reading, ()).document(answers[0].value)

    async def fields(self, reading: Reading, query: FieldsQuery) -> Sequence[dict[str, Any]]:
        """Every field of the index that the query wants, by name. Raises ApiError."""
        body = fields_body(query)
        try:
            answers = await self._scatter.ask(reading, lambda _share, _origin: Ask("/fields", body))
        except NodeRefusal as refusal:
            raise as_api_error(refusal.body, reading.index) from refusal
        return merge_fields([answer.value["results"] for answer in answers], reading.index, query)

    async def stats(self, reading: Reading) -> dict[str, Any]:
        """Sums over the index, every shard once.

        A node that holds more than it answers for counts its documents by filter; its sizes, embeddings and
        field distribution are then taken in proportion, for a node cannot tell them apart by shard.
        """
        answers = await self._scatter.ask(reading, lambda _share, _origin: Ask("/stats", method="GET"))
        counts = await self._scatter.ask(
            reading,
            lambda share, _: (
                None
                if holds_only(reading.index, share)
                else Ask("/search", {"limit": 0, "filter": join_filters(share.shard_filter)})
            ),
        )
        exact = {answer.share.shards: answer.value["estimatedTotalHits"] for answer in counts}
        parts: list[dict[str, Any]] = []
        fields: dict[str, int] = {}
        for answer in answers:
            held = answer.value["numberOfDocuments"]
            mine = exact.get(answer.share.shards, held)
            share = mine / held if held else 0.0
            part = {
                key: round(value * share) for key, value in answer.value.items() if isinstance(value, int)
            }
            parts.append({**part, "numberOfDocuments": mine})
            for name, count in answer.value["fieldDistribution"].items():
                if not is_reserved(name):
                    fields[name] = fields.get(name, 0) + round(count * share)
        return {**merge_stats(parts), "fieldDistribution": dict(sorted(fields.items()))}


def _finisher(reading: Reading, added: tuple[str, ...]) -> Finisher:
    order = {name: place for place, name in enumerate(reading.index.field_order)}
    return Finisher(
        Projection(retrieve=None, added=added, shown=None, highlight=None, crop=None, field_order=order)
    )

"""Documents by list, by id, and what an index holds in sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlencode

from miroir.core.hashing import shard_of
from miroir.core.reads.covering import Share
from miroir.core.reads.document_reads import (
    SORT_VALUES_HEADER,
    add_no_distances,
    added_fields,
    fetch_body,
    lacks_points,
    merge_documents,
    without_distances,
)
from miroir.core.reads.field_lists import fields_body, merge_fields
from miroir.core.reads.listing_order import depends_on_dropped, sorted_page, unsorted
from miroir.core.reads.node_errors import as_api_error
from miroir.core.reads.projection import Finisher, Projection
from miroir.core.reads.search_plan import only
from miroir.core.reserved import SEQ_FIELD
from miroir.core.topology import NodeId
from miroir.meili.codes import ApiError
from miroir.meili.commands import DocumentGet, DocumentsQuery, FieldsQuery, JsonObject
from miroir.services.reads.listing import LISTED_MAX
from miroir.services.reads.scatter import Ask, NodeRefusal, Reading, Scatter

#: what each node showed
Lists = list[list[JsonObject]]


class DocumentReads:
    """Reads documents of one index."""

    def __init__(self, scatter: Scatter) -> None:
        self._scatter = scatter

    async def list(self, reading: Reading, query: DocumentsQuery) -> dict[str, Any]:
        """A page in insertion order, or in the order of `sort`. Raises ApiError."""
        try:
            lists, total = await self._lists(reading, query)
            page: Sequence[JsonObject] = merge_documents(lists, query)
            if depends_on_dropped(query) and total <= LISTED_MAX:
                page = await self._reordered(reading, query, page)
        except NodeRefusal as refusal:
            raise await self._judged(reading, query, refusal) from refusal
        finisher = _finisher(reading, added_fields(query))
        return {
            "results": [finisher.document(document) for document in page],
            "offset": query.offset,
            "limit": query.limit,
            "total": total,
        }

    async def _lists(self, reading: Reading, query: DocumentsQuery, *filters: str) -> tuple[Lists, int]:
        """(each node's documents, how many they are in all). A node without points is asked without distances."""
        shares = reading.shares if query.ids is None else self._owners(reading, query.ids)
        headers = SORT_VALUES_HEADER if query.sort else {}
        pointless: set[NodeId] = set()

        def build(share: Share, _: int) -> Ask:
            asked = without_distances(query) if share.node in pointless else query
            return Ask("/documents/fetch", fetch_body(reading.index, asked, share, *filters), headers=headers)

        while True:
            try:
                answers = await self._scatter.ask(reading, build, shares=shares)
                break
            except NodeRefusal as refusal:
                node = refusal.share.node
                if node in pointless or not lacks_points(reading.index, query, refusal.body):
                    raise
                pointless.add(node)
        for answer in answers:
            if answer.share.node in pointless:
                add_no_distances(answer.value["results"], query)
        return [answer.value["results"] for answer in answers], sum(a.value["total"] for a in answers)

    async def _reordered(
        self, reading: Reading, query: DocumentsQuery, page: Sequence[JsonObject]
    ) -> Sequence[JsonObject]:
        """The page where documents that the order drops count for the offset."""
        lists, _ = await self._lists(reading, unsorted(query, LISTED_MAX))
        documents = [document for each in lists for document in each]
        documents.sort(key=lambda document: str(document[SEQ_FIELD]))
        wanted = sorted_page(documents, query)
        if wanted == [document[SEQ_FIELD] for document in page]:
            return page
        if not wanted:
            return []
        lists, _ = await self._lists(reading, replace(query, sort=None, offset=0), only(wanted))
        found = {document[SEQ_FIELD]: document for each in lists for document in each}
        return [found[seq] for seq in wanted if seq in found]

    async def _judged(self, reading: Reading, query: DocumentsQuery, refusal: NodeRefusal) -> ApiError:
        """The refusal in the words for the client's own filter, not for the form we ask it in."""
        plain = None
        if query.filter is not None:
            ask = Ask("/documents/fetch", {"filter": query.filter, "limit": 0})
            plain = await self._scatter.judgement(reading, ask, refusal.share)
        return as_api_error(plain or refusal.body, reading.index)

    def _owners(self, reading: Reading, ids: Sequence[str]) -> tuple[Share, ...]:
        """Only the shards that can hold these ids; at least one is asked, so that a bad request is refused."""
        count = reading.index.shard_count
        return self._scatter.owners(reading, {shard_of(each, count) for each in ids} or {0})

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


def _finisher(reading: Reading, added: tuple[str, ...]) -> Finisher:
    order = {name: place for place, name in enumerate(reading.index.field_order)}
    return Finisher(
        Projection(retrieve=None, added=added, shown=None, highlight=None, crop=None, field_order=order)
    )

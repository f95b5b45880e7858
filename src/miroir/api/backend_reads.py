"""The routes that only read: from a decoded call to the one method of `services.reads` that answers it.

The filters of a tenant token are added to every query here, so that nothing below can forget them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from miroir.api.backend import Answer, Handler
from miroir.meili.auth import combine_filters, rule_filter
from miroir.meili.commands import Access, Call, MultiSearch, SearchQuery, SimilarQuery
from miroir.services.reads import Reads

INCLUDE_METADATA = "meili-include-metadata"
Q = TypeVar("Q", SearchQuery, SimilarQuery)


def read_handlers(reads: Reads) -> Mapping[str, Handler]:
    """Route name -> handler, for `OrchestratorBackend`."""

    async def search(call: Call) -> Answer:
        uid = _uid(call)
        return await reads.search(
            uid, restricted(call.args, call.access, uid), include_metadata=_wants_metadata(call)
        )

    async def multi_search(call: Call) -> Answer:
        asked: MultiSearch = call.args
        queries = tuple(
            replace(item, search=restricted(item.search, call.access, item.index_uid))
            for item in asked.queries
        )
        return await reads.multi_search(
            replace(asked, queries=queries), include_metadata=_wants_metadata(call)
        )

    async def facet_search(call: Call) -> Answer:
        uid = _uid(call)
        inner = restricted(call.args.search, call.access, uid)
        return await reads.facet_search(uid, replace(call.args, search=inner))

    async def similar(call: Call) -> Answer:
        uid = _uid(call)
        return await reads.similar(uid, restricted(call.args, call.access, uid))

    return {
        "search": search,
        "multi_search": multi_search,
        "facet_search": facet_search,
        "similar": similar,
        "documents.list": _of_index(reads.documents_list),
        "documents.fetch": _of_index(reads.documents_list),
        "document.get": _of_index(reads.document_get),
        "index.fields": _of_index(reads.fields),
    }


def restricted(query: Q, access: Access, index_uid: str) -> Q:
    """The query with the tenant's filter of this index, if there is one, ANDed to its own."""
    rule = rule_filter(access, index_uid)
    return query if rule is None else replace(query, filter=combine_filters(rule, query.filter))


def _of_index(answer: Callable[..., Awaitable[Answer]]) -> Handler:
    async def handle(call: Call) -> Answer:
        return await answer(_uid(call), call.args)

    return handle


def _uid(call: Call) -> str:
    assert call.index_uid is not None, "a route of an index"
    return call.index_uid


def _wants_metadata(call: Call) -> bool:
    return call.request.headers.get(INCLUDE_METADATA, "").strip().lower() in ("true", "1")

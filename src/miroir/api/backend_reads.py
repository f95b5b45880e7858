"""The routes that only read: from a decoded call to the one method of `services.reads` that answers it.

The filters of a tenant token are added to every query here, so that nothing below can forget them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from miroir.api.backend import Answer, Handler
from miroir.core.writes.reserved_words import (
    refuse_facet_search,
    refuse_filter,
    refuse_multi_search,
    refuse_names,
    refuse_search,
    refuse_similar,
)
from miroir.errors import without_frames
from miroir.meili.auth import combine_filters, rule_filter
from miroir.meili.codes import ApiError
from miroir.meili.commands import Access, Call, MultiSearch, SearchQuery, SimilarQuery
from miroir.services.readers import Readers
from miroir.services.reads.reads import Reads

INCLUDE_METADATA = "meili-include-metadata"
Q = TypeVar("Q", SearchQuery, SimilarQuery)


def read_handlers(reads: Reads) -> Mapping[str, Handler]:
    """Route name -> handler, for `OrchestratorBackend`."""

    async def search(call: Call) -> Answer:
        uid = _uid(call)
        query = restricted(call.args, call.access, uid)
        refuse_search(query)
        return await reads.search(uid, query, include_metadata=_wants_metadata(call))

    async def multi_search(call: Call) -> Answer:
        asked: MultiSearch = call.args
        queries = tuple(
            replace(item, search=restricted(item.search, call.access, item.index_uid))
            for item in asked.queries
        )
        request = replace(asked, queries=queries)
        refuse_multi_search(request)
        return await reads.multi_search(request, include_metadata=_wants_metadata(call))

    async def facet_search(call: Call) -> Answer:
        uid = _uid(call)
        inner = restricted(call.args.search, call.access, uid)
        query = replace(call.args, search=inner)
        refuse_facet_search(query)
        return await reads.facet_search(uid, query)

    async def similar(call: Call) -> Answer:
        uid = _uid(call)
        query = replace(restricted(call.args, call.access, uid), rule=rule_filter(call.access, uid))
        refuse_similar(query)
        return await reads.similar(uid, query)

    async def list_documents(call: Call) -> Answer:
        refuse_filter(call.args.filter, "invalid_document_filter")
        refuse_names(call.args.sort or ())
        return await reads.documents_list(_uid(call), call.args)

    return {
        "search": search,
        "multi_search": multi_search,
        "facet_search": facet_search,
        "similar": similar,
        "documents.list": list_documents,
        "documents.fetch": list_documents,
        "document.get": _of_index(reads.document_get),
        "index.fields": _of_index(reads.fields),
    }


def watched(handlers: Mapping[str, Handler], readers: Readers) -> Mapping[str, Handler]:
    """The same handlers, each read known to `readers` from its beginning to its end."""

    def one(handler: Handler) -> Handler:
        async def handle(call: Call) -> Answer:
            with readers.reading():
                try:
                    return await handler(call)
                except ApiError as error:
                    without_frames(error)
                    raise

        return handle

    return {route: one(handler) for route, handler in handlers.items()}


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

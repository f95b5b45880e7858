"""The routes that only read: from a decoded call to the one method of `services.reads` that answers it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from miroir.api.backend import Answer, Handler
from miroir.meili.commands import Call
from miroir.services.reads import Reads

INCLUDE_METADATA = "meili-include-metadata"


def read_handlers(reads: Reads) -> Mapping[str, Handler]:
    """Route name -> handler, for `OrchestratorBackend`."""

    async def search(call: Call) -> Answer:
        return await reads.search(_uid(call), call.args, include_metadata=_wants_metadata(call))

    async def multi_search(call: Call) -> Answer:
        return await reads.multi_search(call.args, include_metadata=_wants_metadata(call))

    return {
        "search": search,
        "multi_search": multi_search,
        "facet_search": _of_index(reads.facet_search),
        "similar": _of_index(reads.similar),
        "documents.list": _of_index(reads.documents_list),
        "documents.fetch": _of_index(reads.documents_list),
        "document.get": _of_index(reads.document_get),
    }


def _of_index(answer: Callable[..., Awaitable[Answer]]) -> Handler:
    async def handle(call: Call) -> Answer:
        return await answer(_uid(call), call.args)

    return handle


def _uid(call: Call) -> str:
    assert call.index_uid is not None, "a route of an index"
    return call.index_uid


def _wants_metadata(call: Call) -> bool:
    return call.request.headers.get(INCLUDE_METADATA, "").strip().lower() == "true"

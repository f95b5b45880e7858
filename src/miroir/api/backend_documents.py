"""Routes that change documents."""

from __future__ import annotations

from collections.abc import Mapping

from miroir.api.accepting import accepted_reply, idempotency_of, uid_of
from miroir.api.backend import Answer, Handler
from miroir.core.writes.reserved_words import refuse_filter
from miroir.meili.commands import Call
from miroir.meili.documents import check_edit
from miroir.meili.filters import check_features, parse
from miroir.services.writes.writes import WritePath


def document_handlers(writes: WritePath) -> Mapping[str, Handler]:
    """Route name -> handler."""
    ingest = writes.ingest

    def is_enabled(feature: str) -> bool:
        return bool(writes.registry.features.get(feature, False))

    async def add(call: Call) -> Answer:
        return accepted_reply(
            await ingest.add(
                uid_of(call),
                call.args,
                may_create=call.access.may_create_indexes,
                idempotency=idempotency_of(call),
            )
        )

    async def delete(call: Call) -> Answer:
        if call.args.filter is not None:
            refuse_filter(call.args.filter, "invalid_document_filter")
            node = parse(call.args.filter, "invalid_document_filter")
            check_features(node, is_enabled)
        return accepted_reply(await ingest.delete(uid_of(call), call.args, idempotency=idempotency_of(call)))

    async def edit(call: Call) -> Answer:
        check_edit(call.args, uid_of(call), is_enabled)
        refuse_filter(call.args.filter, "invalid_document_filter")
        return accepted_reply(await ingest.edit(uid_of(call), call.args, idempotency=idempotency_of(call)))

    return {
        "documents.add": add,
        "documents.delete_batch": delete,
        "documents.delete_filter": delete,
        "documents.clear": delete,
        "document.delete": delete,
        "documents.edit": edit,
    }

"""Routes of indexes: reads from the visible catalogue, changes through the op log."""

from __future__ import annotations

from collections.abc import Mapping

from miroir.api.accepting import accepted_reply, idempotency_of, uid_of
from miroir.api.backend import Answer, Handler
from miroir.core.topology import IndexView
from miroir.meili.commands import Call, IndexCreate, IndexUpdate, Page
from miroir.meili.indexes import cut, index_not_found, index_view, page_view
from miroir.services.writes.writes import WritePath


def view(index: IndexView) -> dict[str, object]:
    """IndexView of the API."""
    return index_view(index.uid, index.created_at, index.updated_at, index.primary_key)


def visible_index(writes: WritePath, uid: str) -> IndexView:
    """The index readers see. Raises ApiError index_not_found."""
    found = writes.cluster.snapshot().indexes.get(uid)
    if found is None:
        raise index_not_found(uid)
    return found


def index_handlers(writes: WritePath) -> Mapping[str, Handler]:
    """Route name -> handler."""
    ingest = writes.ingest

    async def list_all(call: Call) -> Answer:
        page: Page = call.args
        indexes = writes.cluster.snapshot().indexes
        seen = [index for uid, index in sorted(indexes.items()) if call.access.sees(uid)]
        return 200, page_view([view(index) for index in cut(seen, page)], page, len(seen))

    async def get(call: Call) -> Answer:
        return 200, view(visible_index(writes, uid_of(call)))

    async def create(call: Call) -> Answer:
        args: IndexCreate = call.args
        return accepted_reply(
            await ingest.create_index(args.uid, args.primary_key, idempotency=idempotency_of(call))
        )

    async def update(call: Call) -> Answer:
        args: IndexUpdate = call.args
        return accepted_reply(
            await ingest.update_index(
                uid_of(call), args.primary_key, args.new_uid, idempotency=idempotency_of(call)
            )
        )

    async def delete(call: Call) -> Answer:
        return accepted_reply(await ingest.delete_index(uid_of(call), idempotency=idempotency_of(call)))

    async def compact(call: Call) -> Answer:
        return accepted_reply(await ingest.compact(uid_of(call), idempotency=idempotency_of(call)))

    async def swap(call: Call) -> Answer:
        return accepted_reply(await ingest.swap(call.args, idempotency=idempotency_of(call)))

    return {
        "indexes.list": list_all,
        "indexes.create": create,
        "index.get": get,
        "index.update": update,
        "index.delete": delete,
        "index.compact": compact,
        "swap": swap,
    }

"""Routes of indexes: create, read, change, delete, swap, compact, fields."""

from __future__ import annotations

from miroir.engine.catalog import LiveIndex
from miroir.engine.field_views import field_views
from miroir.engine.jobs import CreateIndex, DeleteIndex, Simple, SwapIndexes, SwapPair, UpdateIndex
from miroir.engine.routing import ACCEPTED, Answer, Handler
from miroir.engine.state import State
from miroir.meili.commands import Call, FieldsQuery, IndexCreate, IndexUpdate, Page, Swap
from miroir.meili.indexes import cut, index_view, page_view


def _view(live: LiveIndex) -> dict[str, object]:
    return index_view(live.uid, live.created_at, live.updated_at, live.index.primary_key)


def _list(state: State, call: Call) -> Answer:
    page: Page = call.args
    seen = [live for uid, live in sorted(state.scheduler.catalog.items()) if call.access.sees(uid)]
    return 200, page_view([_view(live) for live in cut(seen, page)], page, len(seen))


def _get(state: State, call: Call) -> Answer:
    return 200, _view(state.index(call.index_uid))


def _create(state: State, call: Call) -> Answer:
    args: IndexCreate = call.args
    return ACCEPTED, state.enqueue(
        "indexCreation",
        CreateIndex(primary_key=args.primary_key),
        index_uid=args.uid,
        details={"primaryKey": args.primary_key},
    )


def _update(state: State, call: Call) -> Answer:
    args: IndexUpdate = call.args
    details: dict[str, object] = {"primaryKey": args.primary_key}
    if args.new_uid is not None:
        details |= {"oldIndexUid": call.index_uid, "newIndexUid": args.new_uid}
    return ACCEPTED, state.enqueue(
        "indexUpdate",
        UpdateIndex(primary_key=args.primary_key, new_uid=args.new_uid),
        index_uid=call.index_uid,
        details=details,
    )


def _delete(state: State, call: Call) -> Answer:
    return ACCEPTED, state.enqueue(
        "indexDeletion", DeleteIndex(), index_uid=call.index_uid, details={"deletedDocuments": None}
    )


def _compact(state: State, call: Call) -> Answer:
    return ACCEPTED, state.enqueue("indexCompaction", Simple(), index_uid=call.index_uid, details={})


def _swap(state: State, call: Call) -> Answer:
    swaps: tuple[Swap, ...] = call.args
    shown = [{"indexes": list(swap.indexes), "rename": swap.rename} for swap in swaps]
    pairs = [SwapPair(swap.indexes[0], swap.indexes[1], swap.rename) for swap in swaps]
    return ACCEPTED, state.enqueue(
        "indexSwap",
        SwapIndexes(pairs=pairs),
        details={"swaps": shown},
        swaps=tuple((pair.left, pair.right) for pair in pairs),
    )


def _fields(state: State, call: Call) -> Answer:
    query: FieldsQuery = call.args
    found = field_views(state.index(call.index_uid).index, query)
    page = Page(query.offset, query.limit)
    return 200, page_view(cut(found, page), page, len(found))


ROUTES: dict[str, Handler] = {
    "indexes.list": _list,
    "indexes.create": _create,
    "index.get": _get,
    "index.update": _update,
    "index.delete": _delete,
    "index.compact": _compact,
    "index.fields": _fields,
    "swap": _swap,
}

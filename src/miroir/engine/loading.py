"""From the store to searchable indexes, when the engine starts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import orjson

from miroir.engine.catalog import LiveIndex
from miroir.engine.document_changes import Change, counted
from miroir.engine.indexing import empty_index, with_changes
from miroir.engine.store import Store
from miroir.engine.stored_documents import load_document
from miroir.meili.primary_keys import document_id

Breathe = Callable[[], Awaitable[None]]


async def load_catalog(store: Store, breathe: Breathe) -> dict[str, LiveIndex]:
    """Every index, its search structures built from its documents."""
    catalog = {}
    for number, row in store.indexes():
        index = empty_index(orjson.loads(row.settings), row.primary_key, row.field_ids)
        changes = []
        size = 0
        for docid, body in store.documents(number):
            document = load_document(body)
            size += len(body)
            assert row.primary_key is not None
            changes.append(Change(docid, document_id(document, row.primary_key), None, document))
        if changes:
            index = await with_changes(
                index, changes, primary_key=row.primary_key, names=row.field_ids, breathe=breathe
            )
        live = LiveIndex(number, row.uid, index, row.created_at, row.updated_at, counted({}, changes), size)
        catalog[row.uid] = live
    return catalog

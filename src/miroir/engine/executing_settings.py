"""Batches that change settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from miroir.engine.catalog import LiveIndex
from miroir.engine.index import Document, Index
from miroir.engine.indexing import prefixed, with_settings
from miroir.engine.jobs import UpdateSettings
from miroir.engine.persistent import PersistentMap
from miroir.engine.running import Runner
from miroir.engine.store import Store
from miroir.engine.stored_documents import dump_document
from miroir.meili import settings
from miroir.meili.codes import ApiError
from miroir.meili.commands import SettingsWrite


async def change_settings(
    runner: Runner, live: LiveIndex, jobs: Sequence[UpdateSettings]
) -> tuple[LiveIndex, list[Callable[[Store], None]]]:
    """The index under the settings that all jobs, one after the other, come to, and what to write for it.

    Raises:
        ApiError: the settings do not fit what is stored.
    """
    wanted: Mapping[str, Any] = live.index.settings
    try:
        for job in jobs:
            write = SettingsWrite(patch=job.patch, reset_all=job.reset_all, is_deletion=job.is_deletion)
            wanted = settings.apply_write(wanted, write)
        index, documents = _with_vectors_returned(live.index, wanted)
        index = await with_settings(index, wanted, runner.breathe)
    except ApiError as error:
        raise prefixed(error, live.uid) from error
    number = live.number
    written = [(docid, dump_document(document)) for docid, document in documents.items()]
    changed = replace(live, index=index, updated_at=runner.now_ns())
    return changed, [lambda store: store.put_documents(number, written)]


def _with_vectors_returned(
    index: Index, settings_wanted: Mapping[str, Any]
) -> tuple[Index, dict[int, Document]]:
    """Vectors of embedders that go away become part of the documents they were sent with."""
    gone = [name for name in index.vectors.embedders if name not in (settings_wanted.get("embedders") or {})]
    documents: dict[int, Document] = {}
    for name in gone:
        embedder = index.vectors.embedders[name]
        for docid in embedder.known:
            if docid in embedder.regenerates:
                continue
            document = documents.get(docid) or dict(index.documents[docid])
            vectors = {"regenerate": False, "embeddings": embedder.vectors_of(docid)}
            document["_vectors"] = {**(document.get("_vectors") or {}), name: vectors}
            documents[docid] = document
    if not documents:
        return index, {}
    stored = index.documents
    assert isinstance(stored, PersistentMap)
    return replace(index, documents=stored.updated(documents)), documents

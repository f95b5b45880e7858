"""Dumps of any version into a store that is still empty; what waited when the dump was made waits again."""

from __future__ import annotations

import tarfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import orjson

from miroir.engine.errors import EngineError
from miroir.engine.jobs import (
    AddDocuments,
    AnyJob,
    ClearDocuments,
    CreateIndex,
    DeleteDocuments,
    DeleteIndex,
    UpdateIndex,
    UpdateSettings,
    encode_job,
)
from miroir.engine.store import IndexRow, Store
from miroir.engine.stored_documents import dump_document, load_document
from miroir.meili import dump_format, dump_history, settings
from miroir.meili.codes import ApiError
from miroir.meili.dump_archive import source_of
from miroir.meili.dump_contents import DumpContents, DumpSource, IndexDump, PendingTask, read_dump
from miroir.meili.dump_older_tasks import older_history
from miroir.meili.primary_keys import document_id
from miroir.meili.tasks import FINISHED, Task
from miroir.meili.webhooks import Webhook

_encode = msgspec.msgpack.Encoder().encode


def import_dump(store: Store, path: Path, now_ns: int) -> None:
    """Fill an empty store from a dump, all or nothing.

    Raises:
        EngineError: the store is not empty, or the file is no dump that can be read.
    """
    if store.indexes() or store.next_task_uid():
        raise EngineError("a dump can be imported into an empty directory only")
    try:
        with tarfile.open(path, "r:*") as archive, store.transaction():
            source = source_of(archive, now_ns, lambda: str(uuid.uuid4()))
            contents = read_dump(source)
            _import_instance(store, contents)
            for number, index in enumerate(contents.indexes, 1):
                _import_index(store, number, index, source)
            _import_history(store, source)
            for pending in contents.pending:
                _import_pending(store, pending, source)
    except (OSError, tarfile.TarError, KeyError, ValueError, TypeError, ApiError) as error:
        raise EngineError(f"cannot import {path}: {error}") from error


def _import_instance(store: Store, contents: DumpContents) -> None:
    if contents.instance_uid:
        store.set_meta("instance_uid", contents.instance_uid)
    if contents.features:
        store.set_meta("features", orjson.dumps(contents.features))
    for key in contents.keys:
        store.put_record("keys", key.uid, _encode(key))
    for uid, hook in contents.webhooks.items():
        webhook = Webhook(uuid=uid, url=hook["url"], headers=hook.get("headers") or {})
        store.put_record("webhooks", uid, _encode(webhook))


def _import_index(store: Store, number: int, index: IndexDump, source: DumpSource) -> None:
    wanted = settings.apply_write(settings.defaults(), settings.decode_settings(index.settings))
    key = index.primary_key
    names: dict[str, None] = {} if key is None else {key.split(".")[0]: None}

    def documents() -> Iterator[tuple[int, bytes]]:
        for docid, line in enumerate(source.lines(index.documents)):
            document = load_document(line)
            document_id(document, key or "")
            names.update(dict.fromkeys(document))
            yield docid, dump_document(document)

    store.put_documents(number, documents())
    row = IndexRow(
        uid=index.uid,
        primary_key=key,
        created_at=source.now_ns if index.created_at is None else index.created_at,
        updated_at=source.now_ns if index.updated_at is None else index.updated_at,
        settings=orjson.dumps(wanted),
        field_ids=list(names),
    )
    store.put_index(number, row)


def _import_history(store: Store, source: DumpSource) -> None:
    """Tasks that had ended, and their batches, which dumps before version 6 do not tell."""
    for task in older_history(source):
        store.put_task(task)
    for line in source.lines(dump_format.TASKS):
        task, _, _ = dump_history.read_task(line)
        if task.status in FINISHED:
            store.put_task(task)
    for line in source.lines(dump_format.BATCHES):
        batch = dump_history.read_batch(line)
        store.put_batch(batch.uid, _encode(batch))


def _import_pending(store: Store, pending: PendingTask, source: DumpSource) -> None:
    kind, details, job = _JOBS[pending.kind](pending, source)
    task = Task(
        uid=pending.task.uid,
        kind=kind,
        index_uid=pending.index_uid,
        details=details,
        enqueued_at=pending.task.enqueued_at,
        custom_metadata=pending.task.custom_metadata,
    )
    store.put_task(task)
    store.put_job(task.uid, encode_job(job))


_Made = tuple[str, dict[str, Any], AnyJob]


def _added(pending: PendingTask, source: DumpSource) -> _Made:
    lines = source.lines(pending.file or "")
    if pending.is_array:
        documents = orjson.loads(b"".join(lines) or b"[]")
    else:
        documents = [load_document(line) for line in lines]
    payload = pending.payload
    job = AddDocuments(
        merge=payload["merge"],
        documents=documents,
        primary_key=payload["primary_key"],
        may_create=payload["may_create"],
    )
    counts = {"receivedDocuments": len(documents), "indexedDocuments": None}
    return "documentAdditionOrUpdate", counts, job


def _deleted(pending: PendingTask, _: DumpSource) -> _Made:
    ids = [str(one) for one in pending.payload["ids"]]
    counts = {"providedIds": len(ids), "deletedDocuments": None, "originalFilter": None}
    return "documentDeletion", counts, DeleteDocuments(ids=ids)


def _settled(pending: PendingTask, _: DumpSource) -> _Made:
    shown = {name: v for name, v in pending.payload["settings"].items() if name not in dump_format.LEFT_OUT}
    write = settings.decode_settings(shown)
    return "settingsUpdate", settings.details(write), UpdateSettings(patch=write.patch)


def _updated(pending: PendingTask, _: DumpSource) -> _Made:
    key, new_uid = pending.payload["primary_key"], pending.payload["new_uid"]
    details = {"primaryKey": key}
    if new_uid is not None:
        details |= {"oldIndexUid": pending.index_uid, "newIndexUid": new_uid}
    return "indexUpdate", details, UpdateIndex(primary_key=key, new_uid=new_uid)


def _created(pending: PendingTask, _: DumpSource) -> _Made:
    key = pending.payload["primary_key"]
    return "indexCreation", {"primaryKey": key}, CreateIndex(primary_key=key)


_JOBS: dict[str, Callable[[PendingTask, DumpSource], _Made]] = {
    "add": _added,
    "delete": _deleted,
    "clear": lambda pending, source: ("documentDeletion", {"deletedDocuments": None}, ClearDocuments()),
    "settings": _settled,
    "create": _created,
    "update": _updated,
    "drop": lambda pending, source: ("indexDeletion", {"deletedDocuments": None}, DeleteIndex()),
}

"""Dumps in Meilisearch's format (version 6): written by a task, imported into a store that is still empty.

What is in one: indexes with settings and documents, keys, features, webhooks, the instance's uid. The history of
tasks and batches is left out: their files are there, and empty.
Source of the format: crates/dump of Meilisearch v1.50.
"""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import msgspec
import orjson

from miroir.engine.catalog import LiveIndex
from miroir.engine.errors import EngineError
from miroir.engine.running import Runner
from miroir.engine.store import IndexRow, Store
from miroir.engine.stored_documents import dump_document, load_document
from miroir.meili import dump_format, settings
from miroir.meili.codes import ApiError
from miroir.meili.dates import parse_rfc3339
from miroir.meili.keys import Key
from miroir.meili.primary_keys import document_id

_DOCUMENTS_PER_STEP = 1000
_decode_key = msgspec.msgpack.Decoder(Key).decode
_encode = msgspec.msgpack.Encoder().encode


async def write_dump(runner: Runner, path: Path) -> None:
    """Write everything as of now; the file appears complete or not at all. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    catalog = runner.catalog
    unfinished = path.with_suffix(".partial")
    with tarfile.open(unfinished, "w:gz", compresslevel=1) as archive:
        _add(archive, dump_format.METADATA, dump_format.metadata(runner.now_ns()))
        _add(archive, dump_format.INSTANCE_UID, runner.store.meta("instance_uid") or b"")
        keys = [_decode_key(record) for record in runner.store.records("keys").values()]
        _add(archive, dump_format.KEYS, dump_format.key_lines(keys))
        _add(archive, dump_format.FEATURES, orjson.dumps(dict(runner.features)))
        for name in dump_format.EMPTY:
            _add(archive, name, b"")
        for uid, live in sorted(catalog.items()):
            await runner.breathe()
            await _add_index(runner, archive, uid, live)
    unfinished.replace(path)


async def _add_index(runner: Runner, archive: tarfile.TarFile, uid: str, live: LiveIndex) -> None:
    for name, content in dump_format.index_files(
        uid, live.index.primary_key, live.created_at, live.updated_at, live.index.settings
    ):
        _add(archive, name, content)
    body = io.BytesIO()
    for place, docid in enumerate(sorted(live.index.documents)):
        if place % _DOCUMENTS_PER_STEP == 0:
            await runner.breathe()
        body.write(dump_document(live.index.documents[docid]) + b"\n")
    _add(archive, dump_format.documents_file(uid), body.getvalue())


def _add(archive: tarfile.TarFile, name: str, body: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(body)
    archive.addfile(member, io.BytesIO(body))


# --- importing ----------------------------------------------------------------------------------


def import_dump(store: Store, path: Path, now_ns: int) -> None:
    """Fill an empty store from a dump, all or nothing.

    Raises:
        EngineError: the store is not empty, or the file is no dump that can be read.
    """
    if store.indexes() or store.next_task_uid():
        raise EngineError("a dump can be imported into an empty directory only")
    try:
        with tarfile.open(path, "r:*") as archive, store.transaction():
            members = {member.name.removeprefix("./"): member for member in archive.getmembers()}
            _import_all(store, archive, members, now_ns)
    except (OSError, tarfile.TarError, KeyError, ValueError, TypeError, ApiError) as error:
        raise EngineError(f"cannot import {path}: {error}") from error


def _import_all(
    store: Store, archive: tarfile.TarFile, members: dict[str, tarfile.TarInfo], now_ns: int
) -> None:
    def read(name: str) -> bytes:
        member = members.get(name)
        found = archive.extractfile(member) if member is not None else None
        return b"" if found is None else found.read()

    dump_format.check_metadata(read(dump_format.METADATA))
    if uid := read(dump_format.INSTANCE_UID):
        store.set_meta("instance_uid", uid.strip())
    if features := read(dump_format.FEATURES):
        store.set_meta("features", features)
    for key in dump_format.read_keys(read(dump_format.KEYS), now_ns):
        store.put_record("keys", key.uid, _encode(key))
    for number, index_uid in enumerate(dump_format.index_uids(members), 1):
        _import_index(store, number, index_uid, read, now_ns)


def _import_index(store: Store, number: int, uid: str, read: Any, now_ns: int) -> None:
    metadata = orjson.loads(read(f"indexes/{uid}/metadata.json"))
    wanted = settings.apply_write(
        settings.defaults(), settings.decode_settings(orjson.loads(read(f"indexes/{uid}/settings.json")))
    )
    primary_key = metadata["primaryKey"]
    names: dict[str, None] = {} if primary_key is None else {primary_key.split(".")[0]: None}
    written = []
    for docid, line in enumerate(read(dump_format.documents_file(uid)).splitlines()):
        document = load_document(line)
        document_id(document, primary_key)
        names.update(dict.fromkeys(document))
        written.append((docid, dump_document(document)))
    row = IndexRow(
        uid=uid,
        primary_key=primary_key,
        created_at=parse_rfc3339(metadata["createdAt"]) or now_ns,
        updated_at=parse_rfc3339(metadata["updatedAt"]) or now_ns,
        settings=orjson.dumps(wanted),
        field_ids=list(names),
    )
    store.put_index(number, row)
    store.put_documents(number, written)

"""Dumps in Meilisearch's format (version 6): written by a task, imported into a store that is still empty.

What is in one: indexes with settings and documents, keys, features, webhooks, the instance's uid. The history of
tasks and batches is left out: their files are there, and empty.
Source of the format: crates/dump of Meilisearch v1.50.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import orjson

from miroir.engine.catalog import LiveIndex
from miroir.engine.errors import EngineError
from miroir.engine.primary_keys import document_id
from miroir.engine.running import Runner
from miroir.engine.store import IndexRow, Store
from miroir.engine.stored_documents import dump_document, load_document
from miroir.meili import settings
from miroir.meili.codes import ApiError
from miroir.meili.dates import format_date, format_optional_date, parse_rfc3339
from miroir.meili.keys import Key

VERSION = "V6"
DATABASE_VERSION = "1.50.0"

_DOCUMENTS_PER_STEP = 1000
#: Settings behind features, which the importing server may not know.
_LEFT_OUT = ("foreignKeys", "chat")
_decode_key = msgspec.msgpack.Decoder(Key).decode
_encode = msgspec.msgpack.Encoder().encode


async def write_dump(runner: Runner, path: Path) -> None:
    """Write everything as of now; the file appears complete or not at all. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    catalog = runner.catalog
    unfinished = path.with_suffix(".partial")
    with tarfile.open(unfinished, "w:gz", compresslevel=1) as archive:
        metadata = {
            "dumpVersion": VERSION,
            "dbVersion": DATABASE_VERSION,
            "dumpDate": format_date(runner.now_ns()),
        }
        _add(archive, "metadata.json", orjson.dumps(metadata))
        _add(archive, "instance_uid.uuid", runner.store.meta("instance_uid") or b"")
        _add(
            archive,
            "keys.jsonl",
            _lines(_shown_key(record) for record in runner.store.records("keys").values()),
        )
        _add(archive, "experimental-features.json", orjson.dumps(dict(runner.features)))
        for name in ("tasks/queue.jsonl", "batches/queue.jsonl"):
            _add(archive, name, b"")
        for uid, live in sorted(catalog.items()):
            await runner.breathe()
            await _add_index(runner, archive, uid, live)
    unfinished.replace(path)


async def _add_index(runner: Runner, archive: tarfile.TarFile, uid: str, live: LiveIndex) -> None:
    metadata = {
        "uid": uid,
        "primaryKey": live.index.primary_key,
        "createdAt": format_date(live.created_at),
        "updatedAt": format_date(live.updated_at),
    }
    shown = {name: value for name, value in live.index.settings.items() if name not in _LEFT_OUT}
    _add(archive, f"indexes/{uid}/metadata.json", orjson.dumps(metadata))
    _add(archive, f"indexes/{uid}/settings.json", orjson.dumps(shown))
    body = io.BytesIO()
    for place, docid in enumerate(sorted(live.index.documents)):
        if place % _DOCUMENTS_PER_STEP == 0:
            await runner.breathe()
        body.write(dump_document(live.index.documents[docid]) + b"\n")
    _add(archive, f"indexes/{uid}/documents.jsonl", body.getvalue())


def _add(archive: tarfile.TarFile, name: str, body: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(body)
    archive.addfile(member, io.BytesIO(body))


def _lines(values: Iterator[Any]) -> bytes:
    return b"".join(orjson.dumps(value) + b"\n" for value in values)


def _shown_key(record: bytes) -> dict[str, Any]:
    key = _decode_key(record)
    texts = {
        name: text
        for name, text in (("description", key.description), ("name", key.name))
        if text is not None
    }
    return {
        **texts,
        "uid": key.uid,
        "actions": list(key.actions),
        "indexes": list(key.indexes),
        "expires_at": format_optional_date(key.expires_at),
        "created_at": format_date(key.created_at),
        "updated_at": format_date(key.updated_at),
    }


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

    version = orjson.loads(read("metadata.json"))["dumpVersion"]
    if version != VERSION:
        raise EngineError(f"the dump has version {version}, only {VERSION} can be imported")
    if uid := read("instance_uid.uuid"):
        store.set_meta("instance_uid", uid.strip())
    if features := read("experimental-features.json"):
        store.set_meta("features", features)
    for line in read("keys.jsonl").splitlines():
        key = _read_key(orjson.loads(line), now_ns)
        store.put_record("keys", key.uid, _encode(key))
    uids = sorted(
        {name.split("/")[1] for name in members if name.startswith("indexes/") and name.count("/") == 2}
    )
    for number, index_uid in enumerate(uids, 1):
        _import_index(store, number, index_uid, read, now_ns)


def _import_index(store: Store, number: int, uid: str, read: Any, now_ns: int) -> None:
    metadata = orjson.loads(read(f"indexes/{uid}/metadata.json"))
    wanted = settings.apply_write(
        settings.defaults(), settings.decode_settings(orjson.loads(read(f"indexes/{uid}/settings.json")))
    )
    primary_key = metadata["primaryKey"]
    names: dict[str, None] = {} if primary_key is None else {primary_key.split(".")[0]: None}
    written = []
    for docid, line in enumerate(read(f"indexes/{uid}/documents.jsonl").splitlines()):
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


def _read_key(found: dict[str, Any], now_ns: int) -> Key:
    expires = found.get("expires_at")
    return Key(
        uid=found["uid"],
        name=found.get("name"),
        description=found.get("description"),
        actions=tuple(found["actions"]),
        indexes=tuple(found["indexes"]),
        expires_at=None if expires is None else parse_rfc3339(expires),
        created_at=parse_rfc3339(found["created_at"]) or now_ns,
        updated_at=parse_rfc3339(found["updated_at"]) or now_ns,
    )

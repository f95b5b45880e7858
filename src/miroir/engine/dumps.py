"""Dumps in Meilisearch's format (version 6), written by a task.

What is in one: indexes with settings and documents, keys, features, webhooks, the instance's uid, and the tasks and
batches that have ended.
Source of the format: crates/dump of Meilisearch v1.50.
"""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import msgspec
import orjson

from miroir.engine.catalog import LiveIndex
from miroir.engine.running import Runner
from miroir.engine.stored_documents import dump_document
from miroir.meili import dump_format, dump_history
from miroir.meili.keys import Key
from miroir.meili.tasks import BatchTasks, Task
from miroir.meili.webhooks import Webhook

_DOCUMENTS_PER_STEP = 1000
_TASKS_PER_STEP = 500
_decode_key = msgspec.msgpack.Decoder(Key).decode
_decode_webhook = msgspec.msgpack.Decoder(Webhook).decode


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
        hooks = [_decode_webhook(record) for record in runner.store.records("webhooks").values()]
        _add(archive, dump_format.WEBHOOKS, dump_format.webhooks(hooks))
        await _add_history(runner, archive)
        for uid, live in sorted(catalog.items()):
            await runner.breathe()
            await _add_index(runner, archive, uid, live)
    unfinished.replace(path)


async def _add_history(runner: Runner, archive: tarfile.TarFile) -> None:
    body = io.BytesIO()
    together: dict[int, list[Task]] = {}
    for place, task in enumerate(list(runner.queue.tasks.values())):
        if place % _TASKS_PER_STEP == 0:
            await runner.breathe()
        body.write(dump_history.task_line(task))
        if task.batch_uid is not None:
            together.setdefault(task.batch_uid, []).append(task)
    _add(archive, dump_format.TASKS, body.getvalue())
    body = io.BytesIO()
    for place, batch in enumerate(list(runner.queue.batches.values())):
        if place % _TASKS_PER_STEP == 0:
            await runner.breathe()
        body.write(dump_history.batch_line(BatchTasks(batch, together.get(batch.uid, ()))))
    _add(archive, dump_format.BATCHES, body.getvalue())


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

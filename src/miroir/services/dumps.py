"""A dump of the whole cluster at one position of the log, in Meilisearch's format.

It is an op behind which every index it holds stands still: what is before it is in, what is after it is not. Each
document comes once, from any replica in sync, without our marks, in the order of its number.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import orjson

from miroir.core.records import OpRecord
from miroir.core.reserved import RESERVED_PREFIX
from miroir.core.topology import IndexView
from miroir.core.writes.document_ids import document_ids
from miroir.core.writes.task_table import TaskTable
from miroir.core.writes.write_limits import WriteLimits
from miroir.meili import dump_format
from miroir.meili.codes import ApiError
from miroir.meili.dump_history import batch_line, task_line
from miroir.meili.tasks import FINISHED
from miroir.ports.dumps import DumpError, DumpFile, DumpFiles
from miroir.ports.store import Reader, Store, Table
from miroir.services.cluster import Cluster
from miroir.services.document_pages import PAGE, DocumentPages
from miroir.services.registry import Registry
from miroir.services.writes.books import stored_numbers

#: how long a page may stay unreadable: every write waits meanwhile
_PATIENCE_S = 30.0


class Dumps:
    """Carries out dump ops."""

    def __init__(
        self,
        files: DumpFiles,
        store: Store,
        cluster: Cluster,
        registry: Registry,
        pages: DocumentPages,
        limits: WriteLimits,
        now_ns: Callable[[], int],
        history: Callable[[], TaskTable],
    ) -> None:
        self._files = files
        self._store = store
        self._cluster = cluster
        self._registry = registry
        self._pages = pages
        self._limits = limits
        self._now_ns = now_ns
        self._history = history

    async def run(self, op: OpRecord) -> dict[str, Any]:
        """Write the dump; its uid as details. Raises ApiError, and then there is no file."""
        now = self._now_ns()
        uid = dump_format.dump_uid(now)
        try:
            async with self._files.create(uid) as out:
                await out.add(dump_format.METADATA, dump_format.metadata(now))
                await out.add(dump_format.INSTANCE_UID, self._cluster.cluster_id.encode())
                await out.add(dump_format.KEYS, dump_format.key_lines(self._registry.keys.values()))
                await out.add(dump_format.FEATURES, orjson.dumps(self._registry.features))
                hooks = dump_format.webhooks(self._registry.webhooks.values())
                await out.add(dump_format.WEBHOOKS, hooks)
                await out.add_pages(dump_format.TASKS, self._tasks(op.id))
                await out.add_pages(dump_format.BATCHES, self._batches(op.id))
                indexes = self._cluster.snapshot().indexes
                for name in op.names:
                    if name in indexes:
                        await self._add_index(out, indexes[name])
        except DumpError as error:
            raise ApiError(
                "dump_process_failed", f"An error happened while writing the dump: {error}"
            ) from error
        return {"dumpUid": uid}

    async def _add_index(self, out: DumpFile, view: IndexView) -> None:
        about = (view.uid, view.primary_key, view.created_at, view.updated_at)
        for name, body in dump_format.index_files(*about, view.settings):
            await out.add(name, body)
        await out.add_pages(dump_format.documents_file(view.uid), self._documents(view))

    async def _tasks(self, before: int) -> AsyncIterator[bytes]:
        """NDJSON of the tasks that have ended, a page at a time, of those accepted before the dump."""
        async for page in self._ended(before):
            yield b"".join(map(task_line, filter(None, map(self._history().get, page))))

    async def _batches(self, before: int) -> AsyncIterator[bytes]:
        async for page in self._ended(before):
            yield b"".join(map(batch_line, filter(None, map(self._history().batch, page))))

    async def _ended(self, before: int) -> AsyncIterator[list[int]]:
        uids = [uid for uid in self._history().oldest(FINISHED) if uid < before]
        for start in range(0, len(uids), PAGE):
            yield uids[start : start + PAGE]
            await asyncio.sleep(0)

    async def _documents(self, view: IndexView) -> AsyncIterator[bytes]:
        """NDJSON, a page at a time. Raises ApiError when a shard stays unreadable."""
        physical = view.key
        numbers = self._store.read(lambda reader: _in_order(reader, physical))
        for start in range(0, len(numbers), PAGE):
            ids = numbers[start : start + PAGE]
            yield _lines(await self._page(view, ids), ids, view.primary_key or "")

    async def _page(self, view: IndexView, ids: list[str]) -> list[dict[str, Any]]:
        loop = asyncio.get_running_loop()
        end, pause = loop.time() + _PATIENCE_S, self._limits.retry_first_s
        while True:
            found = await self._pages.page(view, ids, vectors=True)
            if found is not None:
                return found
            if loop.time() > end:
                raise ApiError("miroir_index_incomplete", f"Some shards of `{view.uid}` cannot be read now.")
            await asyncio.sleep(pause)
            pause = min(pause * 2, self._limits.retry_last_s)


def _in_order(reader: Reader, physical: str) -> list[str]:
    """Ids of the index's documents by their numbers."""
    rows = stored_numbers(reader.scan(Table.DOCUMENTS, (physical,)))
    return [document_id for _, document_id in sorted(rows)]


def _lines(documents: Iterable[dict[str, Any]], ids: list[str], primary_key: str) -> bytes:
    """The documents in the order of `ids`, without our marks, one a line."""
    place: dict[str, bytes] = {}
    for document in documents:
        shown = {name: value for name, value in document.items() if not name.startswith(RESERVED_PREFIX)}
        if not shown.get("_vectors", True):
            del shown["_vectors"]
        (document_id,) = document_ids((shown,), primary_key)
        place[document_id] = orjson.dumps(shown, option=orjson.OPT_APPEND_NEWLINE)
    return b"".join(place[document_id] for document_id in ids)

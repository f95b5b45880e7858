"""What a copy writes to its target: the index and its settings, pages of documents, hidden documents."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import msgspec
import orjson

from miroir.core.moves.cluster_view import MoveLimits
from miroir.core.moves.operation_records import CopyRecord
from miroir.core.records import IndexState, PlacementRecord
from miroir.core.topology import ReplicaState
from miroir.core.writes.node_settings import node_settings
from miroir.core.writes.ops import shards_tag
from miroir.services.moves.shard_calls import NodeRefusedError, ShardCalls
from miroir.services.moves.sources import Source, SourceReader

#: a page's task takes longer than an answer; its time in the target's queue counts
_SLOW_WRITES = 4


class CopyPages:
    """Raises NodeError and NodeRefusedError; whatever was written can be written again."""

    def __init__(self, calls: ShardCalls, reader: SourceReader) -> None:
        self._calls = calls
        self._reader = reader

    async def prepare(
        self, copy: CopyRecord, record: PlacementRecord, index: IndexState, source: Source
    ) -> list[str]:
        """The target has the index, its settings, and nothing old of these shards; returns the ids to copy."""
        physical, target = copy.physical, copy.target
        if copy.cursor is None:
            if not any(replicas.get(target) is ReplicaState.IN_SYNC for replicas in record.shards):
                if await self._calls.primary_key(target, physical) not in (None, index.primary_key):
                    await self._calls.drop_index(target, physical)  # a node keeps the key that it has
                wanted = node_settings(index.settings, exact=index.exact)
                await _must(self._calls.configure(target, physical, wanted), target, "settings")
            unplaced = [s for s, replicas in enumerate(record.shards) if target not in replicas]
            empty = [*copy.shards, *unplaced]  # what lies astray would be seen once the node is asked
            if await self._calls.count(target, physical, empty):
                wiping = self._calls.delete_shards(target, physical, empty, shards_tag("copy", empty))
                await _must(wiping, target, "deleting what was there")
        if index.primary_key is None:
            return []
        ids = await self._reader.ids(source, index.primary_key)
        return [one for one in ids if copy.cursor is None or one > copy.cursor]

    async def write(
        self, copy: CopyRecord, primary_key: str, source: Source, listing: list[str], limits: MoveLimits
    ) -> tuple[CopyRecord, list[str], float]:
        """One page; returns the copy further on, the ids that are left, and how long to pause (seconds)."""
        page = listing[: limits.page_documents]
        began = asyncio.get_running_loop().time()
        by_id = await self._reader.documents(source, primary_key, page)
        took_s = asyncio.get_running_loop().time() - began
        names = list(by_id)
        taken, lines = fitting([by_id[name] for name in names], limits.page_bytes)
        if taken:
            writing = self._calls.write(
                copy.target, copy.physical, primary_key, lines, shards_tag("copy", copy.shards)
            )
            await _must(writing, copy.target, "writing a page")
        wrote_s = asyncio.get_running_loop().time() - began - took_s
        last = page[-1] if taken == len(names) else names[taken - 1]
        further = msgspec.structs.replace(
            copy,
            cursor=last,
            documents=copy.documents + taken,
            size_bytes=copy.size_bytes + len(lines),
        )
        return (
            further,
            listing[listing.index(last) + 1 :],
            _pause_s(taken, len(lines), took_s, wrote_s, limits),
        )

    async def write_ghosts(self, copy: CopyRecord, primary_key: str, source: Source) -> None:
        """Hidden documents of an exact index: the same on every node of it, whatever shards it holds."""
        ours = await self._reader.ghosts(source, primary_key)
        theirs = await self._calls.ghosts(copy.target, copy.physical, primary_key)
        surplus = sorted(theirs.keys() - ours.keys())
        if surplus:
            deleting = self._calls.delete_ids(
                copy.target, copy.physical, surplus, shards_tag("copy", copy.shards)
            )
            await _must(deleting, copy.target, "deleting hidden documents")
        changed = [ghost for name, ghost in sorted(ours.items()) if theirs.get(name) != ghost]
        if changed:
            lines = b"".join(orjson.dumps(ghost, option=orjson.OPT_APPEND_NEWLINE) for ghost in changed)
            writing = self._calls.write(
                copy.target, copy.physical, primary_key, lines, shards_tag("copy", copy.shards)
            )
            await _must(writing, copy.target, "writing hidden documents")


async def _must(work: Awaitable[dict[str, Any] | None], node: str, what: str) -> None:
    error = await work
    if error is not None:
        raise NodeRefusedError(node, what, str(error.get("code")))


def _pause_s(documents: int, size: int, took_s: float, wrote_s: float, limits: MoveLimits) -> float:
    """To keep the bounds, and to leave a slow source, or a target whose queue is long, alone for as long as it took."""
    pause = took_s if took_s * 1000 > limits.slow_ms else 0.0
    if wrote_s * 1000 > limits.slow_ms * _SLOW_WRITES:
        pause = max(pause, wrote_s)
    if limits.documents_per_s:
        pause = max(pause, documents / limits.documents_per_s)
    if limits.bytes_per_s:
        pause = max(pause, size / limits.bytes_per_s)
    return pause


def fitting(documents: list[dict[str, Any]], bytes_max: int) -> tuple[int, bytes]:
    """(how many, NDJSON) of the first documents that fit; at least one."""
    lines: list[bytes] = []
    size = 0
    for document in documents:
        line = orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)
        if lines and size + len(line) > bytes_max:
            break
        lines.append(line)
        size += len(line)
    return len(lines), b"".join(lines)

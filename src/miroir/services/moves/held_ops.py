"""Ops that a copy holds back, as its target will get them: those after the boundary that touch its shards, in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from miroir.core.moves.operation_records import CopyRecord
from miroir.core.records import Resolution
from miroir.core.writes.document_ids import document_ids
from miroir.core.writes.ops import Action, shards_tag
from miroir.services.cluster import Cluster
from miroir.services.moves.shard_calls import ShardCalls
from miroir.services.writes.node_requests import RequestWriter
from miroir.services.writes.oplog import OpLog

_OPS_MAX = 200
_LINES_MAX = 5000
#: nodes refuse requests that are much larger
_BYTES_MAX = 8 << 20
#: what the ordinary lane of the target brings; the copy only waits until it has
_EVERYWHERE = frozenset({Action.SETTINGS, Action.PRIMARY_KEY})


@dataclass(frozen=True, slots=True)
class Batch:
    """Neighbouring ops as one request. `behind_lane`: only once the target's own lane has passed `last`."""

    action: Action
    last: int
    ops: int = 1
    numbers: tuple[int, ...] = ()
    merge: bool = False
    primary_key: str | None = None
    lines: tuple[bytes, ...] = ()
    ids: tuple[str, ...] = ()
    size_bytes: int = 0  #: of the lines
    behind_lane: bool = False


class HeldOps:
    """Reads the op log for copies."""

    def __init__(self, log: OpLog, writer: RequestWriter, cluster: Cluster) -> None:
        self._log = log
        self._writer = writer
        self._cluster = cluster

    def last_op(self, physical: str) -> int:
        """The last sequenced op of a layout's index that is still in the log, -1 without one."""
        return self._log.resolutions.last_of(self._cluster.owner(physical))

    @property
    def log_is_nearly_full(self) -> bool:
        """Whether copies must not make the log keep anything now."""
        return self._log.is_nearly_full

    def fills_the_log(self, copy: CopyRecord) -> bool:
        """Whether writes would soon be refused because of what is kept for this copy."""
        return self._log.is_nearly_full and any(
            self._log.has_outlived(op) for op, _ in self._after(copy, copy.boundary)
        )

    def next_batch(self, copy: CopyRecord) -> Batch | None:
        """What comes after `copy.followed`, None when there is nothing."""
        batch: Batch | None = None
        for op, resolution in self._after(copy, copy.followed):
            part = self._part(op, resolution, copy)
            if batch is None:
                batch = part
                continue
            joined = _joined(batch, part)
            if joined is None:
                break
            batch = joined
        return batch

    def changed_ids(self, copy: CopyRecord, since: int) -> set[str] | None:
        """Documents of the copy's shards that ops after `since` touch; None when that may be any."""
        changed: set[str] = set()
        for op, resolution in self._after(copy, since):
            part = self._part(op, resolution, copy)
            if part.action is Action.CLEAR:
                return None
            changed.update(part.ids)
            if part.lines:
                assert resolution.primary_key is not None
                changed.update(
                    document_ids([orjson.loads(line) for line in part.lines], resolution.primary_key)
                )
        return changed

    def singly(self, copy: CopyRecord, batch: Batch) -> Iterator[Batch]:
        """The ops of a batch one by one."""
        for op in batch.numbers:
            yield self._part(op, self._log.resolutions[op], copy)

    async def send(self, calls: ShardCalls, copy: CopyRecord, batch: Batch) -> dict[str, Any] | None:
        """Bring a batch to the target; returns the error of the node's task."""
        tag = shards_tag("copy", copy.shards)
        node, physical = copy.target, copy.physical
        if batch.action is Action.CLEAR:
            return await calls.delete_shards(node, physical, copy.shards, tag)
        if batch.ids:
            error = await calls.delete_ids(node, physical, batch.ids, tag)
            if error is not None or not batch.lines:
                return error
        if batch.lines:
            body = b"".join(batch.lines)
            return await calls.write(node, physical, batch.primary_key, body, tag, merge=batch.merge)
        return None

    def _after(self, copy: CopyRecord, op: int) -> list[tuple[int, Resolution]]:
        found = self._log.resolutions.after(self._cluster.owner(copy.physical), op)
        return [(number, resolution) for number, resolution in found if copy.physical in resolution.layouts]

    def _part(self, op: int, resolution: Resolution, copy: CopyRecord) -> Batch:
        action = Action(resolution.action)
        if action is Action.CLEAR:
            return Batch(action, op)
        behind = action in _EVERYWHERE or resolution.node_settings is not None
        if action is Action.ADD:
            lines = tuple(self._writer.lines_of(op, copy.physical, copy.shards))
            return Batch(
                action,
                op,
                numbers=(op,),
                merge=resolution.merge,
                primary_key=resolution.primary_key,
                lines=lines,
                size_bytes=sum(map(len, lines)),
                # An edition also deletes: first that, then what it writes.
                ids=tuple(self._writer.ids_of(op, copy.physical, copy.shards)) if resolution.ids else (),
                behind_lane=behind,
            )
        if action is Action.DELETE:
            return Batch(
                action, op, numbers=(op,), ids=tuple(self._writer.ids_of(op, copy.physical, copy.shards))
            )
        return Batch(Action.NONE, op, behind_lane=behind)


def _joined(left: Batch, right: Batch) -> Batch | None:
    """Both as one request, None when they must stay apart."""
    same = left.action is right.action and left.merge == right.merge
    if not same or left.primary_key != right.primary_key or left.action is Action.CLEAR:
        return None
    if left.action is Action.ADD and (left.ids or right.ids):
        return None
    if left.behind_lane or right.behind_lane or left.ops >= _OPS_MAX:
        return None
    if len(left.lines) + len(right.lines) > _LINES_MAX or left.size_bytes + right.size_bytes > _BYTES_MAX:
        return None
    return Batch(
        left.action,
        right.last,
        ops=left.ops + 1,
        numbers=(*left.numbers, *right.numbers),
        merge=left.merge,
        primary_key=left.primary_key,
        lines=(*left.lines, *right.lines),
        ids=(*left.ids, *right.ids),
        size_bytes=left.size_bytes + right.size_bytes,
    )

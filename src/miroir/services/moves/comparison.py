"""Is the copy equal to its source? Compared while writes go on; under the hold only what changed since is looked at.

Everything up to an op, the watermark, has been applied on both sides before either is read. A document that no later op
touches cannot change any more: it is equal on both, or the copies differ. All others, and those that differed because
they were read at different times, are read again when nothing moves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection
from dataclasses import dataclass
from typing import TypeVar

from miroir.core.moves.operation_records import CopyRecord
from miroir.ports.nodes import NodeError
from miroir.services.moves.held_ops import HeldOps
from miroir.services.moves.shard_calls import NodeRefusedError, ShardCalls, digest, ids_of
from miroir.services.moves.sources import Source, SourceReader

T = TypeVar("T")

#: documents that may be read again under the hold; with more, everything is compared once more before it
_AGAIN_MAX = 2000
#: comparisons ahead of the hold; then whatever changed meanwhile is read again under it
_AHEAD_MAX = 4
_PAGE = 1000
_AGAIN = -2  #: no task: whatever was read is void


@dataclass(slots=True)
class _Seen:
    """A comparison that was made: `suspects` are the ids that were not equal."""

    watermark: int
    attempts: int  #: of the copy: begun again, it is another one
    rounds: int
    suspects: set[str]
    task: int  #: the target's newest before it was read


class Comparison:
    """Raises NodeError and NodeRefusedError."""

    def __init__(self, calls: ShardCalls, held: HeldOps) -> None:
        self._calls = calls
        self._held = held
        self._seen: dict[int, _Seen] = {}
        self._next: dict[tuple[int, int], int] = {}  #: (copy, attempts) -> watermark of the next comparison

    def forget(self, copy: CopyRecord) -> None:
        """The copy is over."""
        self._seen.pop(copy.id, None)
        self._next = {key: op for key, op in self._next.items() if key[0] != copy.id}

    def is_due(self, copy: CopyRecord) -> bool:
        """Whether the copies are to be compared (again) before the hold."""
        seen = self._of(copy)
        if seen is None or seen.task == _AGAIN:
            return True
        if seen.rounds >= _AHEAD_MAX:
            return False
        changed = self._held.changed_ids(copy, seen.watermark)
        return changed is None or len(changed | seen.suspects) > _AGAIN_MAX

    def watermark(self, copy: CopyRecord) -> int:
        """The op that the source must have applied before `ahead`; the target has. Stays until then."""
        return self._next.setdefault((copy.id, copy.attempts), copy.followed)

    async def ahead(self, copy: CopyRecord, source: Source, primary_key: str) -> None:
        """Compare while writes go on. Both sides have applied everything up to the watermark."""
        watermark = self.watermark(copy)
        before = self._of(copy)
        task = await self._calls.newest_task(copy.target, copy.physical)
        ours, theirs = await self._both(
            *(
                self._calls.digests(node, copy.physical, primary_key, copy.shards)
                for node in (source.nodes[0], copy.target)
            )
        )
        suspects = {one for one in ours.keys() | theirs.keys() if ours.get(one) != theirs.get(one)}
        rounds = 1 if before is None else before.rounds + 1
        self._seen[copy.id] = _Seen(watermark, copy.attempts, rounds, suspects, task)
        del self._next[copy.id, copy.attempts]

    async def is_equal(self, copy: CopyRecord, source: Source, primary_key: str) -> bool | None:
        """Whether the copies are equal; None when that cannot be said now.

        Nothing is written meanwhile, everything has been applied on both sides. But a request of ours that was given
        up may have come late: then what was read ahead says nothing.
        """
        if source.is_other_layout:
            return await self._is_other_equal(copy, source, primary_key)
        nodes = (source.nodes[0], copy.target)
        seen = self._of(copy)
        ours_alone = seen and await self._calls.only_ours_since(
            copy.target, copy.physical, seen.task, copy.boundary
        )
        if seen is not None and ours_alone is None:
            return None
        if seen is not None and not ours_alone:
            if seen.rounds < _AHEAD_MAX:
                seen.task = _AGAIN
                return None
            seen = None
        ours, theirs = await self._both(
            *(self._calls.count(node, copy.physical, copy.shards) for node in nodes)
        )
        if ours != theirs:
            return False
        changed = None if seen is None else self._held.changed_ids(copy, seen.watermark)
        if seen is None or changed is None:
            every = [self._calls.digests(node, copy.physical, primary_key, copy.shards) for node in nodes]
            mine, other = await self._both(*every)
            return mine == other
        again = sorted(changed | seen.suspects)
        for first in range(0, len(again), _PAGE):
            page = again[first : first + _PAGE]
            mine, other = await self._both(*(self._some(node, copy, primary_key, page) for node in nodes))
            if mine != other:
                return False
        return True

    async def _is_other_equal(self, copy: CopyRecord, source: Source, primary_key: str) -> bool:
        """The same where the documents were read cut otherwise: all of them, under the hold."""
        ours = await SourceReader(self._calls).digests(source, primary_key, page=_PAGE)
        return ours == await self._calls.digests(copy.target, copy.physical, primary_key, copy.shards)

    def _of(self, copy: CopyRecord) -> _Seen | None:
        seen = self._seen.get(copy.id)
        return seen if seen is not None and seen.attempts == copy.attempts else None

    async def _some(
        self, node: str, copy: CopyRecord, primary_key: str, ids: Collection[str]
    ) -> dict[str, bytes]:
        found = await self._calls.documents(node, copy.physical, list(ids))
        return {
            name: digest(body) for name, body in zip(ids_of(node, found, primary_key), found, strict=True)
        }

    async def _both(self, first: Awaitable[T], second: Awaitable[T]) -> tuple[T, T]:
        """Both sides at once; a failure of one is raised when the other has ended, not in the middle of it."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_caught(side)) for side in (first, second)]
        ours, theirs = (task.result() for task in tasks)
        for found in (ours, theirs):
            if isinstance(found, NodeError | NodeRefusedError):
                raise found
        return ours, theirs  # type: ignore[return-value]


async def _caught(work: Awaitable[T]) -> T | NodeError | NodeRefusedError:
    try:
        return await work
    except (NodeError, NodeRefusedError) as error:
        return error

"""Makes an index's second layout equal to the one that is read, before readers go there.

Some shards at a time, while no op of the index is sequenced and everything is applied: what differs is written or
deleted there and then. Layouts differ after an op that nodes refused: they refuse whole requests, and each layout cuts
a payload into its own. What was verified stays so until the next refusal; this is kept in memory only.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import orjson
import structlog

from miroir.core.hashing import shard_of
from miroir.core.moves.cluster_view import MoveLimits
from miroir.core.records import IndexState, Resolution
from miroir.core.topology import NodeId, ReplicaState
from miroir.core.writes.ops import shards_tag
from miroir.services.cluster import Cluster
from miroir.services.moves.copy_pages import fitting
from miroir.services.moves.shard_calls import ShardCalls
from miroir.services.moves.sources import Cut, Source, SourceReader
from miroir.services.moves.standing import Standing
from miroir.services.writes.sequencer import Sequencer

log = structlog.get_logger()

_LOOK_S = 0.02
#: stands for the hidden documents of an exact index among the shards to be verified
GHOSTS = -1


async def _trust(node: NodeId) -> bool:
    return True


class LayoutCheck:
    """Raises NodeError and NodeRefusedError; whatever was repaired can be repaired again."""

    def __init__(
        self,
        cluster: Cluster,
        sequencer: Sequencer,
        standing: Standing,
        calls: ShardCalls,
        *,
        is_busy: Callable[[str], bool],
    ) -> None:
        """`is_busy`: whether an op of the index is on its way."""
        self._cluster = cluster
        self._sequencer = sequencer
        self._standing = standing
        self._calls = calls
        self._reader = SourceReader(calls)
        self._is_busy = is_busy
        self.trusted: Callable[[NodeId], Awaitable[bool]] = _trust
        self._left: dict[str, set[int]] = {}  #: layout -> shards to be verified; without an entry, all
        self.differed: Counter[str] = Counter()  #: layout -> documents that were set right
        self.failures: Counter[str] = Counter()  #: layout -> times that it could not be made equal

    def refused(self, op: int, resolution: Resolution) -> None:
        """A node did not do its part of an op."""
        for layout in resolution.layouts:
            everything = resolution.everywhere or bool(resolution.ghosts) or not resolution.shards
            touched = resolution.shards_in(layout)
            self.suspect(layout, (*self._all(layout),) if everything else touched)

    def suspect(self, layout: str, shards: Collection[int]) -> None:
        """These are to be verified again."""
        if layout in self._left:
            self._left[layout].update(shards)

    def equal(self, layout: str) -> None:
        """The layout is, now, what another one was verified against."""
        self._left[layout] = set()

    def forget(self, *layouts: str | None) -> None:
        """They are of no interest any more."""
        for layout in layouts:
            if layout is not None:
                self._left.pop(layout, None)
                self.differed.pop(layout, None)
                self.failures.pop(layout, None)

    def left(self, layout: str) -> int:
        """How many shards are to be verified."""
        return len(self._left[layout] if layout in self._left else self._all(layout))

    def _all(self, layout: str) -> set[int]:
        record = self._cluster.placement.get(layout)
        return {GHOSTS, *range(0 if record is None else len(record.shards))}

    async def step(
        self, layout: str, limits: MoveLimits, *, then: Callable[[list[str]], Awaitable[bool]]
    ) -> bool:
        """Verify some shards; when none is left, call `then` under the same hold, with the nodes that are behind.

        Returns False when it cannot be done now.
        """
        until = asyncio.get_running_loop().time() + limits.barrier_s
        left = self._left.setdefault(layout, self._all(layout))
        async with self._sequencer.hold(self._cluster.owner(layout)):
            while not self._is_at_rest(layout, left):
                if asyncio.get_running_loop().time() > until:
                    return False
                await asyncio.sleep(_LOOK_S)
            some = sorted(left)[: limits.shards_per_copy]
            index = self._cluster.index_of(layout)
            if index is None or not await self._verify(index, layout, some, limits):
                return False
            left.difference_update(some)
            if left:
                return True
            behind = self._behind(layout)
            return behind is not None and await then(behind)

    # --- at rest ------------------------------------------------------------------------------

    def _is_at_rest(self, layout: str, left: Collection[int]) -> bool:
        """Whether everything of the index has arrived at every replica that is to be verified."""
        record = self._cluster.placement.get(layout)
        if record is None or self._is_busy(self._cluster.owner(layout)):
            return False
        shards = range(len(record.shards)) if GHOSTS in left else [shard for shard in left if shard >= 0]
        nodes = {
            node
            for shard in shards
            for node, state in record.shards[shard].items()
            if state is ReplicaState.IN_SYNC
        }
        return all(
            NodeId(node) in self._cluster.live and self._standing.at_rest(layout, node) for node in nodes
        )

    def _behind(self, layout: str) -> list[str] | None:
        """In-sync nodes that have not applied everything; None when some shard has none that has."""
        shards = self._cluster.placement[layout].shards
        nodes = {node for replicas in shards for node, s in replicas.items() if s is ReplicaState.IN_SYNC}
        live = self._cluster.live
        behind = {
            node for node in nodes if NodeId(node) not in live or not self._standing.at_rest(layout, node)
        }
        readable = all(
            any(s is ReplicaState.IN_SYNC and node not in behind for node, s in replicas.items())
            for replicas in shards
        )
        return sorted(behind) if readable else None

    # --- equal --------------------------------------------------------------------------------

    async def _verify(self, index: IndexState, layout: str, some: list[int], limits: MoveLimits) -> bool:
        if index.primary_key is None:
            return True
        record = self._cluster.placement[layout]
        shards = [shard for shard in some if shard >= 0]
        wanted = Cut(layout, len(record.shards), frozenset(shards or range(len(record.shards))))
        last = self._standing.last_op(layout)
        source = self._standing.other_layout(index.layout, wanted, last)
        if source is None:
            return False
        if GHOSTS in some and index.exact and not await self._ghosts(source, layout, index.primary_key):
            return False
        ours = (
            await self._reader.digests(source, index.primary_key, page=limits.page_documents)
            if shards
            else {}
        )
        nodes = {n for shard in shards for n, s in record.shards[shard].items() if s is ReplicaState.IN_SYNC}
        for node in sorted(nodes):
            mine = [s for s in shards if record.shards[s].get(node) is ReplicaState.IN_SYNC]
            expected = {name: d for name, d in ours.items() if shard_of(name, wanted.count) in mine}
            if not await self._equal(source, layout, node, mine, expected, index.primary_key, limits):
                return False
        return True

    async def _equal(
        self,
        source: Source,
        layout: str,
        node: str,
        shards: list[int],
        expected: dict[str, bytes],
        primary_key: str,
        limits: MoveLimits,
    ) -> bool:
        """Whether the node holds what is expected, now or after one repair."""
        for attempt in range(2):
            found = await self._calls.digests(node, layout, primary_key, shards) if shards else {}
            # One that lost its disk since its last probe would have us delete what others hold.
            for one in (*source.nodes, node):
                if not await self.trusted(NodeId(one)):
                    return False
            surplus = sorted(found.keys() - expected.keys())
            wrong = sorted(name for name, content in expected.items() if found.get(name) != content)
            if not surplus and not wrong:
                return True
            if attempt:
                self.failures[layout] += 1
                return False
            log.warning("layouts_differ", index=layout, node=node, documents=len(surplus) + len(wrong))
            self.differed[layout] += len(surplus) + len(wrong)
            tag = shards_tag("layout", shards)
            await self._repair(source, layout, node, surplus, wrong, primary_key, limits, tag)
        return False

    async def _repair(
        self,
        source: Source,
        layout: str,
        node: str,
        surplus: list[str],
        wrong: list[str],
        primary_key: str,
        limits: MoveLimits,
        tag: str,
    ) -> None:
        if surplus:
            await self._calls.delete_ids(node, layout, surplus, tag)
        for first in range(0, len(wrong), limits.page_documents):
            page = wrong[first : first + limits.page_documents]
            found = await self._reader.documents(source, primary_key, page)
            documents = list(found.values())
            while documents:
                taken, lines = fitting(documents, limits.page_bytes)
                await self._calls.write(node, layout, primary_key, lines, tag)
                documents = documents[taken:]

    async def _ghosts(self, source: Source, layout: str, primary_key: str) -> bool:
        """Hidden documents of an exact index: the same on every node of both layouts."""
        ours = await self._reader.ghosts(source, primary_key)
        shards = self._cluster.placement[layout].shards
        for node in sorted({n for r in shards for n, s in r.items() if s is ReplicaState.IN_SYNC}):
            tag = shards_tag("layout", [shard for shard, replicas in enumerate(shards) if node in replicas])
            theirs = await self._calls.ghosts(node, layout, primary_key)
            for one in (source.nodes[0], node):
                if not await self.trusted(NodeId(one)):
                    return False
            surplus = sorted(theirs.keys() - ours.keys())
            if surplus:
                await self._calls.delete_ids(node, layout, surplus, tag)
            changed = [ghost for name, ghost in sorted(ours.items()) if theirs.get(name) != ghost]
            if changed:
                await self._calls.write(node, layout, primary_key, _lines(changed), tag)
        return True


def _lines(documents: list[dict[str, Any]]) -> bytes:
    return b"".join(orjson.dumps(one, option=orjson.OPT_APPEND_NEWLINE) for one in documents)

"""Are the replicas of a shard equal? Read while writes go on; what was not equal is read again when nothing moves.

A copy that differs is an incident: it goes stale, and is rebuilt from one that agrees with the log.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Collection
from dataclasses import dataclass

import msgspec
import structlog

from miroir.core.hashing import shard_of
from miroir.core.moves.cluster_view import MoveLimits
from miroir.core.moves.replica_compare import Digests, differing, is_tainted
from miroir.core.topology import NodeId, ReplicaState
from miroir.ports.store import Store, Table
from miroir.services.cluster import Cluster
from miroir.services.moves.shard_calls import ShardCalls, digest, ids_of
from miroir.services.moves.standing import Standing
from miroir.services.writes.lanes import Delivery
from miroir.services.writes.node_requests import last_step
from miroir.services.writes.sequencer import Sequencer

log = structlog.get_logger()

_LOOK_S = 0.02


@dataclass(frozen=True, slots=True)
class Compared:
    """`replicas` that were read, `documents` of each, and how many replicas `differed`."""

    replicas: int
    documents: int = 0
    differed: int = 0


class ReplicaCheck:
    """Raises NodeError and NodeRefusedError."""

    def __init__(
        self,
        store: Store,
        cluster: Cluster,
        sequencer: Sequencer,
        delivery: Delivery,
        standing: Standing,
        calls: ShardCalls,
    ) -> None:
        self._store = store
        self._cluster = cluster
        self._sequencer = sequencer
        self._delivery = delivery
        self._standing = standing
        self._calls = calls
        self.incident: Callable[[str], None] = lambda node: None  #: hears of every replica that differed

    def places(self) -> list[tuple[str, int]]:
        """Every shard of every layout, in order."""
        return [
            (layout, shard)
            for layout in self._layouts()
            for shard in range(len(self._cluster.placement[layout].shards))
        ]

    def after(self, cursor: tuple[str, int] | None) -> tuple[str, int] | None:
        """The first place behind another one, None when there is none. Asked for every shard, so it walks none of them."""
        layouts = self._layouts()
        start = 0 if cursor is None else bisect_left(layouts, cursor[0])
        for layout in layouts[start:]:
            shard = cursor[1] + 1 if cursor is not None and layout == cursor[0] else 0
            if shard < len(self._cluster.placement[layout].shards):
                return layout, shard
        return None

    def _layouts(self) -> list[str]:
        """Those that are fed. An index that is just being made has no placement yet."""
        placed, indexes = self._cluster.placement, self._cluster.sequenced.indexes.values()
        return sorted(one for index in indexes for one in index.layouts if one in placed)

    def all_readable(self, layout: str, shard: int) -> bool:
        """Whether no in-sync replica is out of reach or behind."""
        placed = self._cluster.placement[layout].shards[shard]
        return len(self._readable(layout, shard)) == sum(s is ReplicaState.IN_SYNC for s in placed.values())

    async def compare(
        self, layout: str, shard: int, limits: MoveLimits, *, documents_per_s: float = 0.0
    ) -> Compared | None:
        """Compare the replicas that can be read; None when they did not come to rest in time."""
        nodes, index = self._readable(layout, shard), self._cluster.index_of(layout)
        if index is None or index.primary_key is None or len(nodes) < 2:
            return Compared(len(nodes))
        if not await self._reached(layout, nodes, self._standing.last_op(layout), limits):
            return None
        copies: dict[str, Digests] = {}
        for node in nodes:
            copies[node] = await self._calls.digests(
                node, layout, index.primary_key, [shard], documents_per_s=documents_per_s
            )
        documents = max(map(len, copies.values()))
        suspects = _unequal(copies)
        if not suspects:
            return Compared(len(nodes), documents)
        bad = await self._again(layout, shard, nodes, index.primary_key, suspects, limits)
        return None if bad is None else Compared(len(nodes), documents, len(bad))

    async def _again(
        self,
        layout: str,
        shard: int,
        nodes: Collection[str],
        primary_key: str,
        suspects: Collection[str],
        limits: MoveLimits,
    ) -> list[str] | None:
        """Nodes whose replica differs though nothing moves: stale from now on. None when it did not come to rest."""
        async with self._sequencer.hold(self._cluster.owner(layout)):
            last = self._standing.last_op(layout)
            if not await self._reached(layout, nodes, last, limits):
                return None
            copies = {node: await self._some(node, layout, primary_key, sorted(suspects)) for node in nodes}
            expected = self._expected(layout, shard, suspects)
            bad = differing(copies, expected)
            if bad:
                bad = differing(copies, expected, await self._tainted(layout, shard, nodes))
            async with self._cluster.changing:
                if not set(nodes) <= set(self._readable(layout, shard)):
                    return (
                        None  # one of them is another by now: it may be the last good one that is called bad
                    )
                if bad:
                    await self._mark_stale(layout, shard, bad)
            for node in bad:
                log.error("replica_differs", node=node, index=layout, shard=shard)
                self.incident(node)
            return bad

    async def _tainted(self, layout: str, shard: int, nodes: Collection[str]) -> set[str]:
        """Nodes whose tasks tell of something else than what is in the log."""
        since = self._cluster.placement[layout].since
        found = set()
        for node in nodes:
            copied = since.get(node, {}).get(shard, -1)
            tasks = await self._calls.history(node, layout)
            if is_tainted(tasks, shard, -1 if copied < 0 else last_step(copied)):
                found.add(node)
        return found

    async def _some(self, node: str, layout: str, primary_key: str, ids: list[str]) -> Digests:
        found: dict[str, bytes] = {}
        step = self._calls.fetch_documents
        for first in range(0, len(ids), step):
            page = await self._calls.documents(node, layout, ids[first : first + step])
            names = ids_of(node, page, primary_key)
            found.update({name: digest(body) for name, body in zip(names, page, strict=True)})
        return found

    async def _reached(self, layout: str, nodes: Collection[str], op: int, limits: MoveLimits) -> bool:
        """Wait, not for long, until the nodes have applied everything up to `op`."""
        until = asyncio.get_running_loop().time() + limits.barrier_s
        while not all(self._standing.reached(layout, node, op) for node in nodes):
            if asyncio.get_running_loop().time() > until:
                return False
            await asyncio.sleep(_LOOK_S)
        return True

    def _readable(self, layout: str, shard: int) -> list[str]:
        record, lanes = self._cluster.placement.get(layout), self._cluster.lanes
        placed = {} if record is None else record.shards[shard]
        return sorted(
            node
            for node, state in placed.items()
            if state is ReplicaState.IN_SYNC
            and NodeId(node) in self._cluster.live
            and not ((layout, node) in lanes and lanes[layout, node].lagging)
        )

    def _expected(self, layout: str, shard: int, ids: Collection[str]) -> set[str]:
        """Those of `ids` that exist according to the log."""
        count, owner = len(self._cluster.placement[layout].shards), self._cluster.owner(layout)
        mine = [one for one in sorted(ids) if shard_of(one, count) == shard]
        rows = self._store.read(
            lambda reader: reader.get_many(Table.DOCUMENTS, [(owner, one) for one in mine])
        )
        return {one for one, row in zip(mine, rows, strict=True) if row is not None}

    async def _mark_stale(self, layout: str, shard: int, nodes: list[str]) -> None:
        """The caller holds the placement."""
        before = self._cluster.placement[layout]
        shards = [dict(replicas) for replicas in before.shards]
        for node in nodes:
            if shards[shard].get(node) is ReplicaState.IN_SYNC:
                shards[shard][node] = ReplicaState.STALE
        after = msgspec.structs.replace(before, shards=tuple(shards))
        await self._cluster.change_placement(layout, after)
        self._delivery.retire_strangers([layout])


def _unequal(copies: dict[str, Digests]) -> set[str]:
    """Ids that some copy lacks or has otherwise."""
    first, *others = copies.values()
    return {
        one
        for one in set().union(*copies.values())
        if any(other.get(one) != first.get(one) for other in others)
    }

"""Comparison of replicas on demand: some shards at a time, under a barrier, at a bounded rate.

A copy that differs is an incident: it goes stale and is rebuilt from one that agrees with the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import structlog

from miroir.core.hashing import shard_of
from miroir.core.moves.cluster_view import MoveLimits
from miroir.core.moves.operation_records import OperationRecord
from miroir.core.moves.replica_compare import Digests, differing
from miroir.core.topology import NodeId, ReplicaState
from miroir.ports.nodes import NodeError
from miroir.ports.store import Store, Table
from miroir.services.cluster import Cluster
from miroir.services.moves.held_ops import HeldOps
from miroir.services.moves.shard_calls import NodeRefusedError, ShardCalls
from miroir.services.writes.lanes import Delivery
from miroir.services.writes.node_requests import last_step
from miroir.services.writes.sequencer import Sequencer

log = structlog.get_logger()

#: time that replicas get to be readable; then those that are not are left out
_PATIENCE_S = 20.0
_END = "~"  #: sorts behind every physical uid


class Scrub:
    """Compares one shard per step; the record says how far it is."""

    def __init__(
        self,
        store: Store,
        cluster: Cluster,
        sequencer: Sequencer,
        delivery: Delivery,
        held: HeldOps,
        calls: ShardCalls,
        *,
        incident: Callable[[str], None],
    ) -> None:
        """`incident` hears of every replica that differed, with its node."""
        self._store = store
        self._cluster = cluster
        self._sequencer = sequencer
        self._delivery = delivery
        self._held = held
        self._calls = calls
        self._incident = incident
        self._not_before = 0.0
        self._began: dict[int, float] = {}  #: operation -> when this process first looked at it

    def is_over(self, operation: OperationRecord) -> bool:
        """Whether every shard was compared."""
        return operation.cursor == (_END, 0)

    async def step(self, operation: OperationRecord, limits: MoveLimits) -> OperationRecord | None:
        """Compare the next shard; None when it cannot be now."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._not_before:
            return None
        place = self._next(operation.cursor)
        if place is None:
            return msgspec.structs.replace(operation, cursor=(_END, 0))
        began = self._began.setdefault(operation.id, loop.time())
        if loop.time() - began < _PATIENCE_S and not self._all_readable(*place):
            return None  # after a start nodes are not known to be up yet
        try:
            outcome = await self._compare(*place, limits)
        except (NodeError, NodeRefusedError) as error:
            log.warning("comparison_waits", index=place[0], shard=place[1], reason=str(error))
            outcome = None
        if outcome is None:
            self._not_before = loop.time() + limits.barrier_s  # writes go on for a while
            return None
        compared, documents, bad = outcome
        if limits.documents_per_s:
            self._not_before = loop.time() + documents / limits.documents_per_s
        return msgspec.structs.replace(
            operation,
            cursor=place,
            checked=operation.checked + compared,
            repaired=operation.repaired + bad,
        )

    def _next(self, cursor: tuple[str, int] | None) -> tuple[str, int] | None:
        """The first shard behind the cursor, of the indexes there are."""
        places = (
            (physical, shard)
            for physical in sorted(p for i in self._cluster.sequenced.indexes.values() for p in i.layouts)
            for shard in range(len(self._cluster.placement[physical].shards))
        )
        return next((place for place in places if cursor is None or place > cursor), None)

    async def _compare(self, physical: str, shard: int, limits: MoveLimits) -> tuple[int, int, int] | None:
        """(replicas, documents of each, replicas that differed); None when they did not come to rest in time."""
        until = asyncio.get_running_loop().time() + limits.barrier_s
        async with self._sequencer.hold(self._cluster.owner(physical)):
            nodes = self._readable(physical, shard)
            while not all(self._at_rest(physical, node) for node in nodes):
                if asyncio.get_running_loop().time() > until:
                    return None
                await asyncio.sleep(0.02)
            index = self._cluster.index_of(physical)
            if index is None or index.primary_key is None or len(nodes) < 2:
                return len(nodes), 0, 0
            copies: dict[str, Digests] = {}
            for node in nodes:
                copies[node] = await self._calls.digests(node, physical, index.primary_key, [shard])
            first, *others = copies.values()
            if all(other == first for other in others):
                return len(nodes), len(first), 0
            bad = differing(copies, self._expected(physical, shard))
            for node in bad:
                log.error("replica_differs", node=node, index=physical, shard=shard)
                self._incident(node)
            await self._mark_stale(physical, shard, bad)
            return len(nodes), len(first), len(bad)

    def _all_readable(self, physical: str, shard: int) -> bool:
        placed = self._cluster.placement[physical].shards[shard]
        return len(self._readable(physical, shard)) == sum(s is ReplicaState.IN_SYNC for s in placed.values())

    def _readable(self, physical: str, shard: int) -> list[str]:
        placed = self._cluster.placement[physical].shards[shard]
        lanes = self._cluster.lanes
        return sorted(
            node
            for node, state in placed.items()
            if state is ReplicaState.IN_SYNC
            and NodeId(node) in self._cluster.live
            and not ((physical, node) in lanes and lanes[physical, node].lagging)
        )

    def _at_rest(self, physical: str, node: str) -> bool:
        lane = self._delivery.lane(physical, node)
        return lane is None or lane.settled_to(last_step(self._held.last_op(physical)))

    def _expected(self, physical: str, shard: int) -> set[str]:
        """Ids that exist according to the log."""
        count = len(self._cluster.placement[physical].shards)
        owner = self._cluster.owner(physical)
        return self._store.read(
            lambda reader: {
                str(key[1])
                for key, _ in reader.scan(Table.DOCUMENTS, (owner,))
                if shard_of(str(key[1]), count) == shard
            }
        )

    async def _mark_stale(self, physical: str, shard: int, nodes: list[str]) -> None:
        async with self._cluster.changing:
            before = self._cluster.placement[physical]
            shards = [dict(replicas) for replicas in before.shards]
            for node in nodes:
                if shards[shard].get(node) is ReplicaState.IN_SYNC:
                    shards[shard][node] = ReplicaState.STALE
            after = msgspec.structs.replace(before, shards=tuple(shards))
            await self._cluster.change_placement(physical, after)
            self._delivery.retire_strangers([physical])

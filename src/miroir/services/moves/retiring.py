"""Deletes what nodes no longer hold: documents of retiring replicas, once nobody reads them any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

import structlog

from miroir.core.moves import copying
from miroir.core.topology import NodeId, NodeLifecycle, ReplicaState
from miroir.core.writes.ops import shards_tag
from miroir.ports.nodes import NodeError
from miroir.services.cluster import Cluster
from miroir.services.moves.shard_calls import NodeRefusedError, ShardCalls
from miroir.services.writes.lanes import Delivery

log = structlog.get_logger()

_RETRY_S = 1.0


class Retiring:
    """One sweep at a time; a node that is down keeps its entries until it is back."""

    def __init__(
        self, cluster: Cluster, delivery: Delivery, calls: ShardCalls, *, reader_timeout_s: float
    ) -> None:
        self._cluster = cluster
        self._delivery = delivery
        self._calls = calls
        self._reader_timeout_s = reader_timeout_s
        self.copied_to: Callable[[str, str], bool] = lambda physical, node: False  #: set by the operations
        self._besides: dict[tuple[str, str], set[int]] = {}
        self._seen: dict[tuple[str, str, int], float] = {}
        self._not_before: dict[tuple[str, str], float] = {}

    def give_up(self, physical: str, node: str, shards: Collection[int]) -> None:
        """Documents of these shards were seen on a node that should have none, unless it has been given them by now."""
        self._besides.setdefault((physical, node), set()).update(shards)

    async def sweep(self) -> bool:
        """Delete and forget what may go now; True when something went."""
        await self._mark_besides()
        went = False
        judged: dict[
            int, list[str]
        ] = {}  # indexes that are placed alike share their table: it is looked at once
        for physical, record in list(self._cluster.placement.items()):
            if id(record.shards) not in judged:
                judged[id(record.shards)] = _nodes_of(record.shards)
            for node in judged[id(record.shards)]:
                went = await self._sweep_node(physical, node, record.epoch) or went
        return went

    async def _mark_besides(self) -> None:
        """From now on no search sees them."""
        while self._besides:
            (physical, node), shards = self._besides.popitem()
            async with self._cluster.changing:
                before = self._cluster.placement.get(physical)
                after = None if before is None else copying.give_up(before, node, shards)
                if before is None or after is None or after.shards == before.shards:
                    continue
                log.warning("documents_out_of_place", node=node, index=physical, shards=len(shards))
                await self._cluster.change_placement(physical, after)

    async def _sweep_node(self, physical: str, node: str, epoch: int) -> bool:
        known = self._cluster.nodes.get(node)
        if known is None or known.lifecycle == NodeLifecycle.REMOVED:
            await self._forget(physical, node, _retired(self._cluster.placement[physical].shards, node))
            if not any(node in replicas for replicas in self._cluster.placement[physical].shards):
                self._delivery.end(physical, node)  # nothing is kept for it
            return True
        if NodeId(node) not in self._cluster.live or self.copied_to(physical, node):
            return False
        now = asyncio.get_running_loop().time()
        since = self._seen.setdefault((physical, node, epoch), now)
        if self._cluster.readers_before(epoch) and now - since < self._reader_timeout_s:
            return False
        if now < self._not_before.get((physical, node), 0.0):
            return False
        retired = _retired(self._cluster.placement[physical].shards, node)
        try:
            if not await self._delete(physical, node, retired):
                return False
        except (NodeError, NodeRefusedError) as error:
            log.warning("deletion_waits", node=node, index=physical, reason=str(error))
            # A request that got lost may still arrive: not before it no longer can, the shards may come back.
            lost = isinstance(error, NodeError) and not error.refused
            self._not_before[physical, node] = now + (self._calls.timeout_s if lost else _RETRY_S)
            return False
        await self._forget(physical, node, retired)
        self._seen = {key: at for key, at in self._seen.items() if key[:2] != (physical, node)}
        return True

    async def _delete(self, physical: str, node: str, retired: list[int]) -> bool:
        """True when nothing of the shards is left on the node."""
        shards = self._cluster.placement[physical].shards
        feeding = (ReplicaState.IN_SYNC, ReplicaState.COPYING)
        keeps = any(replicas.get(node) in feeding for replicas in shards)  # a stale one is made anew anyway
        if self._cluster.index_of(physical) is None or not keeps:
            await self._calls.drop_index(node, physical)
            self._delivery.end(physical, node)
            return True
        error = await self._calls.delete_shards(node, physical, retired, shards_tag("retire", retired))
        if error is not None:
            raise NodeRefusedError(node, "deleting shards", str(error.get("code")))
        return not await self._calls.count(node, physical, retired)

    async def _forget(self, physical: str, node: str, retired: list[int]) -> None:
        async with self._cluster.changing:
            before = self._cluster.placement[physical]
            after = copying.forget(before, node, retired)
            await self._cluster.change_placement(
                physical, after, lambda tx: self._delivery.watches.note_newest(tx, node)
            )
        log.info("old_copies_deleted", node=node, index=physical, shards=len(retired))


def _nodes_of(shards: tuple[dict[str, ReplicaState], ...]) -> list[str]:
    """Nodes that have something to delete, by name."""
    return sorted({n for replicas in shards for n, s in replicas.items() if s is ReplicaState.RETIRING})


def _retired(shards: tuple[dict[str, ReplicaState], ...], node: str) -> list[int]:
    return [shard for shard, replicas in enumerate(shards) if replicas.get(node) is ReplicaState.RETIRING]

"""Asks nodes how much a plan would move: documents of each shard, bytes, disk. Bounded in requests and time."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence

from miroir.core.moves.cluster_view import ClusterView
from miroir.core.moves.operation_records import Move
from miroir.core.moves.preview import Sizes
from miroir.core.topology import ReplicaState
from miroir.ports.nodes import NodeError
from miroir.services.moves.shard_calls import NodeRefusedError, NodeSizes, ShardCalls

#: shards of a plan that are counted; what is beyond, or not answered in time, is estimated
_COUNTED_MAX = 5000
_AT_ONCE = 16
_TIME_S = 10.0


class Sizing:
    """Measures plans."""

    def __init__(self, calls: ShardCalls) -> None:
        self._calls = calls

    async def measure(
        self, moves: Sequence[Move], view: ClusterView, *, fresh: Collection[str] = ()
    ) -> Sizes:
        """What nodes say of the shards that are to be copied; never raises for what they do not say.

        `fresh` nodes are about to join, empty.
        """
        wanted = sorted({(m.physical, m.shard) for m in moves if m.target is not None})[:_COUNTED_MAX]
        documents: dict[tuple[str, int], int] = {}
        told: dict[str, NodeSizes] = {}
        gate = asyncio.Semaphore(_AT_ONCE)

        async def count(physical: str, shard: int) -> None:
            for node in _sources(view, physical, shard):
                async with gate:
                    try:
                        documents[physical, shard] = await self._calls.count(node, physical, [shard])
                    except (NodeError, NodeRefusedError):
                        continue
                    return

        async def look(node: str) -> None:
            async with gate:
                try:
                    told[node] = await self._calls.sizes(node)
                except (NodeError, NodeRefusedError):
                    return

        nodes = {m.target for m in moves if m.target is not None}
        nodes.update(node for physical, shard in wanted for node in _sources(view, physical, shard))
        live = sorted(node for node in nodes if node in view.members and view.members[node].live)
        work = [asyncio.ensure_future(look(node)) for node in live]
        work += [asyncio.ensure_future(count(*place)) for place in wanted]
        try:
            if work:
                await asyncio.wait(work, timeout=_TIME_S)
        finally:
            for task in work:
                task.cancel()
        return Sizes(
            documents,
            _averages(told.values()),
            {**dict.fromkeys(fresh, 0), **_disks(told)},
            _factor(told.values()),
        )


def _sources(view: ClusterView, physical: str, shard: int) -> list[str]:
    return [
        node
        for node, state in view.placement[physical][shard].items()
        if state is ReplicaState.IN_SYNC and node in view.members and view.members[node].live
    ]


def _averages(told: Iterable[NodeSizes]) -> dict[str, float]:
    """Physical -> bytes of a document, over all nodes that have some."""
    totals: dict[str, tuple[int, int]] = {}
    for sizes in told:
        for physical, (documents, size) in sizes.indexes.items():
            before = totals.get(physical, (0, 0))
            totals[physical] = (before[0] + documents, before[1] + size)
    return {physical: size / documents for physical, (documents, size) in totals.items() if documents}


def _disks(told: dict[str, NodeSizes]) -> dict[str, int]:
    return {node: sizes.disk_bytes for node, sizes in told.items()}


def _factor(told: Iterable[NodeSizes]) -> float:
    """Bytes on disk for one of documents; at least one."""
    disk = raw = 0
    for sizes in told:
        held = sum(size for _, size in sizes.indexes.values())
        if held:
            disk, raw = disk + sizes.disk_bytes, raw + held
    return max(1.0, disk / raw) if raw else 1.0

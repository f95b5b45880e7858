"""What tests of moving data share: a simulated cluster that can grow, its writes, and what must hold at the end."""

from __future__ import annotations

import random
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from miroir.config import Config, RebalancerConfig, Secret
from miroir.core.moves.operation_records import OperationKind, OperationRecord
from miroir.core.moves.planning import moves_to
from miroir.core.reserved import SHARD_FIELD, decode_shard
from miroir.core.topology import NodeId, ReplicaState
from miroir.services.moves.operations import Operations
from tests.support.replicas import digest
from tests.support.sim_cluster import Shape, SimCluster, SimNode

#: copies small enough that every phase is passed through many times
REBALANCER = {"page_documents": 7, "shards_per_copy": 3, "grace_s": 20.0, "barrier_s": 3.0}


def moving_config(base: Config, *, admin_api_key: str | None = None, **changes: Any) -> Config:
    """The simulation's configuration with small pages."""
    return msgspec.structs.replace(
        base,
        admin_api_key=None if admin_api_key is None else Secret(admin_api_key),
        rebalancer=RebalancerConfig(**{**REBALANCER, **changes}),
    )


def operations(cluster: SimCluster) -> Operations:
    """The living orchestrator's operations."""
    return cluster.orchestrator.moving.operations


async def attach(cluster: SimCluster, node: str) -> None:
    """A fresh engine that nobody knows yet."""
    fresh = SimNode(cluster, NodeId(node))
    cluster.nodes[node] = fresh
    cluster._desks.attach(fresh.id, fresh)
    await fresh.start()


async def add_node(cluster: SimCluster, node: str, group: int = 0) -> OperationRecord:
    """Begin to grow by one node."""
    await attach(cluster, node)
    wanted = {"nodes": [{"id": node, "address": f"http://{node}:7700", "replica_group": group}]}
    return await operations(cluster).request(OperationKind.ADD_NODES, wanted)


def is_settled(cluster: SimCluster) -> bool:
    """No operation is open, nothing is to be moved, deleted or rebuilt."""
    if cluster.life is None or cluster.life.orchestrator is None:
        return False
    moving = operations(cluster)
    states = {
        state
        for physical, record in cluster.orchestrator.writes.cluster.placement.items()
        if cluster.orchestrator.writes.cluster.index_of(physical) is not None
        for replicas in record.shards
        for state in replicas.values()
    }
    return (
        not any(operation.open for operation in moving.all.values())
        and not moving.copies()
        and states <= {ReplicaState.IN_SYNC}
    )


async def settle(cluster: SimCluster, *, within_s: float = 900.0) -> None:
    """Wait until every operation has ended and nothing is left to move."""

    def check() -> bool:
        return is_settled(cluster)

    try:
        await cluster.until("operations have ended", check, within_s=within_s)
    except AssertionError as error:
        moving = operations(cluster)
        raise AssertionError(
            f"{error}; open: {[o for o in moving.all.values() if o.open]}; copies: {moving.copies()}; "
            f"{placement_of(cluster)}"
        ) from error


def placement_of(cluster: SimCluster) -> dict[str, list[dict[str, str]]]:
    """Layout -> shard -> node -> state, as plain values."""
    return {
        physical: [{node: state.value for node, state in replicas.items()} for replicas in record.shards]
        for physical, record in cluster.orchestrator.writes.cluster.placement.items()
        if cluster.orchestrator.writes.cluster.index_of(physical) is not None
    }


async def assert_consistent(
    cluster: SimCluster, expected: dict[str, dict[str, Any]], *, balanced: bool = True
) -> None:
    """Every node holds exactly the shards placed on it, all copies are equal, and they are the documents expected.

    Args:
        expected: index uid -> document id -> document, without our fields.
    """
    writes = cluster.orchestrator.writes
    if balanced:
        assert moves_to(operations(cluster).view()) == ()
    for uid, documents in expected.items():
        physical = writes.cluster.visible.indexes[writes.cluster.visible.names[uid]].layout
        placed = writes.cluster.placement[physical].shards
        held: dict[int, dict[str, dict[str, str]]] = defaultdict(dict)
        for node in cluster.nodes.values():
            if not node.up:
                continue
            indexes = {index["uid"] for index in (await node.ask("GET", "/indexes?limit=1000"))["results"]}
            if physical not in indexes:
                continue
            found = await node.ask("POST", f"/indexes/{physical}/documents/fetch", {"limit": 100_000})
            for document in found["results"]:
                shard = decode_shard(document[SHARD_FIELD])
                held[shard].setdefault(str(node.id), {})[str(document["id"])] = digest(document)
        seen: dict[str, str] = {}
        for shard, replicas in enumerate(placed):
            by_node = held.get(shard, {})
            assert set(by_node) <= set(replicas), f"shard {shard} of {uid} is also on {sorted(by_node)}"
            copies = [by_node.get(node, {}) for node in replicas]
            assert all(copy == copies[0] for copy in copies), (
                f"copies of shard {shard} of {uid} differ: {replicas}: "
                f"{[sorted(copy.items() ^ copies[0].items()) for copy in copies]}"
            )
            seen.update(copies[0])
        assert set(seen) == set(documents), (
            f"lost {sorted(set(documents) - set(seen))}, too many {sorted(set(seen) - set(documents))}"
        )
        answer = await cluster.ask("GET", f"/indexes/{uid}/documents?limit=100000")
        assert {str(one["id"]): one for one in answer.body["results"]} == documents


async def task_end(cluster: SimCluster, uid: int) -> Any:
    """A task once it has ended."""

    def ended() -> bool:
        if cluster.life is None or cluster.life.orchestrator is None:
            return False
        task = cluster.orchestrator.writes.log.tasks[uid]
        return task.status in ("succeeded", "failed", "canceled")

    await cluster.until(f"task {uid} ends", ended)
    return cluster.orchestrator.writes.log.tasks[uid]


@asynccontextmanager
async def moving_cluster(shape: Shape, rng: random.Random, **changes: Any) -> AsyncIterator[SimCluster]:
    """A started cluster with small pages, stopped at the end."""
    with tempfile.TemporaryDirectory() as directory:
        cluster = SimCluster(shape, rng, Path(directory))
        cluster.config = moving_config(cluster.config, **changes)
        try:
            await cluster.start()
            yield cluster
        finally:
            await cluster.stop()

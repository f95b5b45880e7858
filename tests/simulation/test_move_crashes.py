"""The orchestrator dies after every durable write of an operation: the end is the same as without."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import pytest

from miroir.core.moves.operation_records import OperationKind, OperationState
from tests.simulation.test_moves import Shelf
from tests.support.moving import (
    assert_consistent,
    attach,
    moving_cluster,
    operations,
    placement_of,
    settle,
)
from tests.support.sim_cluster import Shape, SimCluster
from tests.support.virtual_time import run_virtual

Begin = Callable[[SimCluster], Awaitable[object]]


async def _join(cluster: SimCluster) -> None:
    await attach(cluster, "x0")
    node = {"id": "x0", "address": "http://x0:7700", "replica_group": 0}
    await operations(cluster).request(OperationKind.ADD_NODES, {"nodes": [node]})


async def _drain(cluster: SimCluster) -> None:
    await operations(cluster).request(OperationKind.DRAIN, {"node": "n0-1"})


async def _factor(cluster: SimCluster) -> None:
    await operations(cluster).request(OperationKind.SET_REPLICATION_FACTOR, {"replication_factor": 3})


async def _fewer(cluster: SimCluster) -> None:
    await operations(cluster).request(OperationKind.SET_REPLICATION_FACTOR, {"replication_factor": 1})


async def _group(cluster: SimCluster) -> None:
    nodes = []
    for node in ("y0", "y1"):
        await attach(cluster, node)
        nodes.append({"id": node, "address": f"http://{node}:7700", "replica_group": 1})
    await operations(cluster).request(OperationKind.ADD_GROUP, {"nodes": nodes})


async def _wipe(cluster: SimCluster) -> None:
    await cluster.nodes["n0-1"].wipe()
    await cluster.until("it is down", lambda: "n0-1" not in cluster.orchestrator.writes.cluster.live)
    await cluster.nodes["n0-1"].start()
    await cluster.until("rebuilding", lambda: bool(operations(cluster).all))


async def _reshard(cluster: SimCluster) -> None:
    await operations(cluster).reshard("films", 3, 0.0)


async def _reshard_back(cluster: SimCluster) -> None:
    begun = await operations(cluster).reshard("films", 3, 1000.0)
    await cluster.until("it is read", lambda: operations(cluster).all[begun.id].reshard.kept_until > 0)
    await operations(cluster).control(begun.id, OperationState.CANCELLING)


KINDS: dict[str, Begin] = {
    "join": _join, "drain": _drain, "more copies": _factor, "fewer copies": _fewer, "group": _group, "resync": _wipe,
    "reshard": _reshard, "reshard back": _reshard_back,
}  # fmt: skip


def run(begin: Begin, crash_after: int | None) -> tuple[dict[str, list[dict[str, str]]], int]:
    """(final placement, durable writes seen); with a crash after that many of them."""

    async def main() -> tuple[dict[str, list[dict[str, str]]], int]:
        rng = random.Random(1)
        async with moving_cluster(Shape(nodes=3, replication_factor=2, shards=4), rng) as cluster:
            shelf = Shelf(cluster, rng)
            await shelf.load(12 if begin is _reshard else 40)  # one that passes by many writes anyway
            await cluster.until("quiet", cluster.is_quiet)
            seen = 0
            assert cluster.life is not None
            life = cluster.life

            def committed() -> None:
                nonlocal seen
                seen += 1
                if seen == crash_after:
                    life.kill()

            await begin(cluster)
            life.store.committed = committed
            await cluster.until("the end, or death", lambda: life.dead or _over(cluster))
            if life.dead:
                await cluster.crash_orchestrator()
                await cluster.start_orchestrator()
                await cluster.until("it is back", cluster.all_live)
            await settle(cluster)
            await cluster.until("quiet", cluster.is_quiet)
            await assert_consistent(cluster, {"films": shelf.documents})
            return placement_of(cluster), seen

    return run_virtual(main())


def _over(cluster: SimCluster) -> bool:
    return not any(operation.open for operation in operations(cluster).all.values())


@pytest.mark.parametrize("kind", KINDS)
def test_a_crash_after_any_durable_write_changes_nothing(kind: str) -> None:
    expected, writes = run(KINDS[kind], None)
    assert writes >= 4
    for point in range(1, writes + 1):
        found, _ = run(KINDS[kind], point)
        assert found == expected, f"another end after a crash at durable write {point}"

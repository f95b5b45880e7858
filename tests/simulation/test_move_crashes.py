"""The orchestrator dies after every durable write of an operation: the end is the same as without."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import orjson
import pytest

from miroir.core.moves.operation_records import OperationKind, OperationState
from miroir.core.reads.covering import shard_filter
from miroir.core.topology import NodeLifecycle
from miroir.meili.http import HttpRequest
from tests.simulation.test_moves import Shelf
from tests.support.moving import (
    assert_consistent,
    attach,
    moving_cluster,
    operations,
    placement_of,
    settle,
)
from tests.support.sim_cluster import NODE_KEY, Shape, SimCluster
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
    await operations(cluster).reshard("films", 3, 1000.0)
    await _take_back(cluster)


async def _take_back(cluster: SimCluster) -> None:
    """As soon as the new layout is read."""
    (begun,) = operations(cluster).all
    await cluster.until("it is read", lambda: operations(cluster).all[begun].reshard.kept_until > 0)
    if operations(cluster).all[begun].state is OperationState.RUNNING:
        await operations(cluster).control(begun, OperationState.CANCELLING)


async def _undrain(cluster: SimCluster) -> None:
    await operations(cluster).request(OperationKind.UNDRAIN, {"node": "n0-1"})


async def _weigh(cluster: SimCluster) -> None:
    await operations(cluster).request(OperationKind.REBALANCE, {"node": "n0-1", "weight": 3.0})


async def _remove(cluster: SimCluster) -> None:
    await cluster.nodes.pop("n0-1").wipe()
    await operations(cluster).request(OperationKind.REMOVE_NODE, {"node": "n0-1"})


async def _remove_by_force(cluster: SimCluster) -> None:
    await cluster.nodes.pop("n0-1").wipe()
    await operations(cluster).request(OperationKind.REMOVE_NODE, {"node": "n0-1", "force": True})


async def _remove_group(cluster: SimCluster) -> None:
    await operations(cluster).request(OperationKind.REMOVE_GROUP, {"group": 0})


async def _lose(cluster: SimCluster) -> None:
    await cluster.nodes["n0-1"].crash()
    await cluster.until("made up for", lambda: bool(operations(cluster).all))


async def _verify(cluster: SimCluster) -> None:
    """One replica has lost a document."""
    cluster_state = cluster.orchestrator.writes.cluster
    physical = cluster_state.visible.names["films"]
    node = cluster.nodes[min(cluster_state.placement[physical].shards[1])]
    path = f"/indexes/{physical}/documents"
    found = await node.ask("POST", f"{path}/fetch", {"filter": shard_filter([1]), "limit": 1})
    headers = {"authorization": f"Bearer {NODE_KEY}", "content-type": "application/json"}
    body = orjson.dumps([found["results"][0]["id"]])
    await node.engine.edge.respond(HttpRequest("POST", f"{path}/delete-batch", "", headers, body))
    await operations(cluster).request(OperationKind.VERIFY, {})


async def _ended(cluster: SimCluster, begin: Begin) -> None:
    await begin(cluster)
    await settle(cluster)
    await cluster.until("quiet", cluster.is_quiet)


async def _drained(cluster: SimCluster) -> None:
    await _ended(cluster, _drain)


async def _two_groups(cluster: SimCluster) -> None:
    await _ended(cluster, _group)


async def _nothing(cluster: SimCluster) -> None:
    return


KINDS: dict[str, Begin] = {
    "join": _join, "drain": _drain, "undrain": _undrain, "weights": _weigh,
    "more copies": _factor, "fewer copies": _fewer, "group": _group, "group goes": _remove_group,
    "remove": _remove, "remove by force": _remove_by_force,
    "restore": _lose, "resync": _wipe, "verify": _verify,
    "reshard": _reshard, "reshard back": _reshard_back,
}  # fmt: skip
#: these pass by many durable writes however few documents there are
MANY_WRITES = {"reshard", "reshard back", "undrain", "group", "group goes", "remove by force"}
BY_ITSELF = {"restore", "resync"}
#: what is so before a kind begins
BEFORE: dict[str, Begin] = {"undrain": _drained, "remove": _drained, "group goes": _two_groups}


def run(
    kind: str, crash_after: int | None
) -> tuple[dict[str, list[dict[str, str]]], int, set[OperationKind]]:
    """(final placement, durable writes seen, kinds of operations); with a crash after that many of them."""

    async def main() -> tuple[dict[str, list[dict[str, str]]], int, set[OperationKind]]:
        rng = random.Random(1)
        async with moving_cluster(Shape(nodes=3, replication_factor=2, shards=4), rng) as cluster:
            shelf = Shelf(cluster, rng)
            await shelf.load(12 if kind in MANY_WRITES else 40)
            await cluster.until("quiet", cluster.is_quiet)
            await BEFORE.get(kind, _nothing)(cluster)
            seen, before = 0, set(operations(cluster).all)
            assert cluster.life is not None
            life = cluster.life

            def committed() -> None:
                nonlocal seen
                seen += 1
                if seen == crash_after:
                    life.kill()

            life.store.committed = committed
            beginning = asyncio.ensure_future(KINDS[kind](cluster))
            await cluster.until(
                "the end, or death", lambda: life.dead or (beginning.done() and _over(cluster))
            )
            life.store.committed = lambda: None
            if life.dead:
                beginning.cancel()  # whoever asks a dead orchestrator waits for ever
                await asyncio.wait({beginning})
                await cluster.crash_orchestrator()
                for node in cluster.nodes.values():
                    if kind != "restore":
                        await node.start()  # what began may have been about to
                await cluster.start_orchestrator()
                await cluster.until("it is back", lambda: _back(cluster))
                if kind in BY_ITSELF:
                    await cluster.until("begun", lambda: bool(operations(cluster).all.keys() - before))
                elif not operations(cluster).all.keys() - before:
                    await KINDS[kind](cluster)  # nobody was told that it had begun
                elif kind == "reshard back":
                    await _take_back(cluster)
            else:
                await beginning
            await _settled(cluster, kind)
            await assert_consistent(cluster, {"films": shelf.documents}, balanced=kind != "restore")
            kinds = {o.kind for number, o in operations(cluster).all.items() if number not in before}
            return placement_of(cluster), seen, kinds

    return run_virtual(main())


def _back(cluster: SimCluster) -> bool:
    if cluster.life is None or cluster.life.orchestrator is None:
        return False
    known = cluster.orchestrator.writes.cluster
    up = {
        node
        for node, one in cluster.nodes.items()
        if one.up and (node not in known.nodes or known.nodes[node].lifecycle != NodeLifecycle.REMOVED)
    }
    return known.live >= up


async def _settled(cluster: SimCluster, kind: str) -> None:
    """Everything has ended, and nodes that are not needed any more have gone or are back."""
    await cluster.until("operations have ended", lambda: _over(cluster))
    if kind == "restore":
        await cluster.nodes["n0-1"].start()
        await cluster.until("it is back", cluster.all_live)
    await settle(cluster)
    if kind == "group goes":
        for node in [node for node in cluster.nodes if node.startswith("n")]:
            await cluster.nodes.pop(node).wipe()
    await cluster.until("quiet", cluster.is_quiet)


def _over(cluster: SimCluster) -> bool:
    return not any(operation.open for operation in operations(cluster).all.values())


@pytest.mark.parametrize("kind", KINDS)
def test_a_crash_after_any_durable_write_changes_nothing(kind: str) -> None:
    expected, writes, _ = run(kind, None)
    assert writes >= 2
    for point in range(1, writes + 1):
        found, _, _ = run(kind, point)
        assert found == expected, f"another end after a crash at durable write {point}"


def test_every_kind_of_operation_is_among_them() -> None:
    assert set().union(*(run(kind, None)[2] for kind in KINDS)) == set(OperationKind)

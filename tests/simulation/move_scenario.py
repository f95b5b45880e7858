"""One random scenario of moves: clients, readers, faults and operations at once, and at the end one engine's answers."""

from __future__ import annotations

import asyncio
import random

from miroir.core.moves.node_list import RefusedError
from miroir.core.moves.operation_records import OperationKind, OperationState
from tests.simulation import scenario
from tests.support.faults import FaultRates
from tests.support.moving import attach, moving_cluster, operations, placement_of, settle
from tests.support.sim_cluster import Shape, SimCluster
from tests.support.sim_workload import Workload


async def run(seed: int, *, reshards: float = 0.1) -> dict[str, int]:
    """Run scenario `seed`; AssertionError says what did not hold. Returns counts of what happened.

    `reshards`: how many of the operations change the number of shards of an index.
    """
    rng = random.Random(seed)
    nodes = rng.randint(2, 4)
    shape = Shape(
        nodes=nodes,
        groups=rng.choice((1, 1, 2)),
        replication_factor=2,
        shards=rng.choice((4, 8, 16)),
        exact=seed % 4 == 3,
    )
    async with moving_cluster(shape, rng, grace_s=rng.choice((15.0, 900.0))) as cluster:
        workload = Workload(cluster, random.Random(rng.random()))
        async with asyncio.TaskGroup() as group:
            readers = [group.create_task(workload.reader()) for _ in range(2)]
            trouble = group.create_task(_trouble(cluster, random.Random(rng.random())))
            moves = group.create_task(_moves(cluster, random.Random(rng.random()), reshards))
            async with asyncio.TaskGroup() as clients:
                for _ in range(rng.randint(1, 3)):
                    clients.create_task(workload.client(rng.randint(6, 16)))
            trouble.cancel()
            moves.cancel()
            await asyncio.wait({trouble, moves})
            await asyncio.sleep(6.0)  # a node that was just wiped is away for longer than a few probes
            await cluster.start_orchestrator()
            await cluster.until(
                "it is there", lambda: cluster.life is not None and cluster.life.orchestrator is not None
            )
            for node in cluster.nodes.keys() - cluster.orchestrator.writes.cluster.nodes.keys():
                await cluster.nodes.pop(node).wipe()  # never joined
            await cluster.quiet()
            await _resume(cluster)
            await settle(cluster)
            await cluster.quiet()
            await settle(cluster)
            for reader in readers:
                reader.cancel()
        await scenario.check(cluster, workload)
        copies = {len(r) for shards in placement_of(cluster).values() for r in shards}
        assert all(count >= 2 for count in copies), (
            placement_of(cluster),
            [(o.id, o.kind, o.state, o.args, o.reason) for o in operations(cluster).all.values()],
            cluster.orchestrator.writes.cluster.nodes,
        )
        ended = operations(cluster).all.values()
        read = [o.state for o in ended if o.reshard is not None and o.reshard.kept_until]
        return {
            "writes": len(workload.sent),
            "full_reads": workload.full_reads,
            "operations": len(ended),
            "documents_moved": sum(operation.documents_moved for operation in ended),
            "copied_again": sum(operation.copies_again for operation in ended),
            "resharded": read.count(OperationState.DONE),
            "resharded_back": read.count(OperationState.CANCELLED),
        }


async def _resume(cluster: SimCluster) -> None:
    for operation in list(operations(cluster).all.values()):
        if operation.state is OperationState.PAUSED:
            await operations(cluster).control(operation.id, OperationState.RUNNING)


async def _moves(cluster: SimCluster, rng: random.Random, reshards: float) -> None:
    """Ask for operations, pause, resume and cancel them, until cancelled."""
    while True:
        await asyncio.sleep(rng.random() * 4)
        if cluster.life is None or cluster.life.orchestrator is None or cluster.life.dead:
            continue
        try:
            async with asyncio.timeout(20):  # who asks a dead orchestrator waits for ever
                await _ask(cluster, rng, reshards)
        except (RefusedError, TimeoutError):
            continue


async def _ask(cluster: SimCluster, rng: random.Random, reshards: float) -> None:
    ops = operations(cluster)
    known = sorted(cluster.nodes)
    if rng.random() < reshards:
        names = sorted(cluster.orchestrator.writes.cluster.sequenced.names)
        if names:
            retention_s = rng.choice((0.0, 2.0, 20.0))
            await ops.reshard(rng.choice(names), rng.choice((1, 3, 6, 8, 16)), retention_s)
        return
    dice = rng.random()
    if dice < 0.3 and sum(node.startswith("x") for node in known) < 2:
        fresh = f"x{rng.randrange(10**6)}"
        await attach(cluster, fresh)
        node = {"id": fresh, "address": f"http://{fresh}:7700", "replica_group": 0}
        await ops.request(OperationKind.ADD_NODES, {"nodes": [node]})
    elif dice < 0.55:
        await ops.request(OperationKind.DRAIN, {"node": rng.choice(known)})
    elif dice < 0.65:
        await ops.request(OperationKind.UNDRAIN, {"node": rng.choice(known)})
    elif dice < 0.72:
        await ops.request(OperationKind.REBALANCE, {})
    elif dice < 0.78:
        factor = {"replication_factor": rng.choice((2, 2, 3))}
        await ops.request(OperationKind.SET_REPLICATION_FACTOR, factor)
    else:
        wanted = rng.choice((OperationState.PAUSED, OperationState.RUNNING, OperationState.CANCELLING))
        open_ones = [operation.id for operation in ops.all.values() if operation.open]
        if open_ones:
            await ops.control(rng.choice(open_ones), wanted)


async def _trouble(cluster: SimCluster, rng: random.Random) -> None:
    """Faults of the network, crashes and lost disks of nodes, crashes of the orchestrator, until cancelled."""
    scale = rng.choice((0.0, 0.02, 0.06))
    cluster.network.rates = FaultRates(
        **{kind: rng.random() * scale for kind in ("late", "cut", "refused", "dropped", "duplicated")},
        latency_s=rng.choice((0.001, 0.02)),
    )
    while True:
        await asyncio.sleep(rng.random() * 4)
        node = rng.choice(sorted(cluster.nodes))
        event = rng.random()
        if event < 0.3:
            await cluster.nodes[node].crash()
            await asyncio.sleep(rng.random() ** 2 * 20)
            await cluster.nodes[node].start()
        elif event < 0.5:
            await cluster.crash_orchestrator()
            await asyncio.sleep(rng.random())
            await cluster.start_orchestrator()
        elif event < 0.6:
            cluster.network.cut_off.add(cluster.nodes[node].id)
            await asyncio.sleep(rng.random() * 6)
            cluster.network.cut_off.clear()
        elif event < 0.7 and cluster.may_lose(node):
            await cluster.nodes[node].wipe()
            await asyncio.sleep(4 + rng.random() * 5)
            await cluster.nodes[node].start()

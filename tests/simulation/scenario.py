"""One random scenario: clients, readers, faults, and at the end everything that must hold."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from tests.support.faults import FaultRates
from tests.support.sim_checks import (
    Oracle,
    all_tasks,
    assert_replicas_equal,
    assert_same,
    assert_same_answers,
)
from tests.support.sim_cluster import Shape, SimCluster, sim_cluster
from tests.support.sim_workload import INDEXES, WORDS, Workload


async def run(seed: int) -> dict[str, int]:
    """Run scenario `seed`; AssertionError says what did not hold. Returns counts of what happened."""
    rng = random.Random(seed)
    shape = Shape.random(rng, shards_max=16)
    async with sim_cluster(shape, rng) as cluster:
        workload = Workload(cluster, random.Random(rng.random()))
        async with asyncio.TaskGroup() as group:
            readers = [group.create_task(workload.reader()) for _ in range(2)]
            trouble = group.create_task(_trouble(cluster, random.Random(rng.random())))
            async with asyncio.TaskGroup() as clients:
                for _ in range(rng.randint(1, 3)):
                    clients.create_task(workload.client(rng.randint(4, 12)))
            trouble.cancel()
            await asyncio.wait({trouble})
            await cluster.quiet()
            await asyncio.sleep(2.0)
            for reader in readers:
                reader.cancel()
        await check(cluster, workload)
        return {
            "writes": len(workload.sent),
            "reads": workload.reads,
            "full_reads": workload.full_reads,
            "virtual_s": int(asyncio.get_running_loop().time()),
        }


async def check(cluster: SimCluster, workload: Workload) -> None:
    """Everything that must hold at the end."""
    await assert_replicas_equal(cluster)
    oracle = await Oracle.open(cluster.now_ns)
    try:
        accepted = sorted((s for s in workload.sent if s.uid is not None), key=lambda s: s.uid or 0)
        uids = [sent.uid for sent in accepted]
        assert uids == list(range(len(uids))), f"task uids have gaps: {uids}"
        for sent in accepted:
            reply = await oracle.ask(sent.write.method, sent.write.path, sent.write.body)
            assert reply.status == 202, (sent, reply)
        ours, theirs = await all_tasks(cluster.ask), await all_tasks(oracle.ask)
        for mine, other, sent in zip(ours, theirs, accepted, strict=True):
            assert_same(f"task {sent.uid} of {sent.write}", mine, other)
        await assert_same_answers(cluster, oracle, _questions(random.Random(len(accepted))))
    finally:
        oracle.close()


def _questions(rng: random.Random) -> list[tuple[str, str, Any]]:
    questions: list[tuple[str, str, Any]] = [("GET", "/indexes", None), ("GET", "/stats", None)]
    for index in INDEXES:
        here = f"/indexes/{index}"
        questions += [
            ("GET", f"{here}/settings", None),
            ("GET", f"{here}/stats", None),
            ("GET", f"{here}/documents?limit=1000", None),
            ("POST", f"{here}/search", {"limit": 1000}),
            ("POST", f"{here}/search", {"q": rng.choice(WORDS), "showRankingScore": True}),
            ("POST", f"{here}/search", {"q": " ".join(rng.sample(WORDS, 2)), "page": 1, "hitsPerPage": 5}),
            ("POST", f"{here}/search", {"facets": ["genre"], "filter": "genre = war"}),
            ("POST", f"{here}/search", {"sort": ["year:desc"], "limit": 1000}),
        ]
    return questions


async def _trouble(cluster: SimCluster, rng: random.Random) -> None:
    """Faults of the network, crashes of nodes and of the orchestrator, until cancelled."""
    scale = rng.choice((0.0, 0.02, 0.1))
    cluster.network.rates = FaultRates(
        **{kind: rng.random() * scale for kind in ("late", "cut", "refused", "dropped", "duplicated")},
        latency_s=rng.choice((0.001, 0.02, 0.2)),
    )
    wiped = False
    while True:
        await asyncio.sleep(rng.random() * 3)
        for _ in range(rng.randrange(6)):  # at any await, not only where a timer ends
            await asyncio.sleep(0)
        node = rng.choice(sorted(cluster.nodes))
        event = rng.random()
        if event < 0.35:
            await cluster.nodes[node].crash()
            await asyncio.sleep(rng.random() ** 2 * 15)
            await cluster.nodes[node].start()
        elif event < 0.55:
            await cluster.crash_orchestrator()
            await asyncio.sleep(rng.random())
            await cluster.start_orchestrator()
        elif event < 0.7:
            cluster.network.cut_off.add(cluster.nodes[node].id)
            await asyncio.sleep(rng.random() * rng.choice((6, 16)))  # also so long that it counts as down
            cluster.network.cut_off.clear()
        elif event > 0.85:
            cluster.network.slow[cluster.nodes[node].id] = (0.2, rng.choice((1.0, 4.0)))
            await asyncio.sleep(rng.random() * 8)
            cluster.network.slow.clear()
        elif event < 0.75 and not wiped and cluster.shape.copies > 1 and cluster.may_lose(node):
            wiped = True
            await cluster.nodes[node].wipe()
            await asyncio.sleep(4 + rng.random() * 5)  # a new disk takes longer than a few failed probes
            await cluster.nodes[node].start()

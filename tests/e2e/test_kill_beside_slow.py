"""One node is dead and another one limps: stopped and let go again, as on a machine that is busy with everything.

Each shard of the two has only the limping copy left. Every read is answered all the same, and every write ends.
`MIROIR_LIMP_S` is how long it limps.
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

from tests.e2e.test_kill import BATCH, INDEX, Load
from tests.support.processes import RealCluster, engines, eventually, real_cluster
from tests.support.replicas import assert_replicas_equal

LIMP_S = float(os.environ.get("MIROIR_LIMP_S") or 10)


async def _story(cluster: RealCluster) -> None:
    rng = random.Random(5)
    await cluster.succeed("POST", "/indexes", {"uid": "things", "primaryKey": "id"})
    await cluster.succeed("PATCH", f"{INDEX}/settings", {"filterableAttributes": ["id", "group"]})
    load = Load(cluster, reads_may_fail=False)
    await load.write(0)
    dead, slow, _ = cluster.node_ids()
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(load.read(stop))
        limping = group.create_task(cluster.limp(slow, LIMP_S, rng))
        cluster.kill(dead)
        await eventually("the dead node is known to be dead", lambda: _is_down(cluster, dead))
        reads = load.reads
        for number in range(2):
            await load.write_all(BATCH, version=1 + number)
        await limping
        assert load.reads > reads
        cluster.restart(dead)
        await cluster.caught_up()
        stop.set()
    assert await assert_replicas_equal(cluster, copies=2) == load.attempted


async def _is_down(cluster: RealCluster, node: str) -> bool:
    _, topology = await cluster.admin("GET", "/_miroir/topology")
    return any(each["id"] == node and each["health"] == "down" for each in topology["nodes"])


@pytest.mark.slow
@pytest.mark.parametrize("engine", engines(), ids=lambda options: options[1])
def test_a_limping_node_beside_a_dead_one_answers_everything(tmp_path: Path, engine: tuple[str, ...]) -> None:
    async def run() -> None:
        async with real_cluster(tmp_path, *engine) as cluster:
            await _story(cluster)

    asyncio.run(run())

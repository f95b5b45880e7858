"""One node is dead and another one limps: stopped and let go again, as on a machine that is busy with everything.

Each shard of the two has only the limping copy left. Every read is answered all the same, and every write ends.
`MIROIR_LIMP_S` is how long it limps.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from pathlib import Path

import pytest

from tests.e2e.test_kill import BATCH, INDEX, Load
from tests.support.processes import RealCluster, engines, real_cluster
from tests.support.replicas import assert_replicas_equal

LIMP_S = float(os.environ.get("MIROIR_LIMP_S") or 10)


async def _limp(pid: int, for_s: float, rng: random.Random) -> None:
    """Stopped for longer than a probe is waited for, then let run for a moment, again and again."""
    end = asyncio.get_running_loop().time() + for_s
    try:
        while asyncio.get_running_loop().time() < end:
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(0.9 + rng.random())
            os.kill(pid, signal.SIGCONT)
            await asyncio.sleep(0.2 + rng.random() / 5)
    finally:
        os.kill(pid, signal.SIGCONT)


async def _story(cluster: RealCluster) -> None:
    rng = random.Random(5)
    await cluster.succeed("POST", "/indexes", {"uid": "things", "primaryKey": "id"})
    await cluster.succeed("PATCH", f"{INDEX}/settings", {"filterableAttributes": ["id", "group"]})
    load = Load(cluster, reads_may_fail=False)
    await load.write(0)
    dead, slow, _ = cluster.node_ids()
    pid = next(node["pid"] for node in cluster.description()["nodes"] if node["id"] == slow)
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(load.read(stop))
        limping = group.create_task(_limp(pid, LIMP_S, rng))
        await asyncio.sleep(rng.random() * 2)
        cluster.kill(dead)
        await asyncio.sleep(4)  # it is known to be down by now, the other one only in doubt
        reads = load.reads
        for number in range(2):
            await load.write_all(BATCH, version=1 + number)
        await limping
        assert load.reads > reads
        cluster.restart(dead)
        await cluster.caught_up()
        stop.set()
    assert await assert_replicas_equal(cluster, copies=2) == load.attempted


@pytest.mark.slow
@pytest.mark.parametrize("engine", engines(), ids=lambda options: options[1])
def test_a_limping_node_beside_a_dead_one_answers_everything(tmp_path: Path, engine: tuple[str, ...]) -> None:
    async def run() -> None:
        async with real_cluster(tmp_path, *engine) as cluster:
            await _story(cluster)

    asyncio.run(run())

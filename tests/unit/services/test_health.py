"""Who is live, who is doubted, and what lanes that missed something may still answer for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from miroir.core.hashing import shard_of
from miroir.core.topology import NodeId, ReplicaState, Snapshot
from tests.support.virtual_time import run_virtual
from tests.unit.services.small_cluster import SmallCluster

B = NodeId("b")


def tell(path: Path, story: Callable[[SmallCluster], Awaitable[None]], **options: Any) -> None:
    cluster = SmallCluster(path / "miroir.db", **options)

    async def main() -> None:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(cluster.running_nodes())
            await stack.enter_async_context(cluster.orchestrator())
            await cluster.live()
            await story(cluster)

    run_virtual(main())


def seen(cluster: SmallCluster) -> Snapshot:
    assert cluster.writes is not None
    return cluster.writes.cluster.snapshot()


def now() -> float:
    return asyncio.get_running_loop().time()


async def until(cluster: SmallCluster, check: Callable[[Snapshot], bool], within_s: float) -> float:
    """Seconds until the snapshot is like that."""
    begun = now()
    while not check(seen(cluster)):
        assert now() - begun < within_s, seen(cluster)
        await asyncio.sleep(0.05)
    return now() - begun


def test_a_node_that_answers_late_stays_live_and_is_doubted(tmp_path: Path) -> None:
    async def story(cluster: SmallCluster) -> None:
        cluster.network.slow[B] = (2.0, 4.0)
        assert await until(cluster, lambda s: B in s.doubted, 4) < 2.2
        for _ in range(60):
            await asyncio.sleep(1)
            assert B in seen(cluster).live
            assert B in seen(cluster).doubted
        cluster.network.slow.clear()
        await until(cluster, lambda s: B not in s.doubted, 8)
        assert B in seen(cluster).live

    tell(tmp_path, story)


def test_a_silent_node_is_doubted_soon_down_later_and_a_suspect_for_a_while(tmp_path: Path) -> None:
    async def story(cluster: SmallCluster) -> None:
        cluster.network.cut_off.add(B)
        assert await until(cluster, lambda s: B in s.doubted, 4) < 2.2
        assert B in seen(cluster).live
        assert await until(cluster, lambda s: B not in s.live, 12) > 8
        assert B in seen(cluster).suspects
        assert B not in seen(cluster).doubted
        assert await until(cluster, lambda s: B not in s.suspects, 40) > 15
        cluster.network.cut_off.clear()
        await until(cluster, lambda s: B in s.live, 25)

    tell(tmp_path, story)


def test_a_node_that_refuses_is_down_after_a_streak(tmp_path: Path) -> None:
    async def story(cluster: SmallCluster) -> None:
        cluster.stop("b")
        assert await until(cluster, lambda s: B in s.doubted, 2) < 1.2
        assert await until(cluster, lambda s: B not in s.live, 4) > 1
        assert B in seen(cluster).suspects

    tell(tmp_path, story)


def test_a_lane_lags_in_the_shards_it_missed_and_in_no_others(tmp_path: Path) -> None:
    async def story(cluster: SmallCluster) -> None:
        await cluster.done("POST", "/indexes/m/documents", [{"id": n} for n in range(50)])
        view = seen(cluster).indexes["m"]
        mine = {shard for shard, replicas in enumerate(view.placement) if B in replicas}
        shard = min(mine)
        number = next(n for n in range(1000) if shard_of(str(n), view.shard_count) == shard)
        cluster.stop("b")
        await until(cluster, lambda s: B not in s.live, 10)
        await cluster.done("POST", "/indexes/m/documents", [{"id": number, "new": True}])
        assert {s for s in mine if B in seen(cluster).current(view, s)} == mine - {shard}
        assert cluster.writes is not None
        await cluster.done("PATCH", "/indexes/m/settings", {"stopWords": ["a"]})
        assert not [s for s in mine if B in seen(cluster).current(view, s)]
        cluster.start_all()
        await cluster.quiet()
        assert {s for s in mine if B in seen(cluster).readable(view, s)} == mine

    tell(tmp_path, story)


def test_shards_missed_are_known_after_a_crash(tmp_path: Path) -> None:
    cluster = SmallCluster(tmp_path / "miroir.db")

    async def main() -> None:
        async with cluster.running_nodes():
            async with cluster.orchestrator():
                await cluster.live()
                await cluster.done("POST", "/indexes/m/documents", [{"id": n} for n in range(50)])
                cluster.stop("b")
                await until(cluster, lambda s: B not in s.live, 10)
                await cluster.done("POST", "/indexes/m/documents", [{"id": 1, "new": True}])
                before = dict(seen(cluster).behind)
            async with cluster.orchestrator():
                assert seen(cluster).behind == before
                cluster.start_all()
                await cluster.live()
                await cluster.quiet()
                assert seen(cluster).behind == {}
                assert len(cluster.merged("m")) == 50

    run_virtual(main())


@pytest.mark.parametrize("writers", [1, 4])
def test_a_node_that_was_away_catches_up_under_steady_writes(tmp_path: Path, writers: int) -> None:
    """Nobody stops for it: it must be waited for as soon as it is nearly there."""

    async def story(cluster: SmallCluster) -> None:
        await cluster.done("POST", "/indexes/m/documents", [{"id": 0}])
        view = seen(cluster).indexes["m"]
        cluster.stop("b")
        await until(cluster, lambda s: B not in s.live, 10)
        stop = asyncio.Event()

        async def write(writer: int) -> None:
            number = 0
            while not stop.is_set():
                number += 1
                documents = [{"id": writer * 1000 + n, "number": number} for n in range(20)]
                await cluster.done("POST", "/indexes/m/documents", documents)

        async with asyncio.TaskGroup() as group:
            for writer in range(writers):
                group.create_task(write(writer))
            await asyncio.sleep(5)
            assert (B, view.physical_uid) in seen(cluster).lagging
            cluster.start_all()
            cluster.network.slow[B] = (0.2, 0.4)  # and so it is always the last
            lane = (B, view.physical_uid)
            await until(cluster, lambda s: B in s.live and lane not in s.lagging, 20)
            await asyncio.sleep(2)
            assert lane not in seen(cluster).lagging
            stop.set()
        await cluster.quiet()
        assert all(
            state is ReplicaState.IN_SYNC
            for replicas in seen(cluster).indexes["m"].placement
            for state in replicas.values()
        )

    tell(tmp_path, story)

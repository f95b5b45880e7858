"""Settings change while clients read: with several replica groups no answer mixes old and new rules."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from tests.support.moving import task_end
from tests.support.sim_cluster import Shape, SimCluster, sim_cluster
from tests.support.virtual_time import run_virtual

COUNT = 40


def documents() -> list[dict[str, Any]]:
    """The word is in `old` of every document, in `new` of every other one."""
    return [{"id": n, "old": "word", "new": "word" if n % 2 else "none"} for n in range(COUNT)]


async def prepared(cluster: SimCluster) -> None:
    for method, path, body in (
        ("PATCH", "/indexes/m/settings", {"searchableAttributes": ["old"]}),
        ("POST", "/indexes/m/documents", documents()),
    ):
        reply = await cluster.ask(method, path, body)
        assert (await task_end(cluster, reply.body["taskUid"])).status == "succeeded"


async def totals_while_changing(cluster: SimCluster, after: Any = None) -> tuple[list[int], Any]:
    """What searches found from before the change to after it, and the task of the change."""
    totals: list[int] = []
    over = asyncio.Event()

    async def read() -> None:
        while not over.is_set():
            reply = await cluster.ask("POST", "/indexes/m/search", {"q": "word", "limit": 1})
            assert reply.status == 200, reply
            totals.append(reply.body["estimatedTotalHits"])
            await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(read())
        await asyncio.sleep(0.2)
        reply = await cluster.ask("PATCH", "/indexes/m/settings", {"searchableAttributes": ["new"]})
        if after is not None:
            await after()
        task = await task_end(cluster, reply.body["taskUid"])
        await asyncio.sleep(1.0)
        over.set()
    return totals, task


@pytest.mark.parametrize("seed", range(2))
def test_no_answer_mixes_old_and_new_rules(seed: int) -> None:
    async def story() -> None:
        shape = Shape(nodes=2, groups=2 + seed % 2, replication_factor=1, shards=8)
        async with sim_cluster(shape, random.Random(seed)) as cluster:
            cluster.batch_step_s = 0.05
            await prepared(cluster)
            totals, task = await totals_while_changing(cluster)
            assert task.status == "succeeded"
            assert set(totals) == {COUNT, COUNT // 2}, totals
            assert totals == sorted(totals, reverse=True), "old rules came back"
            await cluster.quiet()
            assert not cluster.orchestrator.writes.cluster.rolling
            reply = await cluster.ask("POST", "/indexes/m/search", {"q": "word", "limit": 1})
            assert reply.body["estimatedTotalHits"] == COUNT // 2

    run_virtual(story())


def test_a_group_that_dies_while_it_changes_holds_nobody_back() -> None:
    async def story() -> None:
        shape = Shape(nodes=1, groups=2, replication_factor=1, shards=4)
        async with sim_cluster(shape, random.Random(1)) as cluster:
            cluster.batch_step_s = 0.05
            await prepared(cluster)

            async def crash() -> None:
                await asyncio.sleep(0.05)
                await cluster.nodes["n0-0"].crash()

            totals, task = await totals_while_changing(cluster, crash)
            assert task.status == "succeeded"
            assert totals[-1] == COUNT // 2
            await cluster.nodes["n0-0"].start()
            await cluster.quiet()
            assert not cluster.orchestrator.writes.cluster.rolling

    run_virtual(story())


def test_an_orchestrator_that_dies_in_the_middle_ends_the_same() -> None:
    async def story() -> None:
        shape = Shape(nodes=2, groups=2, replication_factor=1, shards=4)
        async with sim_cluster(shape, random.Random(2)) as cluster:
            cluster.batch_step_s = 0.05
            await prepared(cluster)
            reply = await cluster.ask("PATCH", "/indexes/m/settings", {"searchableAttributes": ["new"]})
            await asyncio.sleep(0.06)
            await cluster.crash_orchestrator()
            await cluster.start_orchestrator()
            task = await task_end(cluster, reply.body["taskUid"])
            assert task.status == "succeeded"
            await cluster.quiet()
            found = await cluster.ask("POST", "/indexes/m/search", {"q": "word", "limit": 1})
            assert found.body["estimatedTotalHits"] == COUNT // 2

    run_virtual(story())

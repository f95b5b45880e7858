"""Settings change while clients read: with several replica groups no answer mixes old and new rules."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Seen:
    """How many documents a search found, and its loop times."""

    begun: float
    ended: float
    total: int


async def seen_while_changing(cluster: SimCluster, after: Any = None) -> tuple[list[Seen], Any]:
    """What searches found from before the change to after it, and the task of the change."""
    seen: list[Seen] = []
    over = asyncio.Event()
    now = asyncio.get_running_loop().time

    async def read() -> None:
        while not over.is_set():
            begun = now()
            reply = await cluster.ask("POST", "/indexes/m/search", {"q": "word", "limit": 1})
            assert reply.status == 200, reply
            seen.append(Seen(begun, now(), reply.body["estimatedTotalHits"]))
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
    return seen, task


@pytest.mark.parametrize("seed", range(2))
def test_no_answer_mixes_old_and_new_rules(seed: int) -> None:
    async def story() -> None:
        shape = Shape(nodes=2, groups=2 + seed % 2, replication_factor=1, shards=8)
        async with sim_cluster(shape, random.Random(seed)) as cluster:
            cluster.batch_step_s = 0.05
            await prepared(cluster)
            seen, task = await seen_while_changing(cluster)
            assert task.status == "succeeded"
            assert {each.total for each in seen} == {COUNT, COUNT // 2}
            first_new = min(each.ended for each in seen if each.total == COUNT // 2)
            late = [each for each in seen if each.begun >= first_new and each.total == COUNT]
            assert not late, "old rules came back for a search that began after an answer by new ones"
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

            seen, task = await seen_while_changing(cluster, crash)
            assert task.status == "succeeded"
            assert seen[-1].total == COUNT // 2
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

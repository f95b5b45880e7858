"""kill -9 of real processes during 10,000 document writes: nothing lost, nothing doubled, nothing silent.

Twenty rounds each; a round kills one process at a random moment of 500 writes in batches of 50, with a
reader beside it, starts it again by its argv, and waits until all is well. `MIROIR_KILL_DOCS` sets the
documents of a round, `MIROIR_KILL_ROUNDS` the rounds.
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.processes import RealCluster, engines, eventually, real_cluster
from tests.support.replicas import assert_replicas_equal

ROUNDS = int(os.environ.get("MIROIR_KILL_ROUNDS") or 20)
DOCUMENTS_A_ROUND = int(os.environ.get("MIROIR_KILL_DOCS", "500"))
BATCH = 50
INDEX = "/indexes/things"


class Load:
    """A writer that remembers what was acknowledged, and a reader that holds the cluster to it."""

    def __init__(self, cluster: RealCluster, *, reads_may_fail: bool) -> None:
        self.cluster = cluster
        self.reads_may_fail = reads_may_fail
        self.succeeded: dict[int, int] = {}  #: id -> version, of tasks that succeeded
        self.attempted = 0
        self.reads = 0
        self.rng = random.Random(7)

    async def write(self, version: int) -> None:
        """Write a round's documents in batches; every batch is sent until it is acknowledged and succeeds."""
        await self.write_all(DOCUMENTS_A_ROUND, version)

    async def write_all(self, count: int, version: int) -> None:
        """The same with so many documents."""
        first = self.attempted
        self.attempted += count
        for start in range(first, self.attempted, BATCH):
            ids = range(start, start + BATCH)
            await self._write_batch(
                [{"id": i, "version": version, "group": i % 7, "name": f"thing {i}"} for i in ids]
            )
            self.succeeded.update(dict.fromkeys(ids, version))

    async def _write_batch(self, documents: list[dict[str, Any]]) -> None:
        async def accepted() -> int | None:
            try:
                status, summary = await self.cluster.ask("POST", f"{INDEX}/documents", documents)
            except aiohttp.ClientError:
                return (
                    None  # the orchestrator is down: whether it was logged is unknown, the same again is safe
                )
            assert status in (202, 503), (status, summary)
            return summary["taskUid"] + 1 if status == 202 else None

        uid = await eventually("a batch is accepted", accepted) - 1
        task = await self.cluster.task(uid)
        assert task["status"] == "succeeded", task

    async def read(self, stop: asyncio.Event) -> None:
        """Until told to stop: what succeeded is there, exactly once, and no answer is short."""
        while not stop.is_set():
            known = dict(self.succeeded)
            try:
                await self._read_once(known)
                self.reads += 1
            except aiohttp.ClientError:
                if not self.reads_may_fail:
                    raise
                await asyncio.wait([asyncio.ensure_future(stop.wait())], timeout=0.05)

    async def _read_once(self, known: dict[int, int]) -> None:
        status, found = await self.cluster.ask("POST", f"{INDEX}/search", {"limit": 0})
        assert status == 200, (status, found)
        assert len(known) <= found["estimatedTotalHits"] <= self.attempted, (
            len(known),
            found,
            self.attempted,
        )
        if known:
            uid = self.rng.choice(list(known))
            status, document = await self.cluster.ask("GET", f"{INDEX}/documents/{uid}")
            assert status == 200, (status, document)
            assert document == {"id": uid, "version": known[uid], "group": uid % 7, "name": f"thing {uid}"}
            status, found = await self.cluster.ask(
                "POST", f"{INDEX}/search", {"q": f'"thing {uid}"', "filter": f"id = {uid}"}
            )
            assert status == 200, (status, found)
            assert [hit["id"] for hit in found["hits"]] == [uid], (uid, found)


async def _rounds(cluster: RealCluster, victims: list[str], *, reads_may_fail: bool) -> None:
    await cluster.succeed("POST", "/indexes", {"uid": "things", "primaryKey": "id"})
    await cluster.succeed("PATCH", f"{INDEX}/settings", {"filterableAttributes": ["id", "group"]})
    load = Load(cluster, reads_may_fail=reads_may_fail)
    rng = random.Random(11)
    for number in range(ROUNDS):
        victim = rng.choice(victims)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(load.read(stop))
            writer = group.create_task(load.write(number))
            mark = len(load.succeeded) + rng.randrange(0, DOCUMENTS_A_ROUND - BATCH, BATCH)

            async def reached(mark: int = mark) -> bool:
                return len(load.succeeded) >= mark

            await eventually("the moment of the kill", reached, every_s=0.003 * rng.random() + 0.001)
            cluster.kill(victim)
            if victim != "orchestrator":
                await writer  # the other replica carries on alone
            cluster.restart(victim)
            await writer
            await cluster.caught_up()
            stop.set()
        assert len(load.succeeded) == load.attempted
    assert load.reads >= ROUNDS
    status, found = await cluster.ask("POST", f"{INDEX}/search", {"hitsPerPage": 1})
    assert (status, found["totalHits"]) == (200, load.attempted)
    assert await assert_replicas_equal(cluster, copies=2) == load.attempted


@pytest.mark.slow
@pytest.mark.parametrize("engine", engines(), ids=lambda options: options[1])
def test_killing_any_node_loses_and_doubles_nothing(tmp_path: Path, engine: tuple[str, ...]) -> None:
    """A node dies during writes; reads never fail; once it is back all replicas are equal."""

    async def run() -> None:
        async with real_cluster(tmp_path, *engine) as cluster:
            await _rounds(cluster, cluster.node_ids(), reads_may_fail=False)

    asyncio.run(run())


@pytest.mark.slow
@pytest.mark.parametrize("engine", engines(), ids=lambda options: options[1])
def test_killing_the_orchestrator_loses_and_doubles_nothing(tmp_path: Path, engine: tuple[str, ...]) -> None:
    """The orchestrator dies at any moment; what it acknowledged is there when it is back."""

    async def run() -> None:
        async with real_cluster(tmp_path, *engine) as cluster:
            await _rounds(cluster, ["orchestrator"], reads_may_fail=True)

    asyncio.run(run())

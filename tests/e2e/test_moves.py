"""The founding acceptance with real processes: a cluster grows under reads and writes, and nobody notices.

`MIROIR_KILL_ROUNDS=50` kills sources, targets and the orchestrator at random moments of that many moves.
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.growing import operation_end, start_node
from tests.support.processes import RealCluster, eventually, real_cluster
from tests.support.replicas import shards_on

DOCUMENTS = 10_000
ROUNDS = int(os.environ.get("MIROIR_KILL_ROUNDS") or 2)


class Library:
    """The index under test and what it must hold. Documents below 100 are never written again."""

    def __init__(self, cluster: RealCluster, rng: random.Random) -> None:
        self.cluster, self.rng = cluster, rng
        self.documents: dict[int, dict[str, Any]] = {}
        self.problems: list[str] = []
        self.reads = 0
        self.stop = asyncio.Event()

    def document(self, number: int) -> dict[str, Any]:
        genre = "kept" if number < 100 else self.rng.choice(("war", "love", "myth"))
        return {"id": number, "title": f"film number {number}", "genre": genre, "year": 1900 + number % 120}

    async def load(self, count: int) -> None:
        await self.cluster.succeed(
            "PATCH", "/indexes/films/settings", {"filterableAttributes": ["genre", "year"]}
        )
        for first in range(0, count, 2500):
            batch = [self.document(number) for number in range(first, min(count, first + 2500))]
            await self.cluster.succeed("POST", "/indexes/films/documents", batch)
            self.documents.update({one["id"]: one for one in batch})

    async def write(self) -> None:
        """Every kind of write, round and round."""
        turn = 0
        while not self.stop.is_set():
            turn += 1
            known = [number for number in self.documents if number >= 100]
            some = self.rng.sample(known, min(5, len(known)))
            await self._write(turn % 6, some, turn)

    async def _write(self, kind: int, some: list[int], turn: int) -> None:
        cluster = self.cluster
        if kind == 0:
            batch = [self.document(DOCUMENTS + turn * 10 + place) for place in range(5)]
            await cluster.succeed("POST", "/indexes/films/documents", batch)
            self.documents.update({one["id"]: one for one in batch})
        elif kind == 1:
            batch = [{**self.document(number), "title": f"again {turn}"} for number in some]
            await cluster.succeed("POST", "/indexes/films/documents", batch)
            self.documents.update({one["id"]: one for one in batch})
        elif kind == 2:
            batch = [{"id": number, "seen": turn} for number in some]
            await cluster.succeed("PUT", "/indexes/films/documents", batch)
            for one in batch:
                self.documents[one["id"]] = {**self.documents[one["id"]], **one}
        elif kind == 3:
            await cluster.succeed("POST", "/indexes/films/documents/delete-batch", some)
            for number in some:
                del self.documents[number]
        elif kind == 4:
            year = 1900 + turn % 120
            wanted = f"genre = war AND year = {year}"
            await cluster.succeed("POST", "/indexes/films/documents/delete", {"filter": wanted})
            self.documents = {
                number: one
                for number, one in self.documents.items()
                if not (one["genre"] == "war" and one["year"] == year)
            }
        else:
            await cluster.succeed("PATCH", "/indexes/films/settings", {"stopWords": [f"word{turn}"]})

    async def read(self, *, strict: bool = True) -> None:
        """What nobody writes can be had at every moment; a search shows it once each."""
        body = {"filter": "genre = kept", "limit": 200, "attributesToRetrieve": ["id"]}
        while not self.stop.is_set():
            try:
                number = self.rng.randrange(100)
                status, found = await self.cluster.ask("GET", f"/indexes/films/documents/{number}")
                if status != 200 and (strict or status == 404):
                    self.problems.append(f"document {number}: {status} {found}")
                status, found = await self.cluster.ask("POST", "/indexes/films/search", body)
            except aiohttp.ClientError:
                if strict:
                    raise
                continue
            if status != 200:
                if strict:
                    self.problems.append(f"search: {status} {found}")
                continue
            ids = sorted(hit["id"] for hit in found["hits"])
            if ids != list(range(100)) or found["estimatedTotalHits"] != 100:
                self.problems.append(f"search: {len(ids)} hits, {len(set(ids))} different")
            self.reads += 1

    async def check(self, *, copies: int) -> None:
        """All copies equal, in the right number, and together exactly what was written."""
        held: dict[int, dict[str, dict[str, str]]] = {}
        for node in self.cluster.node_ids():
            for (_, shard), documents in (await shards_on(self.cluster, node)).items():
                if documents:
                    held.setdefault(shard, {})[node] = documents
        seen: set[str] = set()
        for shard, by_node in held.items():
            first, *others = by_node.values()
            assert len(by_node) == copies, f"shard {shard} is on {sorted(by_node)}"
            assert all(other == first for other in others), f"copies of shard {shard} differ"
            assert not seen & first.keys()
            seen |= first.keys()
        expected = {str(number) for number in self.documents}
        assert seen == expected, f"lost {sorted(expected - seen)[:5]}, too many {sorted(seen - expected)[:5]}"
        status, answer = await self.cluster.ask("GET", "/indexes/films/documents?limit=100000")
        assert status == 200
        assert {one["id"]: one for one in answer["results"]} == self.documents


async def _settled(cluster: RealCluster) -> None:
    async def nothing_open() -> bool:
        try:
            _, status = await cluster.admin("GET", "/_miroir/rebalance/status")
        except aiohttp.ClientError:
            return False
        return not status["in_progress"]

    async def all_answer() -> bool:
        """Before the prober has noticed that a killed node is not back yet, it still counts as live."""
        try:
            return all([(await cluster.ask_node(n, "GET", "/health"))[0] == 200 for n in cluster.node_ids()])
        except aiohttp.ClientError:
            return False

    await eventually("every node answers", all_answer, within_s=60)
    await cluster.caught_up(within_s=120)
    await eventually("nothing moves", nothing_open, within_s=120)

    async def old_copies_gone() -> bool:
        _, shards = await cluster.admin("GET", "/_miroir/shards")
        return "retiring" not in str(shards)

    await eventually("old copies are deleted", old_copies_gone, within_s=120)
    await cluster.caught_up(within_s=120)


async def _grow(directory: Path) -> None:
    async with real_cluster(directory, "--replication-factor", "2") as cluster:
        library = Library(cluster, random.Random(1))
        await library.load(DOCUMENTS)
        address = await start_node(cluster, "node-4")
        wanted = {"id": "node-4", "address": address, "replica_group": 0}
        status, plan = await cluster.admin("POST", "/_miroir/nodes?dry_run=true", wanted)
        assert status == 200, plan
        assert {move["to"] for move in plan["moves"]} == {"node-4"}
        bound = 2 * DOCUMENTS / 4 * 1.1
        assert plan["planned"]["documents"] <= bound
        async with asyncio.TaskGroup() as group:
            group.create_task(library.write())
            group.create_task(library.read())
            group.create_task(library.read())
            status, begun = await cluster.admin("POST", "/_miroir/nodes", wanted)
            assert status == 202, begun
            status, refused = await cluster.admin("POST", "/_miroir/rebalance")
            assert (status, refused["code"]) == (409, "miroir_conflict"), refused
            ended = await operation_end(cluster, begun["operation"])
            library.stop.set()
        assert ended["state"] == "done", ended
        assert library.problems == []
        assert library.reads > 20
        moved = ended["actual"]["documents"]  # type: ignore[index]
        assert 0 < moved <= bound * 1.05, moved  # writes meanwhile add to it
        await _settled(cluster)
        await library.check(copies=2)
        assert any((await shards_on(cluster, "node-4")).values())


def test_a_cluster_grows_under_reads_and_writes(tmp_path: Path) -> None:
    asyncio.run(_grow(tmp_path))


async def _kill_rounds(directory: Path, rounds: int, rng: random.Random) -> None:
    async with real_cluster(directory, "--replication-factor", "2", "--shards", "16") as cluster:
        library = Library(cluster, rng)
        await library.load(1000)
        address = await start_node(cluster, "node-4")
        wanted = {"id": "node-4", "address": address, "replica_group": 0}
        for turn in range(rounds):
            library.stop.clear()
            async with asyncio.TaskGroup() as group:
                group.create_task(library.read(strict=False))
                path, body = ("/_miroir/nodes", wanted) if turn == 0 else _next(turn)
                status, begun = await cluster.admin("POST", path, body)
                assert status == 202, begun
                for victim in rng.sample(["node-1", "node-4", "orchestrator"], rng.randint(1, 2)):
                    await asyncio.wait_for(_moment(library, rng), 30)
                    cluster.kill(victim)
                    cluster.restart(victim)
                await operation_end(cluster, begun["operation"], within_s=180)
                library.stop.set()
            await _settled(cluster)
            assert library.problems == [], library.problems[:3]
            await library.check(copies=2)


def _next(turn: int) -> tuple[str, None]:
    return (f"/_miroir/nodes/node-4/{'drain' if turn % 2 else 'undrain'}", None)


async def _moment(library: Library, rng: random.Random) -> None:
    """A random moment: after a few more reads."""
    until = library.reads + rng.randint(1, 15)

    async def passed() -> bool:
        return library.reads >= until

    await eventually("a moment passes", passed, within_s=30)


@pytest.mark.slow
def test_kills_during_moves_lose_nothing(tmp_path: Path) -> None:
    asyncio.run(_kill_rounds(tmp_path, ROUNDS, random.Random(7)))

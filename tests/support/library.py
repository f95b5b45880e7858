"""An index of a real cluster and what it must hold, with clients that write and read it meanwhile."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import aiohttp

from tests.support.processes import RealCluster, eventually
from tests.support.replicas import shards_on

#: documents below are never written again once they are loaded
STILL = 100
_FIRST_NEW = 100_000


class Library:
    """The index `films`, a model that follows every write that succeeded, and what clients saw go wrong."""

    def __init__(self, cluster: RealCluster, rng: random.Random, *, kills: bool = False) -> None:
        """`kills`: processes die meanwhile; a request may then fail, but no answer may be wrong."""
        self.cluster, self.rng, self.kills = cluster, rng, kills
        self.documents: dict[int, dict[str, Any]] = {}
        self.problems: list[str] = []
        self.reads = self.writes = 0
        self.stop = asyncio.Event()

    def document(self, number: int) -> dict[str, Any]:
        genre = "kept" if number < STILL else self.rng.choice(("war", "love", "myth"))
        return {"id": number, "title": f"film number {number}", "genre": genre, "year": 1900 + number % 120}

    async def load(self, count: int) -> None:
        await self.cluster.succeed(
            "PATCH", "/indexes/films/settings", {"filterableAttributes": ["genre", "year"]}
        )
        for first in range(0, count, 2500):
            batch = [self.document(number) for number in range(first, min(count, first + 2500))]
            await self.cluster.succeed("POST", "/indexes/films/documents", batch)
            self.documents.update({one["id"]: one for one in batch})

    # --- writing ------------------------------------------------------------------------------

    async def write(self) -> None:
        """Every kind of write, round and round; what it did is looked at once it is said to be done."""
        while not self.stop.is_set():
            self.writes += 1
            known = [number for number in self.documents if number >= STILL]
            some = self.rng.sample(known, min(5, len(known)))
            await self._write(self.writes % 6, some, self.writes)
            for number in some[:2]:
                await self._look(number)

    async def _write(self, kind: int, some: list[int], turn: int) -> None:
        if kind == 0:
            batch = [self.document(_FIRST_NEW + turn * 10 + place) for place in range(5)]
            await self._send("POST", "/documents", batch)
            self.documents.update({one["id"]: one for one in batch})
        elif kind == 1:
            batch = [{**self.document(number), "title": f"again {turn}"} for number in some]
            await self._send("POST", "/documents", batch)
            self.documents.update({one["id"]: one for one in batch})
        elif kind == 2:
            batch = [{"id": number, "seen": turn} for number in some]
            await self._send("PUT", "/documents", batch)
            for one in batch:
                self.documents[one["id"]] = {**self.documents[one["id"]], **one}
        elif kind == 3:
            await self._send("POST", "/documents/delete-batch", some)
            for number in some:
                del self.documents[number]
        elif kind == 4:
            year = 1900 + turn % 120
            await self._send("POST", "/documents/delete", {"filter": f"genre = war AND year = {year}"})
            self.documents = {
                number: one
                for number, one in self.documents.items()
                if not (one["genre"] == "war" and one["year"] == year)
            }
        else:
            await self._send("PATCH", "/settings", {"stopWords": [f"word{turn}"]})

    async def _send(self, method: str, path: str, body: Any) -> None:
        """One write to its end. Whether a lost answer was a yes is unknown: the same again is safe."""

        async def accepted() -> int | None:
            try:
                status, summary = await self.cluster.ask(method, f"/indexes/films{path}", body)
            except aiohttp.ClientError:
                if not self.kills:
                    raise
                return None
            assert status == 202 or (self.kills and status == 503), (status, summary)
            return int(summary["taskUid"]) + 1 if status == 202 else None

        uid = await eventually("a write is accepted", accepted) - 1
        task = await self.cluster.task(uid, within_s=120)
        assert task["status"] == "succeeded", task

    async def _look(self, number: int) -> None:
        """Nobody else writes: what was just written is there, what was deleted is not."""
        try:
            status, found = await self.cluster.ask("GET", f"/indexes/films/documents/{number}")
        except aiohttp.ClientError:
            if not self.kills:
                raise
            return
        wanted = self.documents.get(number)
        if (status, found if status == 200 else None) == (404 if wanted is None else 200, wanted):
            return
        if status in (200, 404) or not self.kills:
            self.problems.append(f"document {number}: {status} {found}, not {wanted}")

    # --- reading ------------------------------------------------------------------------------

    async def read(self) -> None:
        """What nobody writes can be had at every moment; a search shows it once each."""
        body = {"filter": "genre = kept", "limit": 2 * STILL, "attributesToRetrieve": ["id"]}
        while not self.stop.is_set():
            try:
                number = self.rng.randrange(STILL)
                status, found = await self.cluster.ask("GET", f"/indexes/films/documents/{number}")
                if status != 200 and (not self.kills or status == 404):
                    self.problems.append(f"document {number}: {status} {found}")
                status, found = await self.cluster.ask("POST", "/indexes/films/search", body)
            except aiohttp.ClientError:
                if not self.kills:
                    raise
                await asyncio.wait([asyncio.ensure_future(self.stop.wait())], timeout=0.05)
                continue
            if status != 200:
                if not self.kills:
                    self.problems.append(f"search: {status} {found}")
                continue
            ids = sorted(hit["id"] for hit in found["hits"])
            if ids != list(range(STILL)) or found["estimatedTotalHits"] != STILL:
                self.problems.append(f"search: {len(ids)} hits, {len(set(ids))} different")
            self.reads += 1

    # --- the end ------------------------------------------------------------------------------

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
        status, answer = await self.cluster.ask("GET", "/indexes/films/documents?limit=1000000")
        assert status == 200
        assert {one["id"]: one for one in answer["results"]} == self.documents

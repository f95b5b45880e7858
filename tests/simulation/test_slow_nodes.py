"""A node that lives but is slow, beside a dead one: nothing is refused, nothing is missing, nothing is old."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from miroir.core.topology import NodeId
from tests.simulation.seeds import sweep
from tests.support.sim_checks import assert_replicas_equal
from tests.support.sim_cluster import Shape, SimCluster, sim_cluster

INDEX = "/indexes/things"
DEAD, SLOW = "n0-0", "n0-1"
BATCH = 20


class Client:
    """Writes in batches and holds every answer to what succeeded before it was asked for."""

    def __init__(self, cluster: SimCluster, rng: random.Random) -> None:
        self.cluster = cluster
        self.rng = rng
        self.done: dict[int, int] = {}  #: id -> version, of writes that succeeded
        self.sent: dict[int, int] = {}  #: the same of those that were sent
        self.reads = 0
        self.slowest_s = 0.0

    async def write(self, batches: int) -> None:
        """Every batch is accepted the first time it is sent, and succeeds."""
        for _ in range(batches):
            version = max(self.sent.values(), default=0) + 1
            ids = [*self.rng.sample(range(60), BATCH), 1000 + len(self.sent)]
            self.sent.update(dict.fromkeys(ids, version))
            documents = [{"id": i, "version": version, "name": f"thing {i}"} for i in ids]
            reply = await self.cluster.ask("POST", f"{INDEX}/documents", documents)
            assert reply.status == 202, reply
            await self._succeeded(reply.body["taskUid"])
            self.done.update(dict.fromkeys(ids, version))

    async def _succeeded(self, uid: int) -> None:
        begun = asyncio.get_running_loop().time()
        while (task := (await self.cluster.ask("GET", f"/tasks/{uid}")).body)["status"] != "succeeded":
            assert task["status"] in ("enqueued", "processing"), task
            assert asyncio.get_running_loop().time() - begun < 60, self.cluster.stuck()
            await asyncio.sleep(0.1)

    async def read(self, stop: asyncio.Event) -> None:
        """Searches and documents until told to stop."""
        while not stop.is_set():
            begun = asyncio.get_running_loop().time()
            await self._search()
            await self._document()
            await self._list()
            self.reads += 3
            self.slowest_s = max(self.slowest_s, (asyncio.get_running_loop().time() - begun) / 3)

    async def _ok(self, method: str, path: str, body: Any = None) -> Any:
        reply = await self.cluster.ask(method, path, body)
        assert reply.status == 200, (method, path, reply)
        return reply.body

    def _check(self, known: dict[int, int], documents: list[dict[str, Any]]) -> None:
        found = {document["id"]: document["version"] for document in documents}
        assert len(found) == len(documents), "something is there twice"
        assert known.keys() <= found.keys() <= self.sent.keys()
        for uid, version in found.items():
            assert known.get(uid, 0) <= version <= self.sent[uid]

    async def _search(self) -> None:
        known = dict(self.done)
        found = await self._ok("POST", f"{INDEX}/search", {"limit": 500, "facets": ["version"]})
        self._check(known, found["hits"])
        assert len(known) <= found["estimatedTotalHits"] <= len(self.sent)
        assert sum(found["facetDistribution"]["version"].values()) == len(found["hits"])

    async def _document(self) -> None:
        if self.done:
            uid = self.rng.choice(list(self.done))
            least = self.done[uid]
            document = await self._ok("GET", f"{INDEX}/documents/{uid}")
            assert least <= document["version"] <= self.sent[uid], (uid, document)

    async def _list(self) -> None:
        known = dict(self.done)
        listed = await self._ok("GET", f"{INDEX}/documents?limit=500")
        self._check(known, listed["results"])


async def _story(seed: int, slowness: tuple[float, float], *, silent: bool) -> Client:
    """Load all the time; `silent`: the dead node does not refuse, its machine is gone."""
    rng = random.Random(seed)
    async with sim_cluster(Shape(nodes=3, replication_factor=2, shards=8), rng) as cluster:
        client = Client(cluster, rng)
        await cluster.ask("PATCH", f"{INDEX}/settings", {"filterableAttributes": ["version"]})
        await client.write(2)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            readers = [group.create_task(client.read(stop)) for _ in range(2)]
            group.create_task(_watched(stop, cluster))
            await client.write(2)
            cluster.network.slow[NodeId(SLOW)] = slowness
            await asyncio.sleep(rng.random() * 4)
            if silent:
                cluster.network.cut_off.add(NodeId(DEAD))
            else:
                await cluster.nodes[DEAD].crash()
            before = client.reads
            await client.write(6)
            await asyncio.sleep(10)
            assert client.reads > before
            assert SLOW in cluster.orchestrator.writes.cluster.live
            assert DEAD not in cluster.orchestrator.writes.cluster.live
            stop.set()
            del readers
        await cluster.quiet()
        assert await assert_replicas_equal(cluster) == len(client.done) == len(client.sent)
        return client


async def _watched(stop: asyncio.Event, cluster: SimCluster) -> None:
    while not stop.is_set():
        assert not cluster.broken, cluster.broken
        await asyncio.sleep(1)


@pytest.mark.parametrize("silent", [False, True], ids=["killed", "vanished"])
@pytest.mark.parametrize("slowness", [(0.7, 1.2), (1.0, 2.5), (2.0, 3.0)], ids=str)
def test_a_slow_node_beside_a_dead_one_answers_everything(
    slowness: tuple[float, float], silent: bool
) -> None:
    """Slower than any probe is waited for: still every read is answered rightly and every write ends."""
    for _, client in sweep(lambda seed: _story(seed, slowness, silent=silent), 2, seconds=6):
        assert client.reads > 20

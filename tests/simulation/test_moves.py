"""Data moves while clients write and read: nothing is lost, doubled or comes back, whatever the operation."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import orjson
import pytest

from miroir.core.moves.operation_records import OperationKind, OperationState
from miroir.core.reads.covering import shard_filter
from miroir.core.reserved import encode_shard
from miroir.core.topology import ReplicaState
from miroir.meili.http import HttpReply, HttpRequest
from tests.support.moving import (
    add_node,
    assert_consistent,
    attach,
    moving_cluster,
    operations,
    placement_of,
    settle,
    task_end,
)
from tests.support.sim_cluster import NODE_KEY, Shape, SimCluster, SimNode
from tests.support.virtual_time import run_virtual

GENRES = ("war", "love", "myth")
#: documents below are never written again
STILL = 5


class Shelf:
    """One index and what it must hold: a model that follows every write that succeeded."""

    def __init__(self, cluster: SimCluster, rng: random.Random, uid: str = "films") -> None:
        self.cluster, self.rng, self.uid = cluster, rng, uid
        self.documents: dict[str, Any] = {}
        self.writes = 0
        self.misses: list[str] = []

    def document(self, number: int) -> dict[str, Any]:
        return {
            "id": number, "title": f"film {number} {self.rng.randrange(1000)}",
            "genre": self.rng.choice(GENRES) if number >= STILL else "still",
            "year": self.rng.randrange(1900, 2030),
        }  # fmt: skip

    async def load(self, count: int) -> None:
        await self.send(
            "PATCH", "/settings", {"filterableAttributes": ["genre"], "sortableAttributes": ["year"]}
        )
        for first in range(0, count, 50):
            await self.add([self.document(n) for n in range(first, min(first + 50, count))])

    async def send(self, method: str, path: str, body: Any = None, **query: Any) -> None:
        reply = await self.cluster.ask(method, f"/indexes/{self.uid}{path}", body, **query)
        assert reply.status == 202, reply
        task = await task_end(self.cluster, reply.body["taskUid"])
        assert task.status == "succeeded", task
        self.writes += 1

    async def add(self, documents: list[dict[str, Any]]) -> None:
        await self.send("POST", "/documents", documents)
        self.documents.update({str(one["id"]): one for one in documents})

    async def write_something(self) -> None:
        """One random write of any kind, and what it does to the model."""
        known = [one for one in sorted(self.documents) if int(one) >= STILL]
        kind = self.rng.choice(("add", "add", "replace", "merge", "delete", "filter", "settings"))
        some = self.rng.sample(known, min(4, len(known)))
        if kind == "add" or not known:
            first = 10_000 + self.writes * 10
            await self.add([self.document(first + n) for n in range(self.rng.randint(1, 5))])
        elif kind == "replace":
            await self.add([self.document(int(one)) for one in some])
        elif kind == "merge":
            changes = [{"id": int(one), "year": self.rng.randrange(2030, 3000)} for one in some]
            await self.send("PUT", "/documents", changes)
            for change in changes:
                self.documents[str(change["id"])] = {**self.documents[str(change["id"])], **change}
        elif kind == "delete":
            await self.send("POST", "/documents/delete-batch", [int(one) for one in some])
            for one in some:
                del self.documents[one]
        elif kind == "filter":
            year = self.rng.randrange(1900, 1940)
            genre = self.rng.choice(GENRES)
            await self.send("PATCH", "/settings", {"filterableAttributes": ["genre", "year"]})
            await self.send("POST", "/documents/delete", {"filter": f"genre = {genre} AND year < {year}"})
            self.documents = {
                one: document
                for one, document in self.documents.items()
                if not (document["genre"] == genre and document["year"] < year)
            }
        else:
            await self.send("PATCH", "/settings", {"stopWords": [f"word{self.writes}"]})

    async def write_until(self, done: asyncio.Event) -> None:
        while not done.is_set():
            await self.write_something()

    async def read_until(self, done: asyncio.Event) -> None:
        """Documents that nobody writes can be had at every moment, once each."""
        still = [str(number) for number in range(STILL)]
        while not done.is_set():
            for one in still:
                reply = await self.cluster.ask("GET", f"/indexes/{self.uid}/documents/{one}")
                if reply.status != 200:
                    self.misses.append(f"{one}: {reply.status}")
            reply = await self.cluster.ask("POST", f"/indexes/{self.uid}/search", {"limit": 100_000})
            ids = [hit["id"] for hit in reply.body["hits"]]
            if len(set(ids)) != len(ids):
                self.misses.append("doubled")


async def under_load(cluster: SimCluster, shelf: Shelf, begin: Any, *, writes: bool = True) -> None:
    """Begin an operation with a writer and a reader beside it; wait for its end."""
    done = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        if writes:
            group.create_task(shelf.write_until(done))
        group.create_task(shelf.read_until(done))
        await begin()
        await settle(cluster)
        done.set()
    assert shelf.misses == []
    await cluster.until("quiet", cluster.is_quiet)
    await settle(cluster)


def simulate(main: Any) -> None:
    run_virtual(main)


@pytest.mark.parametrize("seed", range(3))
def test_a_node_joins_under_load(seed: int) -> None:
    async def main() -> None:
        rng = random.Random(seed)
        async with moving_cluster(Shape(nodes=3, replication_factor=2, shards=16), rng) as cluster:
            shelf = Shelf(cluster, rng)
            await shelf.load(200)
            await under_load(cluster, shelf, lambda: add_node(cluster, "x0"))
            await assert_consistent(cluster, {"films": shelf.documents})
            ended = operations(cluster).all[1]
            assert ended.state is OperationState.DONE
            assert ended.planned.replicas <= 16 * 2 / 4 * 1.1
            held = sum("x0" in replicas for replicas in next(iter(placement_of(cluster).values())))
            assert held == ended.planned.replicas > 0

    simulate(main())


@pytest.mark.parametrize("seed", range(2))
def test_a_node_is_drained_and_removed_under_load(seed: int) -> None:
    async def main() -> None:
        rng = random.Random(100 + seed)
        async with moving_cluster(Shape(nodes=3, replication_factor=2, shards=8), rng) as cluster:
            shelf = Shelf(cluster, rng)
            await shelf.load(150)
            ops = operations(cluster)
            await under_load(cluster, shelf, lambda: ops.request(OperationKind.DRAIN, {"node": "n0-1"}))
            await assert_consistent(cluster, {"films": shelf.documents})
            assert not any("n0-1" in r for shards in placement_of(cluster).values() for r in shards)
            await cluster.nodes.pop("n0-1").wipe()
            await ops.request(OperationKind.REMOVE_NODE, {"node": "n0-1"})
            await settle(cluster)
            await shelf.write_something()
            await assert_consistent(cluster, {"films": shelf.documents})

    simulate(main())


@pytest.mark.parametrize("seed", range(2))
def test_a_wiped_node_is_rebuilt_by_itself(seed: int) -> None:
    async def main() -> None:
        rng = random.Random(200 + seed)
        async with moving_cluster(Shape(nodes=3, replication_factor=2, shards=8), rng) as cluster:
            shelf = Shelf(cluster, rng)
            await shelf.load(150)

            async def lose() -> None:
                node = cluster.nodes["n0-1"]
                await node.wipe()
                await cluster.until(
                    "it is down", lambda: "n0-1" not in cluster.orchestrator.writes.cluster.live
                )
                await node.start()
                await cluster.until("noticed", lambda: bool(operations(cluster).all))

            await under_load(cluster, shelf, lose)
            await assert_consistent(cluster, {"films": shelf.documents})
            assert {o.kind for o in operations(cluster).all.values()} == {OperationKind.RESYNC}

    simulate(main())


def test_a_node_wiped_in_the_middle_of_a_copy_is_begun_again() -> None:
    async def main() -> None:
        rng = random.Random(300)
        async with moving_cluster(Shape(nodes=3, replication_factor=2, shards=8), rng) as cluster:
            shelf = Shelf(cluster, rng)
            await shelf.load(150)
            await add_node(cluster, "x0")

            def copying() -> bool:
                return any(copy.documents > 10 for copy in operations(cluster).copies())

            await cluster.until("a copy has begun", copying)
            await cluster.nodes["x0"].wipe()
            await cluster.nodes["x0"].start()
            await settle(cluster)
            await assert_consistent(cluster, {"films": shelf.documents})

    simulate(main())


def test_a_dead_node_is_replaced_after_the_grace_time_and_not_before() -> None:
    async def main() -> None:
        rng = random.Random(400)
        async with moving_cluster(Shape(nodes=4, replication_factor=2, shards=8), rng) as cluster:
            shelf = Shelf(cluster, rng)
            await shelf.load(100)
            loop = asyncio.get_running_loop()
            before = loop.time()
            await cluster.nodes["n0-2"].crash()
            await cluster.until("it began", lambda: bool(operations(cluster).all))
            assert loop.time() - before > 20.0
            await cluster.until("it ended", lambda: not any(o.open for o in operations(cluster).all.values()))
            states = [
                [s for s in replicas.values() if s == "in_sync"]
                for shards in placement_of(cluster).values()
                for replicas in shards
            ]
            assert all(len(in_sync) == 2 for in_sync in states)
            await shelf.write_something()
            await cluster.nodes["n0-2"].start()
            await cluster.until("all live", cluster.all_live)
            await settle(cluster)
            await assert_consistent(cluster, {"films": shelf.documents}, balanced=False)

    simulate(main())


def test_a_node_that_comes_back_in_time_is_not_replaced() -> None:
    async def main() -> None:
        rng = random.Random(500)
        async with moving_cluster(Shape(nodes=3, replication_factor=2, shards=8), rng) as cluster:
            shelf = Shelf(cluster, rng)
            await shelf.load(50)
            placed = placement_of(cluster)
            await cluster.nodes["n0-2"].crash()
            for _ in range(5):
                await shelf.write_something()
            await cluster.nodes["n0-2"].start()
            await cluster.until("quiet", cluster.is_quiet)
            assert operations(cluster).all == {}
            assert placement_of(cluster) == placed
            await assert_consistent(cluster, {"films": shelf.documents})

    simulate(main())


def test_the_replication_factor_changes_under_load() -> None:
    async def main() -> None:
        rng = random.Random(600)
        async with moving_cluster(Shape(nodes=3, replication_factor=1, shards=8), rng) as cluster:
            shelf = Shelf(cluster, rng)
            await shelf.load(100)
            ops = operations(cluster)
            for factor in (3, 1, 2):
                wanted = {"replication_factor": factor}
                await under_load(
                    cluster, shelf, lambda w=wanted: ops.request(OperationKind.SET_REPLICATION_FACTOR, w)
                )
                await assert_consistent(cluster, {"films": shelf.documents})
                assert {len(r) for shards in placement_of(cluster).values() for r in shards} == {factor}

    simulate(main())


def test_a_group_comes_and_goes_under_load() -> None:
    async def main() -> None:
        rng = random.Random(700)
        async with moving_cluster(Shape(nodes=2, replication_factor=1, shards=8), rng) as cluster:
            shelf = Shelf(cluster, rng)
            await shelf.load(100)
            ops = operations(cluster)
            nodes = []
            for node in ("y0", "y1"):
                await attach(cluster, node)
                nodes.append({"id": node, "address": f"http://{node}:7700", "replica_group": 1})
            await under_load(cluster, shelf, lambda: ops.request(OperationKind.ADD_GROUP, {"nodes": nodes}))
            await assert_consistent(cluster, {"films": shelf.documents})
            assert {len(r) for shards in placement_of(cluster).values() for r in shards} == {2}
            await ops.request(OperationKind.REMOVE_GROUP, {"group": 0})
            for _ in range(10):
                await shelf.write_something()
            await settle(cluster)
            for node in ("n0-0", "n0-1"):
                await cluster.nodes.pop(node).wipe()
            await shelf.write_something()
            await assert_consistent(cluster, {"films": shelf.documents})
            assert {n for shards in placement_of(cluster).values() for r in shards for n in r} == {"y0", "y1"}

    simulate(main())


def test_an_operation_is_paused_resumed_and_cancelled() -> None:
    async def main() -> None:
        rng = random.Random(800)
        shape = Shape(nodes=3, replication_factor=2, shards=16)
        async with moving_cluster(shape, rng, documents_per_s=40.0) as cluster:
            shelf = Shelf(cluster, rng)
            await shelf.load(200)
            ops = operations(cluster)
            begun = await add_node(cluster, "x0")
            await cluster.until("moving", lambda: any(copy.documents for copy in ops.copies()))
            await ops.control(begun.id, OperationState.PAUSED)
            moved = [copy.documents for copy in ops.copies()]
            end = asyncio.get_running_loop().time() + 30
            await cluster.until("time passes", lambda: asyncio.get_running_loop().time() > end)
            assert sum(copy.documents for copy in ops.copies()) <= sum(moved) + 2 * 7
            await ops.control(begun.id, OperationState.RUNNING)
            await cluster.until("some shards moved", lambda: "x0" in str(placement_of(cluster)))
            await ops.control(begun.id, OperationState.CANCELLING)
            await settle(cluster)
            assert ops.all[begun.id].state is OperationState.CANCELLED
            states = {s for r in placement_of(cluster).values() for x in r for s in x.values()}
            assert states == {ReplicaState.IN_SYNC.value}
            answer = await cluster.ask("GET", "/indexes/films/documents?limit=1000")
            assert {str(one["id"]): one for one in answer.body["results"]} == shelf.documents

    simulate(main())


def test_a_stale_replica_does_not_wait_behind_a_paused_operation() -> None:
    async def main() -> None:
        rng = random.Random(850)
        shape = Shape(nodes=3, replication_factor=2, shards=8)
        async with moving_cluster(shape, rng, documents_per_s=20.0) as cluster:
            shelf = Shelf(cluster, rng)
            await shelf.load(120)
            ops = operations(cluster)
            begun = await ops.request(OperationKind.DRAIN, {"node": "n0-1"})
            await cluster.until("moving", lambda: len(ops.copies()) == 2)
            await ops.control(begun.id, OperationState.PAUSED)
            writes = cluster.orchestrator.writes
            (physical,) = placement_of(cluster)
            held = [s for s, r in enumerate(writes.cluster.placement[physical].shards) if r.get("n0-1")]
            writes.completion.sights.spoil(physical, "n0-1", held)
            writes.completion.lane_moved(physical, "n0-1")
            await cluster.until("rebuilt", lambda: OperationKind.RESYNC in {o.kind for o in ops.all.values()})
            (resync,) = [o.id for o in ops.all.values() if o.kind is OperationKind.RESYNC]
            await cluster.until("rebuilt", lambda: not ops.all[resync].open, within_s=120)
            assert ops.all[resync].state is OperationState.DONE
            assert ops.all[begun.id].state is OperationState.PAUSED
            await ops.control(begun.id, OperationState.RUNNING)
            await settle(cluster)
            await assert_consistent(cluster, {"films": shelf.documents})

    simulate(main())


def test_indexes_made_and_dropped_meanwhile() -> None:
    async def main() -> None:
        rng = random.Random(900)
        async with moving_cluster(Shape(nodes=3, replication_factor=2, shards=8), rng) as cluster:
            films, books = Shelf(cluster, rng), Shelf(cluster, rng, "books")
            await films.load(100)
            await books.load(100)
            await add_node(cluster, "x0")
            await cluster.until("moving", lambda: bool(operations(cluster).copies()))
            late = Shelf(cluster, rng, "late")
            await late.load(50)
            reply = await cluster.ask("DELETE", "/indexes/films")
            await task_end(cluster, reply.body["taskUid"])
            await books.write_something()
            await settle(cluster)
            await cluster.until("quiet", cluster.is_quiet)
            await assert_consistent(cluster, {"books": books.documents, "late": late.documents})

    simulate(main())


def test_replicas_that_differ_are_found_and_rebuilt() -> None:
    """One lost a document, one has a word changed, one got a document that was deleted; two nodes are wrong."""

    async def main() -> None:
        rng = random.Random(950)
        async with moving_cluster(Shape(nodes=3, replication_factor=2, shards=8), rng) as cluster:
            shelf = Shelf(cluster, rng)
            await shelf.load(100)
            await cluster.until("quiet", cluster.is_quiet)
            incidents: list[str] = []
            cluster.orchestrator.moving.on_incident = incidents.append
            ops = operations(cluster)
            clean = await ops.request(OperationKind.VERIFY, {})
            await settle(cluster)
            assert (ops.all[clean.id].checked, ops.all[clean.id].repaired) == (16, 0)
            physical = cluster.orchestrator.writes.cluster.visible.names["films"]
            placed = cluster.orchestrator.writes.cluster.placement[physical].shards
            for shard, lost in ((1, True), (5, False)):
                node = cluster.nodes[sorted(placed[shard])[0]]
                wanted = {"filter": shard_filter([shard]), "limit": 1}
                path = f"/indexes/{physical}/documents"
                (document,) = (await node.ask("POST", f"{path}/fetch", wanted))["results"]
                if lost:
                    body: Any = [document["id"]]
                    await node.engine.edge.respond(_request("POST", f"{path}/delete-batch", body))
                else:
                    ghost = {**document, "id": 99_999}
                    await node.engine.edge.respond(_request("POST", path, [ghost]))
            await cluster.until("the damage is done", lambda: not cluster.network.strays)
            done = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                group.create_task(shelf.write_until(done))
                begun = await ops.request(OperationKind.VERIFY, {})
                await cluster.until("compared", lambda: not ops.all[begun.id].open)
                done.set()
            await settle(cluster)
            await cluster.until("quiet", cluster.is_quiet)
            assert ops.all[begun.id].repaired == 2 == len(incidents)
            await assert_consistent(cluster, {"films": shelf.documents})

    simulate(main())


def _request(method: str, path: str, body: Any) -> HttpRequest:
    headers = {"authorization": f"Bearer {NODE_KEY}", "content-type": "application/json"}
    return HttpRequest(method, path, "", headers, orjson.dumps(body))


def test_the_old_node_is_asked_nothing_about_a_moved_shard() -> None:
    """Its access log says so: after the move it is told to leave the shard out, or does not hold it."""

    async def main() -> None:
        rng = random.Random(960)
        async with moving_cluster(Shape(nodes=3, replication_factor=1, shards=8), rng) as cluster:
            shelf = Shelf(cluster, rng)
            await shelf.load(100)
            before = next(iter(placement_of(cluster).values()))
            await add_node(cluster, "x0")
            await settle(cluster)
            after = next(iter(placement_of(cluster).values()))
            moved = {shard: next(iter(old)) for shard, old in enumerate(before) if old != after[shard]}
            assert moved
            asked: list[tuple[str, str]] = []
            for node in cluster.nodes.values():
                _overhear(node, asked)
            for _ in range(20):
                await cluster.ask("POST", "/indexes/films/search", {"q": "film", "limit": 50})
                await cluster.ask("GET", f"/indexes/films/documents/{rng.randrange(100)}")
            heard = {node for node, _ in asked}
            assert heard == set(cluster.nodes), "every node is asked for what it holds"
            for shard, old in moved.items():
                mark = encode_shard(shard)
                named = [
                    said for node, said in asked if node == old and mark in said and "NOT IN" not in said
                ]
                assert named == [], f"{old} was asked about shard {shard}"

    simulate(main())


def _overhear(node: SimNode, asked: list[tuple[str, str]]) -> None:
    respond = node.respond

    async def heard(request: HttpRequest) -> HttpReply:
        if "search" in request.path or "documents" in request.path:
            asked.append((str(node.id), request.body.decode()))
        return await respond(request)

    node.respond = heard  # type: ignore[method-assign]


def test_a_copy_waits_for_requests_that_do_not_know_of_it() -> None:
    """A search that began before a copy asks its target without a filter, and would find what is copied there."""

    async def main() -> None:
        rng = random.Random(961)
        async with moving_cluster(Shape(nodes=3, replication_factor=1, shards=8), rng) as cluster:
            shelf = Shelf(cluster, rng)
            await shelf.load(100)
            await cluster.until("quiet", cluster.is_quiet)
            node, loop = cluster.nodes["n0-1"], asyncio.get_running_loop()
            respond, held = node.respond, asyncio.Event()

            def copied() -> bool:
                return any(copy.target == "n0-1" and copy.documents for copy in operations(cluster).copies())

            async def slowly(request: HttpRequest) -> HttpReply:
                if request.path.endswith("/search"):
                    held.set()
                    until = loop.time() + 3.0
                    while loop.time() < until and not copied():  # noqa: ASYNC110 - virtual time
                        await asyncio.sleep(0.01)
                return await respond(request)

            node.respond = slowly  # type: ignore[method-assign]
            asking = asyncio.ensure_future(
                cluster.ask("POST", "/indexes/films/search", {"limit": 1000, "attributesToRetrieve": ["id"]})
            )
            await held.wait()
            await operations(cluster).request(OperationKind.DRAIN, {"node": "n0-2"})
            reply = await asking
            node.respond = respond  # type: ignore[method-assign]
            assert sorted(str(hit["id"]) for hit in reply.body["hits"]) == sorted(shelf.documents)
            await settle(cluster)
            await assert_consistent(cluster, {"films": shelf.documents})

    simulate(main())

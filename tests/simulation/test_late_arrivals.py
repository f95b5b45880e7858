"""Requests of a copy, or of the deletion of an old one, that reach a node when everything is long over."""

from __future__ import annotations

import asyncio
import random
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest

from miroir.core.hashing import shard_of
from miroir.core.reads.covering import shard_filter
from miroir.core.reserved import SHARD_FIELD
from miroir.core.writes.ops import shards_tag, tag
from miroir.meili.http import HttpRequest
from miroir.services.moves.copier import Copier
from miroir.services.moves.late import LateArrivals
from miroir.services.writes.node_requests import last_step
from tests.simulation.test_moves import STILL, Shelf
from tests.support.moving import add_node, assert_consistent, moving_cluster, operations, placement_of, settle
from tests.support.sim_cluster import NODE_KEY, Shape, SimCluster
from tests.support.virtual_time import run_virtual


async def _send(
    cluster: SimCluster, node: str, method: str, path: str, body: Any, tag: str | None = None
) -> None:
    """A request of ours arrives at a node, and nobody waits for it."""
    headers = {"authorization": f"Bearer {NODE_KEY}", "content-type": "application/json"}
    query = "" if tag is None else urlencode({"customMetadata": tag})
    reply = await cluster.nodes[node].engine.edge.respond(
        HttpRequest(method, path, query, headers, b"" if body is None else orjson.dumps(body))
    )
    assert reply.status == 202, reply


async def _page(cluster: SimCluster, shelf: Shelf, physical: str, shard: int) -> None:
    """A page with a document as it was, and one that is deleted."""
    found = await cluster.nodes["x0"].ask(
        "POST", f"/indexes/{physical}/documents/fetch", {"filter": shard_filter([shard]), "limit": 2}
    )
    changed, deleted = found["results"]
    await shelf.send("PUT", "/documents", [{"id": changed["id"], "year": 3000}])
    shelf.documents[str(changed["id"])]["year"] = 3000
    await shelf.send("POST", "/documents/delete-batch", [deleted["id"]])
    del shelf.documents[str(deleted["id"])]
    assert {one[SHARD_FIELD] for one in (changed, deleted)} == {changed[SHARD_FIELD]}
    path = f"/indexes/{physical}/documents"
    await _send(cluster, "x0", "POST", path, [changed, deleted], shards_tag("copy", [shard]))


async def _deletion(cluster: SimCluster, shelf: Shelf, physical: str, shard: int) -> None:
    path = f"/indexes/{physical}/documents/delete"
    await _send(cluster, "x0", "POST", path, {"filter": shard_filter([shard])}, shards_tag("retire", [shard]))


async def _drop(cluster: SimCluster, shelf: Shelf, physical: str, shard: int) -> None:
    await _send(cluster, "x0", "DELETE", f"/indexes/{physical}", None)


LATE = {"a page": _page, "a deletion of old copies": _deletion, "the deletion of an index": _drop}


async def _story(late: Any) -> None:
    rng = random.Random(5)
    async with moving_cluster(Shape(nodes=3, replication_factor=2, shards=8), rng) as cluster:
        shelf = Shelf(cluster, rng)
        await shelf.load(120)
        await add_node(cluster, "x0")
        await settle(cluster)
        incidents: list[str] = []
        cluster.orchestrator.moving.on_incident = incidents.append
        (placed,) = placement_of(cluster).values()
        shard = next(number for number, replicas in enumerate(placed) if "x0" in replicas)
        assert sum(shard_of(one, 8) == shard for one in shelf.documents) > 2
        physical = cluster.orchestrator.writes.cluster.visible.names["films"]
        await late(cluster, shelf, physical, shard)
        await cluster.until("noticed", lambda: bool(incidents), within_s=30)
        await settle(cluster)
        await cluster.until("quiet", cluster.is_quiet)
        await assert_consistent(cluster, {"films": shelf.documents})


@pytest.mark.parametrize("late", LATE.values(), ids=LATE.keys())
def test_what_arrives_late_is_noticed_and_made_good(late: Any) -> None:
    run_virtual(_story(late))


def test_without_looking_nobody_would_notice() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LateArrivals, "look", lambda *_: None)
        with pytest.raises(AssertionError):
            run_virtual(_story(_page))


def test_what_arrives_between_comparison_and_switch_keeps_readers_away() -> None:
    """The page of an attempt before reverts a document after it was compared; no later op touches it."""

    async def main() -> None:
        rng = random.Random(6)
        async with moving_cluster(Shape(nodes=2, replication_factor=1, shards=4), rng) as cluster:
            shelf = Shelf(cluster, rng)
            await shelf.load(60)
            physical = cluster.orchestrator.writes.cluster.visible.names["films"]
            before = Copier._try_flip
            late: list[str] = []

            async def flip_after_a_late_page(self: Copier, copy: Any) -> bool:
                if not late:
                    found = await cluster.nodes[copy.target].ask(
                        "POST",
                        f"/indexes/{physical}/documents/fetch",
                        {"filter": shard_filter(copy.shards), "limit": 1},
                    )
                    (document,) = found["results"]
                    late.append(document["id"])
                    path = f"/indexes/{physical}/documents"
                    tag = shards_tag("copy", copy.shards)
                    await _send(cluster, copy.target, "POST", path, [{**document, "title": "old"}], tag)
                return await before(self, copy)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Copier, "_try_flip", flip_after_a_late_page)
                begun = await add_node(cluster, "x0")
                await settle(cluster)
            assert late
            assert operations(cluster).all[begun.id].copies_again == 1, (
                "it was compared once more, and copied"
            )
            await assert_consistent(cluster, {"films": shelf.documents})

    run_virtual(main())


async def _lies(cluster: SimCluster, node: str, physical: str, shard: int) -> int:
    wanted = {"filter": shard_filter([shard]), "limit": 0}
    found = await cluster.nodes[node].ask("POST", f"/indexes/{physical}/documents/fetch", wanted)
    return int(found["total"])


@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize("nobody_sees_it", [False, True])
def test_a_page_that_comes_to_a_node_without_its_shard_goes_again(factor: int, nobody_sees_it: bool) -> None:
    """A node is asked without a filter where it has what it answers for: it would show the documents twice."""

    async def main() -> None:
        rng = random.Random(8)
        async with moving_cluster(Shape(nodes=3, replication_factor=factor, shards=8), rng) as cluster:
            shelf = Shelf(cluster, rng)
            await shelf.load(120)
            physical = cluster.orchestrator.writes.cluster.visible.names["films"]
            await cluster.until("quiet", cluster.is_quiet)
            (placed,) = placement_of(cluster).values()
            node, shard = next(
                (n, s) for s, r in enumerate(placed) for n in sorted(cluster.nodes) if n not in r
            )
            path = f"/indexes/{physical}/documents"
            page = {"filter": shard_filter([shard]), "limit": 3}
            found = await cluster.nodes[min(placed[shard])].ask("POST", f"{path}/fetch", page)
            if nobody_sees_it:
                await cluster.crash_orchestrator()
            await _send(cluster, node, "POST", path, found["results"], shards_tag("copy", [shard]))
            await cluster.nodes[node].engine.drain()
            assert await _lies(cluster, node, physical, shard) == 3
            if nobody_sees_it:
                await cluster.start_orchestrator()
                await cluster.until("it is back", cluster.all_live)
            await asyncio.sleep(90.0 if nobody_sees_it else 5.0)
            assert not await _lies(cluster, node, physical, shard)
            await settle(cluster)
            await assert_consistent(cluster, {"films": shelf.documents})

    run_virtual(main())


@pytest.mark.parametrize("which", [min, max])
def test_what_happened_while_no_orchestrator_ran_is_found_by_the_patrol(which: Any) -> None:
    """An old page comes to a replica that is read: nobody asks for a comparison, and it is found, whichever it is."""

    async def main() -> None:
        rng = random.Random(9)
        async with moving_cluster(Shape(nodes=3, replication_factor=2, shards=8), rng) as cluster:
            shelf = Shelf(cluster, rng)
            await shelf.load(120)
            physical = cluster.orchestrator.writes.cluster.visible.names["films"]
            await cluster.until("quiet", cluster.is_quiet)
            (placed,) = placement_of(cluster).values()
            await cluster.crash_orchestrator()
            still = {shard_of(str(number), 8): number for number in range(STILL)}  # which nobody writes
            for shard, number in list(still.items())[:2]:
                node = cluster.nodes[which(placed[shard])]
                path = f"/indexes/{physical}/documents"
                found = await node.ask("POST", f"{path}/fetch", {"ids": [number]})
                old = {**found["results"][0], "title": "as it was"}
                await _send(cluster, str(node.id), "POST", path, [old], shards_tag("copy", [shard]))
                await node.engine.drain()
            await cluster.start_orchestrator()
            await cluster.until("it is back", cluster.all_live)
            patrol = cluster.orchestrator.moving.patrol
            async with asyncio.TaskGroup() as group:
                done = asyncio.Event()
                group.create_task(shelf.write_until(done))
                await cluster.until(
                    "a round ended", lambda: patrol.state.round_ended_at is not None, within_s=180
                )
                done.set()
            assert patrol.state.differed == 2
            assert patrol.state.replicas >= 12
            await settle(cluster)
            await cluster.until("quiet", cluster.is_quiet)
            await assert_consistent(cluster, {"films": shelf.documents})

    run_virtual(main())


@pytest.mark.parametrize("when", ["after readers went there", "between comparison and switch"])
def test_a_write_that_is_older_than_the_copy_is_noticed(when: str) -> None:
    """A lane gave it up, the replica went stale and was made anew: its lane brings nothing back that the write undoes."""

    async def main() -> None:
        rng = random.Random(10)
        async with moving_cluster(Shape(nodes=3, replication_factor=2, shards=8), rng) as cluster:
            shelf = Shelf(cluster, rng)
            await shelf.load(120)
            writes = cluster.orchestrator.writes
            physical = writes.cluster.visible.names["films"]
            (placed,) = placement_of(cluster).values()
            number = next(n for n in range(STILL, 50) if shard_of(str(n), 8) == shard_of("7", 8))
            shard, first = shard_of(str(number), 8), next(op for op in writes.log.ops if op)
            node = max(placed[shard])
            path = f"/indexes/{physical}/documents"
            old = (await cluster.nodes[node].ask("POST", f"{path}/fetch", {"ids": [number]}))["results"]
            await shelf.send("PUT", "/documents", [{"id": number, "year": 3000}])
            shelf.documents[str(number)]["year"] = 3000
            await cluster.until("quiet", cluster.is_quiet)
            sent: list[str] = []

            async def arrive() -> None:
                if not sent:
                    sent.append(node)
                    await _send(cluster, node, "POST", path, old, tag(last_step(first), last_step(first)))
                    await cluster.nodes[node].engine.drain()

            before = Copier._try_flip

            async def flip_after_it_came(self: Copier, copy: Any) -> bool:
                if when.startswith("between"):
                    await arrive()
                return await before(self, copy)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Copier, "_try_flip", flip_after_it_came)
                writes.completion.sights.spoil(physical, node, {shard})
                writes.completion.lane_moved(physical, node)
                await cluster.until("it was stale", lambda: bool(operations(cluster).all))
                await settle(cluster)
                assert bool(sent) == when.startswith("between")
                await arrive()
            await asyncio.sleep(5.0)
            await settle(cluster)
            await cluster.until("quiet", cluster.is_quiet)
            assert sent
            await assert_consistent(cluster, {"films": shelf.documents})

    run_virtual(main())

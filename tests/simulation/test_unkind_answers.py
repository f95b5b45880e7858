"""Answers during moves that no node should give, and moments at which a copy and its index disagree: nothing ends by them."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from miroir.core.moves.node_list import RefusedError
from miroir.core.moves.operation_records import OperationKind, OperationState
from miroir.meili.http import HttpReply, HttpRequest
from tests.simulation.test_moves import Shelf
from tests.support.moving import (
    add_node,
    assert_consistent,
    moving_cluster,
    operations,
    placement_of,
    settle,
    task_end,
)
from tests.support.sim_cluster import Shape, SimCluster
from tests.support.virtual_time import run_virtual

SHAPE = Shape(nodes=3, replication_factor=2, shards=8)

#: what a proxy, or a server that is about to stop, may say: status and body
NONSENSE = {
    "a page": (200, b"<html>"),
    "another list": (200, b'{"results": [{"_miroir_shard": 5, "name": "who"}]}'),
    "a number": (200, b"7"),
}


def _lie(cluster: SimCluster, path_ends: str, status: int, body: bytes, times: int) -> list[str]:
    """The next requests whose path ends so are answered otherwise, whatever node they reach."""
    lies: list[str] = []
    for node in cluster.nodes.values():

        async def respond(
            request: HttpRequest, honest: Any = node.respond, name: str = str(node.id)
        ) -> HttpReply:
            if request.path.endswith(path_ends) and len(lies) < times:
                lies.append(name)
                return HttpReply(status, body)
            reply: HttpReply = await honest(request)
            return reply

        node.respond = respond  # type: ignore[method-assign]
    return lies


@pytest.mark.parametrize("said", NONSENSE.values(), ids=NONSENSE.keys())
def test_nonsense_instead_of_documents_is_waited_out(said: tuple[int, bytes]) -> None:
    async def main() -> None:
        rng = random.Random(11)
        async with moving_cluster(SHAPE, rng) as cluster:
            shelf = Shelf(cluster, rng)
            await shelf.load(100)
            await cluster.until("quiet", cluster.is_quiet)
            await add_node(cluster, "x0")
            await cluster.until("copies began", lambda: any(c.active for c in operations(cluster).copies()))
            lies = _lie(cluster, "/documents/fetch", *said, 3)
            await settle(cluster)
            assert len(lies) == 3
            lies = _lie(cluster, "/documents/fetch", *said, 3)
            await cluster.orchestrator.moving.patrol.round()
            assert len(lies) == 3
            lies = _lie(cluster, "/documents/fetch", *said, 3)
            begun = await operations(cluster).request(OperationKind.VERIFY, {})
            await settle(cluster)
            assert operations(cluster).all[begun.id].state is OperationState.DONE
            await assert_consistent(cluster, {"films": shelf.documents})
            assert not cluster.broken

    run_virtual(main())


def test_a_node_that_is_not_ready_for_a_while_costs_no_copy() -> None:
    """What stands before it says so: nothing is known to differ, and nobody's operation is given up."""

    async def main() -> None:
        rng = random.Random(16)
        async with moving_cluster(SHAPE, rng) as cluster:
            shelf = Shelf(cluster, rng)
            await shelf.load(100)
            await cluster.until("quiet", cluster.is_quiet)
            begun = await add_node(cluster, "x0")
            ops = operations(cluster)
            await cluster.until("documents are copied", lambda: any(c.documents for c in ops.copies()))
            lies = _lie(cluster, "/documents/fetch", 503, b'{"message": "starting", "code": "internal"}', 40)
            await settle(cluster)
            assert len(lies) == 40
            assert (ops.all[begun.id].state, ops.all[begun.id].copies_again) == (OperationState.DONE, 0)
            await assert_consistent(cluster, {"films": shelf.documents})

    run_virtual(main())


def test_comparing_meets_an_index_that_is_being_made() -> None:
    """It is in the catalogue of the sequencer a moment before its placement is stored."""

    async def main() -> None:
        rng = random.Random(12)
        async with moving_cluster(SHAPE, rng) as cluster:
            shelf = Shelf(cluster, rng)
            await shelf.load(20)
            await cluster.until("quiet", cluster.is_quiet)
            assert cluster.life is not None
            rounds: list[asyncio.Task[None]] = []

            def committed() -> None:
                rounds.append(asyncio.ensure_future(cluster.orchestrator.moving.patrol.round()))

            cluster.life.store.committed = committed
            reply = await cluster.ask("POST", "/indexes", {"uid": "fresh"})
            await task_end(cluster, reply.body["taskUid"])
            cluster.life.store.committed = lambda: None
            await asyncio.wait(rounds)
            assert not [error for one in rounds if (error := one.exception()) is not None]
            assert not cluster.broken

    run_virtual(main())


def test_another_primary_key_while_a_node_is_copied_to() -> None:
    """Cleared, and given another key, and written again: the copy may read what was before by the key that is new."""

    async def main() -> None:
        rng = random.Random(13)
        async with moving_cluster(SHAPE, rng, documents_per_s=60.0) as cluster:
            shelf = Shelf(cluster, rng)
            await shelf.load(100)
            await cluster.until("quiet", cluster.is_quiet)
            await add_node(cluster, "x0")
            await cluster.until(
                "documents are copied", lambda: any(c.documents for c in operations(cluster).copies())
            )
            for method, path, body in (
                ("DELETE", "/documents", None),
                ("PATCH", "", {"primaryKey": "key"}),
                ("POST", "/documents", [{"key": n, "id": n, "title": "new"} for n in range(40)]),
            ):
                reply = await cluster.ask(method, f"/indexes/films{path}", body)
                assert reply.status == 202, reply
            task = await task_end(cluster, reply.body["taskUid"])
            assert task.status == "succeeded", task
            await settle(cluster)
            await cluster.until("quiet", cluster.is_quiet)
            await assert_consistent(
                cluster, {"films": {str(n): {"key": n, "id": n, "title": "new"} for n in range(40)}}
            )
            assert not cluster.broken

    run_virtual(main())


def test_a_copy_that_becomes_the_last_one_while_a_plan_is_measured_is_not_removed() -> None:
    async def main() -> None:
        rng = random.Random(14)
        async with moving_cluster(Shape(nodes=2, replication_factor=2, shards=4), rng) as cluster:
            shelf = Shelf(cluster, rng)
            await shelf.load(20)
            await cluster.until("quiet", cluster.is_quiet)
            ops, writes = operations(cluster), cluster.orchestrator.writes
            (physical,) = placement_of(cluster)
            measure = ops._sizing.measure

            async def slowly(*args: Any, **more: Any) -> Any:
                await cluster.nodes["n0-1"].crash()  # nobody can rebuild it meanwhile
                writes.completion.sights.spoil(physical, "n0-1", range(4))
                writes.completion.lane_moved(physical, "n0-1")
                await cluster.until("stale", lambda: "stale" in str(placement_of(cluster)))
                return await measure(*args, **more)

            ops._sizing.measure = slowly  # type: ignore[method-assign]
            with pytest.raises(RefusedError, match="last in-sync copy of 4 shards"):
                await ops.request(OperationKind.REMOVE_NODE, {"node": "n0-0", "force": True})
            await cluster.nodes["n0-1"].start()
            await cluster.until("all live", cluster.all_live)
            await settle(cluster)
            await assert_consistent(cluster, {"films": shelf.documents})

    run_virtual(main())

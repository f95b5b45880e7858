"""Nodes without room on their disks: what clients hear, what is read meanwhile, and that all is whole once there is room."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from miroir.core.topology import ReplicaState
from miroir.engine.outcome import Outcome, failed
from miroir.engine.task_queue import Chosen
from miroir.meili.codes import ApiError
from miroir.meili.tasks import Task
from tests.support.moving import assert_consistent, moving_cluster, operations, settle, task_end
from tests.support.sim_cluster import Shape, SimCluster
from tests.support.virtual_time import run_virtual


def full(cluster: SimCluster, *names: str) -> None:
    """These nodes have no room, and no others: every task of theirs fails."""
    for name, node in cluster.nodes.items():
        vars(node.engine.scheduler).pop("_execute", None)
        if name in names:
            node.engine.scheduler._execute = _refuse  # type: ignore[method-assign]


async def _refuse(chosen: Chosen, tasks: list[Task]) -> Outcome:
    error = ApiError("no_space_left_on_device", "No space left on device (os error 28)")
    return Outcome(tasks=[failed(task, error) for task in tasks])


def films(*numbers: int, **more: Any) -> list[dict[str, Any]]:
    return [{"id": n, "title": f"film {n}", **more} for n in numbers]


async def write(cluster: SimCluster, method: str, path: str, body: Any = None) -> Task:
    reply = await cluster.ask(method, f"/indexes/films{path}", body)
    assert reply.status == 202, reply
    task: Task = await task_end(cluster, reply.body["taskUid"])
    return task


async def shown(cluster: SimCluster) -> dict[str, Any]:
    answer = await cluster.ask("GET", "/indexes/films/documents?limit=1000")
    assert answer.status == 200
    return {str(one["id"]): one for one in answer.body["results"]}


def states(cluster: SimCluster, node: str) -> set[ReplicaState]:
    (record,) = cluster.orchestrator.writes.cluster.placement.values()
    return {replicas[node] for replicas in record.shards if node in replicas}


def test_one_full_node_stops_nobody_and_is_rebuilt_once_it_has_room() -> None:
    async def main() -> None:
        rng = random.Random(1)
        async with moving_cluster(Shape(nodes=3, replication_factor=2, shards=6), rng) as cluster:
            await write(cluster, "POST", "/documents", films(*range(60)))
            documents = {str(n): film for n, film in enumerate(films(*range(60)))}
            full(cluster, "n0-1")
            for number in range(60, 80):
                assert (await write(cluster, "POST", "/documents", films(number))).status == "succeeded"
                documents[str(number)] = films(number)[0]
            assert (await write(cluster, "POST", "/documents/delete-batch", [1, 2, 3])).status == "succeeded"
            for number in (1, 2, 3):
                del documents[str(number)]
            patch = {"filterableAttributes": ["title"]}
            assert (await write(cluster, "PATCH", "/settings", patch)).status == "succeeded"
            assert ReplicaState.IN_SYNC not in states(cluster, "n0-1"), "it has missed the settings at least"
            assert await shown(cluster) == documents
            before = len(operations(cluster).all)
            await asyncio.sleep(600)
            assert await shown(cluster) == documents
            assert len(operations(cluster).all) - before < 20, "it is tried again, but not all the time"
            full(cluster)
            await settle(cluster)
            await assert_consistent(cluster, {"films": documents}, balanced=False)

    run_virtual(main())


def test_when_all_are_full_a_write_fails_in_the_server_s_words_and_changes_nothing() -> None:
    async def main() -> None:
        rng = random.Random(2)
        async with moving_cluster(Shape(nodes=3, replication_factor=2, shards=6), rng) as cluster:
            await write(cluster, "POST", "/documents", films(*range(40)))
            documents = {str(n): film for n, film in enumerate(films(*range(40)))}
            full(cluster, *cluster.nodes)
            for method, path, body in (
                ("POST", "/documents", films(3, 50, 51, year=1)),
                ("POST", "/documents/delete-batch", [1, 2]),
                ("DELETE", "/documents", None),
                ("PATCH", "/settings", {"filterableAttributes": ["title"]}),
            ):
                task = await write(cluster, method, path, body)
                assert task.status == "failed"
                assert task.error is not None
                assert task.error["code"] == "no_space_left_on_device"
            assert await shown(cluster) == documents
            full(cluster)
            assert (await write(cluster, "POST", "/documents", films(50))).status == "succeeded"
            documents["50"] = films(50)[0]
            await settle(cluster)
            await assert_consistent(cluster, {"films": documents}, balanced=False)
            task = await write(cluster, "DELETE", "/documents")
            assert task.details == {"deletedDocuments": 41}
            assert await shown(cluster) == {}

    run_virtual(main())


@pytest.mark.parametrize("missed", ["settings", "clearing", "documents"])
def test_a_node_that_comes_back_without_room_answers_nothing_that_it_missed(missed: str) -> None:
    """Its lane brings what it missed, the node fails it, and nobody waits for that any more."""

    async def main() -> None:
        rng = random.Random(3)
        async with moving_cluster(Shape(nodes=3, replication_factor=2, shards=6), rng) as cluster:
            await write(cluster, "POST", "/documents", films(*range(40)))
            documents = {str(n): film for n, film in enumerate(films(*range(40)))}
            await cluster.nodes["n0-1"].crash()
            if missed == "settings":
                await write(cluster, "PATCH", "/settings", {"filterableAttributes": ["title"]})
            elif missed == "clearing":
                await write(cluster, "DELETE", "/documents")
                documents = {}
            else:
                await write(cluster, "POST", "/documents", films(41))
                documents["41"] = films(41)[0]
            await cluster.nodes["n0-1"].start()
            full(cluster, "n0-1")
            for _ in range(40):
                await asyncio.sleep(0.5)
                assert await shown(cluster) == documents
                if missed == "settings":
                    found = await cluster.ask("POST", "/indexes/films/search", {"filter": "title = 'film 7'"})
                    assert found.status == 200, found
            full(cluster)
            await settle(cluster)
            await assert_consistent(cluster, {"films": documents}, balanced=False)

    run_virtual(main())

"""Swaps and renames while clients read: every answer is about one index as a whole, before or after."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from tests.support.moving import task_end
from tests.support.sim_cluster import Shape, SimCluster, sim_cluster
from tests.support.virtual_time import run_virtual

SIZES = {"left": 30, "right": 20}


async def done(cluster: SimCluster, method: str, path: str, body: Any) -> None:
    reply = await cluster.ask(method, path, body)
    assert reply.status == 202, reply
    task = await task_end(cluster, reply.body["taskUid"])
    assert task.status == "succeeded", task


async def prepared(cluster: SimCluster) -> None:
    for uid, size in SIZES.items():
        documents = [{"id": n, "from": uid} for n in range(size)]
        await done(cluster, "PATCH", f"/indexes/{uid}/settings", {"filterableAttributes": ["from"]})
        await done(cluster, "POST", f"/indexes/{uid}/documents", documents)


def seen_in(answer: Any) -> set[tuple[str, int]]:
    """(where the hits come from, how many the answer says there are)."""
    return {(hit["from"], answer["estimatedTotalHits"]) for hit in answer["hits"]}


def test_no_answer_mixes_two_indexes() -> None:
    async def story() -> None:
        async with sim_cluster(Shape(nodes=3, replication_factor=2, shards=8), random.Random(3)) as cluster:
            await prepared(cluster)
            over = asyncio.Event()
            answers: list[set[tuple[str, int]]] = []

            async def read() -> None:
                whole = {"limit": 100, "facets": ["from"]}
                queries = [{"indexUid": uid, **whole} for uid in SIZES]
                while not over.is_set():
                    reply = await cluster.ask("POST", "/multi-search", {"queries": queries})
                    assert reply.status == 200, reply
                    left, right = reply.body["results"]
                    for one in (left, right):
                        (seen,) = seen_in(one)
                        assert seen == (seen[0], SIZES[seen[0]])
                        assert one["facetDistribution"]["from"] == {seen[0]: SIZES[seen[0]]}
                    answers.append(seen_in(left))
                    # One request sees the names as they were at one moment.
                    assert seen_in(left) != seen_in(right)
                    await asyncio.sleep(0.005)

            async with asyncio.TaskGroup() as group:
                for _ in range(4):
                    group.create_task(read())
                for _ in range(8):
                    await done(cluster, "POST", "/swap-indexes", [{"indexes": list(SIZES), "rename": False}])
                    await asyncio.sleep(0.05)
                over.set()
            assert {frozenset(answer) for answer in answers} == {
                frozenset({(uid, size)}) for uid, size in SIZES.items()
            }

    run_virtual(story())


def test_a_renamed_index_is_always_there_under_one_of_its_names() -> None:
    async def story() -> None:
        async with sim_cluster(Shape(nodes=2, replication_factor=1, shards=4), random.Random(4)) as cluster:
            await prepared(cluster)
            over = asyncio.Event()
            found: list[int] = []

            async def read() -> None:
                while not over.is_set():
                    reply = await cluster.ask("GET", "/stats")
                    names = set(reply.body["indexes"]) - {"right"}
                    assert len(names) == 1, names
                    (stats,) = (reply.body["indexes"][name] for name in names)
                    found.append(stats["numberOfDocuments"])
                    await asyncio.sleep(0.005)

            async with asyncio.TaskGroup() as group:
                group.create_task(read())
                for old, new in (("left", "other"), ("other", "third"), ("third", "left")):
                    await done(cluster, "PATCH", f"/indexes/{old}", {"uid": new})
                    await asyncio.sleep(0.05)
                over.set()
            assert set(found) == {SIZES["left"]}

    run_virtual(story())

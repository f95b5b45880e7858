"""A snapshot dies with the last request that uses it: old copies are deleted when no older one is left."""

from __future__ import annotations

import asyncio
import gc
import random
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support import sim_queries
from tests.support.moving import task_end
from tests.support.sim_cluster import Shape, SimCluster, sim_cluster
from tests.support.virtual_time import run_virtual

QUESTIONS = 120
REFUSED = [
    ("GET", "/indexes/films/documents/nowhere", None),
    ("POST", "/indexes/films/documents/fetch", {"filter": "nothing = 1"}),
    ("POST", "/indexes/films/search", {"sort": ["nothing:asc"]}),
    ("POST", "/indexes/films/facet-search", {"facetName": "genre", "filter": "nothing = 1"}),
    ("POST", "/multi-search", {"queries": [{"indexUid": "films", "filter": "nothing = 1"}]}),
    (
        "POST",
        "/multi-search",
        {"federation": {}, "queries": [{"indexUid": "films", "sort": ["nothing:asc"]}]},
    ),
]


@contextmanager
def no_collector() -> Iterator[None]:
    """In production it comes by seldom: whatever it would have to free stays."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def prepared(cluster: SimCluster, rng: random.Random) -> None:
    for uid in sim_queries.INDEXES:
        documents = [sim_queries.document(rng, vectors=False) for _ in range(40)]
        for method, path, body in (
            ("PATCH", f"/indexes/{uid}/settings", sim_queries.first_settings(rng, vectors=False)),
            ("POST", f"/indexes/{uid}/documents", documents),
        ):
            reply = await cluster.ask(method, path, body)
            await task_end(cluster, reply.body["taskUid"])


async def _story() -> None:
    rng = random.Random(5)
    shape = Shape(nodes=3, replication_factor=2, shards=8, exact=True)
    async with sim_cluster(shape, random.Random(3)) as cluster:
        await prepared(cluster, rng)
        view = cluster.orchestrator.writes.cluster
        questions = [sim_queries.question(rng, vectors=False) for _ in range(QUESTIONS)]
        statuses = set()
        with no_collector():
            for question in [*questions, *REFUSED]:
                view.publish()
                before = weakref.ref(view.snapshot())
                reply = await cluster.ask(*question)
                statuses.add(reply.status)
                view.publish()
                await asyncio.sleep(0.01)
                assert before() is None, (
                    f"{question} was answered {reply.status}, and something goes on reading"
                )
        assert statuses >= {200, 400, 404}


def test_no_answer_and_no_refusal_leaves_a_snapshot_behind() -> None:
    run_virtual(_story())

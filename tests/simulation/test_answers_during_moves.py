"""Beside every kind of operation questions are asked in a loop: all the time the answers are those of one node."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from tests.simulation.test_move_crashes import BEFORE, KINDS
from tests.simulation.test_moves import Shelf
from tests.support.moving import moving_cluster, operations
from tests.support.sim_checks import Oracle, assert_same, stable
from tests.support.sim_cluster import Shape, SimCluster
from tests.support.virtual_time import run_virtual

SETTINGS = {"filterableAttributes": ["genre"], "sortableAttributes": ["year"]}
QUESTIONS: list[tuple[str, str, Any]] = [
    (
        "POST",
        "/indexes/films/search",
        {"q": "film", "limit": 7, "facets": ["genre"], "showRankingScore": True},
    ),
    ("POST", "/indexes/films/search", {"sort": ["year:desc"], "page": 2, "hitsPerPage": 9}),
    ("POST", "/indexes/films/search", {"q": "1", "filter": "genre = war", "limit": 100}),
    ("POST", "/indexes/films/facet-search", {"facetName": "genre", "facetQuery": "w"}),
    ("GET", "/indexes/films/documents?limit=17&offset=5", None),
    ("GET", "/indexes/films/documents/3", None),
    ("GET", "/indexes/films/stats", None),
]


async def _ask_until(cluster: SimCluster, right: list[Any], done: asyncio.Event) -> int:
    rounds = 0
    while not done.is_set():
        for question, answer in zip(QUESTIONS, right, strict=True):
            found = await cluster.ask(*question)
            assert_same(str(question), [found.status, stable(found.body)], answer)
        rounds += 1
        await asyncio.sleep(0.02)
    return rounds


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind != "verify"]
)  # it begins with a damaged copy
def test_answers_are_those_of_one_node_all_the_time(kind: str) -> None:
    async def main() -> None:
        rng = random.Random(3)
        shape = Shape(nodes=3, replication_factor=2, shards=4)
        async with moving_cluster(shape, rng, documents_per_s=200.0) as cluster:
            shelf = Shelf(cluster, rng)
            await shelf.load(60)
            oracle = await Oracle.open(cluster.now_ns)
            await oracle.ask("PATCH", "/indexes/films/settings", SETTINGS)
            await oracle.ask("POST", "/indexes/films/documents", list(shelf.documents.values()))
            right = []
            for question in QUESTIONS:
                answer = await oracle.ask(*question)
                right.append([answer.status, stable(answer.body)])
            oracle.close()
            if kind in BEFORE:
                await BEFORE[kind](cluster)
            done = asyncio.Event()
            asking = asyncio.ensure_future(_ask_until(cluster, right, done))
            await KINDS[kind](cluster)
            await cluster.until(
                "it ended", lambda: not any(o.open for o in operations(cluster).all.values()) or asking.done()
            )
            await asyncio.sleep(2.0)  # while old copies are deleted
            done.set()
            assert await asking > 3

    run_virtual(main())

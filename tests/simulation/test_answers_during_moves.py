"""Beside every kind of operation questions are asked in a loop: all the time the answers are those of one node.

Two askers and a writer. One asks without a pause, in the middle of writes too, about documents that are not written:
its questions leave out the others by a filter. The writer tells everything to the cluster and to one engine, and
after each write has ended compares whole answers of both.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from miroir.core.moves.operation_records import OperationKind
from tests.simulation.test_move_crashes import BEFORE, KINDS
from tests.simulation.test_moves import GENRES
from tests.support.moving import moving_cluster, operations, task_end
from tests.support.sim_checks import Oracle, assert_same, stable
from tests.support.sim_cluster import Shape, SimCluster
from tests.support.virtual_time import run_virtual

#: documents from here on are written meanwhile
BUSY = 40
SETTINGS = {"filterableAttributes": ["genre", "busy", "id"], "sortableAttributes": ["year"]}
ROUTE = "/indexes/films"
Question = tuple[str, str, Any]

#: about every document
WHOLE: list[Question] = [
    ("POST", f"{ROUTE}/search", {"q": "film", "limit": 7, "facets": ["genre"], "showRankingScore": True}),
    ("POST", f"{ROUTE}/search", {"sort": ["year:desc"], "page": 2, "hitsPerPage": 9}),
    ("POST", f"{ROUTE}/search", {"q": "1", "filter": "genre = war", "limit": 100}),
    ("POST", f"{ROUTE}/search", {"q": "film", "distinct": "genre", "facets": ["genre"]}),
    ("POST", f"{ROUTE}/facet-search", {"facetName": "genre", "facetQuery": "w"}),
    ("POST", "/multi-search", {"federation": {"limit": 9}, "queries": [{"indexUid": "films", "q": "film"}]}),
    ("GET", f"{ROUTE}/documents?limit=17&offset=5", None),
    ("GET", f"{ROUTE}/documents/3", None),
    ("GET", f"{ROUTE}/stats", None),
]
#: the same about those that nobody writes
STILL: list[Question] = [
    ("POST", f"{ROUTE}/search", {"q": "film", "filter": "busy = 0", "limit": 7, "facets": ["genre"]}),
    ("POST", f"{ROUTE}/search", {"filter": "busy = 0", "sort": ["year:desc"], "page": 2, "hitsPerPage": 9}),
    ("POST", f"{ROUTE}/search", {"q": "1", "filter": "busy = 0 AND genre = war", "limit": 100}),
    ("POST", f"{ROUTE}/facet-search", {"facetName": "genre", "facetQuery": "w", "filter": "busy = 0"}),
    ("POST", f"{ROUTE}/documents/fetch", {"filter": "busy = 0", "limit": 17, "offset": 5}),
    ("GET", f"{ROUTE}/documents/3", None),
]


class Twins:
    """A cluster and one engine that are told the same."""

    def __init__(self, cluster: SimCluster, oracle: Oracle, rng: random.Random) -> None:
        self.cluster, self.oracle, self.rng = cluster, oracle, rng
        self.known = list(range(BUSY, BUSY + 20))
        self.writes = self.compared = self.rounds = 0

    def document(self, number: int) -> dict[str, Any]:
        """Words that other documents have too: none comes into being or goes by a write."""
        year = self.rng.randrange(1900, 2030)
        title = f"film {number % BUSY} {self.rng.randrange(10)}"
        return {
            "id": number,
            "title": title,
            "genre": self.rng.choice(GENRES),
            "year": year,
            "busy": int(number >= BUSY),
        }

    async def write(self, method: str, path: str, body: Any) -> None:
        """To both, to its end."""
        reply = await self.cluster.ask(method, ROUTE + path, body)
        assert reply.status == 202, reply
        task = await task_end(self.cluster, reply.body["taskUid"])
        assert task.status == "succeeded", task
        assert (await self.oracle.ask(method, ROUTE + path, body)).status == 202
        self.writes += 1

    async def load(self) -> None:
        await self.write("PATCH", "/settings", SETTINGS)
        await self.write("POST", "/documents", [self.document(number) for number in range(BUSY + 20)])

    async def _write_something(self) -> None:
        some = self.rng.sample(self.known, 4)
        kind = self.writes % 6
        if kind == 0:
            fresh = [max(self.known) + place for place in (1, 2, 3, 4, 5)]
            self.known += fresh
            await self.write("POST", "/documents", [self.document(number) for number in fresh])
        elif kind == 1:
            await self.write("POST", "/documents", [self.document(number) for number in some])
        elif kind == 2:
            await self.write("PUT", "/documents", [{"id": number, "year": 1900 + number} for number in some])
        elif kind == 3:
            self.known = [number for number in self.known if number not in some[:2]]
            await self.write("POST", "/documents/delete-batch", some[:2])
        elif kind == 4:
            self.known = [number for number in self.known if number != some[0]]
            await self.write("POST", "/documents/delete", {"filter": f"busy = 1 AND id = {some[0]}"})
        else:
            await self.write("PATCH", "/settings", {"stopWords": [f"word{self.writes}"]})

    async def write_until(self, done: asyncio.Event) -> None:
        """After each write the whole of some answers."""
        while not done.is_set():
            await self._write_something()
            for question in self.rng.sample(WHOLE, 3):
                theirs = await self.oracle.ask(*question)
                await self.compare(question, [theirs.status, stable(theirs.body)])
            await asyncio.sleep(0.05)

    async def ask_until(self, done: asyncio.Event) -> None:
        """The same questions again and again, whatever is being written."""
        right = []
        for question in STILL:
            answer = await self.oracle.ask(*question)
            right.append([answer.status, stable(answer.body)])
        while not done.is_set():
            for question, answer in zip(STILL, right, strict=True):
                await self.compare(question, answer)
            self.rounds += 1
            await asyncio.sleep(0.05)

    async def compare(self, question: Question, right: list[Any]) -> None:
        found = await self.cluster.ask(*question)
        assert_same(str(question), [found.status, stable(found.body)], right)
        self.compared += 1


async def _verify(cluster: SimCluster) -> None:
    """Of copies that are all right: `KINDS` has one that damages a copy first."""
    await operations(cluster).request(OperationKind.VERIFY, {})


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_those_of_one_node_all_the_time(kind: str) -> None:
    async def main() -> None:
        rng = random.Random(3)
        shape = Shape(nodes=3, replication_factor=2, shards=4)
        async with moving_cluster(shape, rng, documents_per_s=200.0) as cluster:
            oracle = await Oracle.open(cluster.now_ns)
            twins = Twins(cluster, oracle, rng)
            await twins.load()
            if kind in BEFORE:
                await BEFORE[kind](cluster)
            done, before = asyncio.Event(), twins.writes
            askers = [asyncio.ensure_future(work(done)) for work in (twins.ask_until, twins.write_until)]
            await (_verify if kind == "verify" else KINDS[kind])(cluster)
            await cluster.until(
                "it ended",
                lambda: (
                    not any(o.open for o in operations(cluster).all.values())
                    or any(asker.done() for asker in askers)
                ),
            )
            await asyncio.sleep(2.0)  # while old copies are deleted
            done.set()
            for asker in askers:
                await asker
            assert twins.rounds > 3
            assert twins.writes > before + 3
            for question in WHOLE:
                theirs = await oracle.ask(*question)
                await twins.compare(question, [theirs.status, stable(theirs.body)])
            oracle.close()

    run_virtual(main())

"""The orchestrator dies right after every single durable write and every single node request of a fixed story.

Invariant 9: whatever the point, the end is the same as without the crash.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from miroir.ports.nodes import NodeRequest
from tests.support.sim_checks import all_tasks, assert_replicas_equal, stable
from tests.support.sim_cluster import Shape, SimCluster, sim_cluster
from tests.support.sim_workload import Sent, Workload, Write
from tests.support.virtual_time import run_virtual

_SHAPE = Shape(nodes=2, replication_factor=2, shards=2)
#: every kind of op, each depending on those before
_STORY = (
    Write(
        "POST", "/indexes/films/documents", [{"id": n, "title": f"film {n}", "n": n % 3} for n in range(6)]
    ),
    Write("PATCH", "/indexes/films/settings", {"filterableAttributes": ["n"], "sortableAttributes": ["id"]}),
    Write("PUT", "/indexes/films/documents", [{"id": 2, "more": "yes"}, {"id": 7, "title": "seven", "n": 1}]),
    Write("POST", "/indexes/films/documents", [{"title": "without an id"}]),
    Write("POST", "/indexes/films/documents/delete", {"filter": "n = 0"}),
    Write("DELETE", "/indexes/films/documents/4"),
    Write("POST", "/indexes", {"uid": "books", "primaryKey": "id"}),
    Write("POST", "/indexes/books/documents", [{"id": "a", "title": "book"}, {"id": "b"}]),
    Write("POST", "/swap-indexes", [{"indexes": ["films", "books"]}]),
    Write("POST", "/indexes/films/documents", [{"id": "c", "title": "after the swap"}]),
    Write("POST", "/indexes/songs/documents", [{"id": 1}]),
    Write("DELETE", "/indexes/songs"),
    Write("POST", "/indexes/films/documents", [{"id": "a", "title": "replaced"}]),
)


class Deaths:
    """Counts points of death and kills the orchestrator at one of them."""

    def __init__(self, cluster: SimCluster, at: int | None) -> None:
        self.count = 0
        self.names: list[str] = []
        self.over = False  #: the story is told; what follows only looks
        self._cluster = cluster
        self._at = at
        self.again: asyncio.Task[None] | None = None

    def watch(self) -> None:
        """Hook into the living orchestrator's store and transport."""
        life = self._cluster.life
        assert life is not None
        life.store.committed = lambda: self._point("commit")
        life.transport.delivered = self._delivered

    def _delivered(self, request: NodeRequest) -> None:
        if request.path != "/health":
            self._point(f"{request.method} {request.path} to {request.node}")

    def _point(self, name: str) -> None:
        life = self._cluster.life
        if life is None or life.dead or self.over:
            return
        self.names.append(name)
        if self.count == self._at:
            life.kill()
            self.again = asyncio.get_running_loop().create_task(self._restart())
        self.count += 1

    async def _restart(self) -> None:
        await self._cluster.crash_orchestrator()
        await self._cluster.start_orchestrator()


async def _tell(at: int | None) -> tuple[dict[str, Any], list[str]]:
    """The story with a death at point `at`; the state at its end and the points it passed."""
    rng = random.Random(7)
    async with sim_cluster(_SHAPE, rng) as cluster:
        deaths = Deaths(cluster, at)
        deaths.watch()
        workload = Workload(cluster, random.Random(7))
        for write in _STORY:
            await workload.submit(Sent(write))
            await asyncio.sleep(0.05)
        await cluster.quiet()
        if deaths.again is not None:
            await deaths.again
        deaths.over = True
        await assert_replicas_equal(cluster)
        return await _state(cluster), deaths.names


async def _state(cluster: SimCluster) -> dict[str, Any]:
    state: dict[str, Any] = {"tasks": stable(await all_tasks(cluster.ask))}
    for path in ("/indexes", "/stats"):
        state[path] = stable((await cluster.ask("GET", path)).body)
    for index in ("films", "books", "songs"):
        for path in (f"/indexes/{index}/documents", f"/indexes/{index}/settings"):
            state[path] = stable((await cluster.ask("GET", path)).body)
    return state


def test_every_point_of_death_leads_to_the_same_end() -> None:
    expected, points = run_virtual(_tell(None))
    assert len(expected["tasks"]) == len(_STORY)
    assert len(points) > 40, points
    for at, name in enumerate(points):
        try:
            state, _ = run_virtual(_tell(at))
        except Exception as error:  # noqa: BLE001 - told again with the place
            pytest.fail(f"death at point {at}, after {name}: {error!r}")
        assert state == expected, f"death at point {at}, after {name}"

"""Rows of lanes have two authors: what ended, and what is forgotten. Neither takes back what the other wrote."""

from __future__ import annotations

import asyncio
import dataclasses
from urllib.parse import urlencode

import orjson
import pytest

from miroir.core.records import LaneRecord, decode
from miroir.core.topology import ReplicaState
from miroir.core.writes.ops import tag
from miroir.meili.http import HttpRequest
from miroir.ports.store import Table
from miroir.services.writes.node_requests import last_step
from tests.support.virtual_time import run_virtual
from tests.unit.services.small_cluster import LIMITS, SmallCluster
from tests.unit.services.test_writes import docs, in_cluster

SOON = dataclasses.replace(LIMITS, keep_done_s=0.5)


class Late:
    """A store whose transactions wait their turn: `s` seconds after they were asked for."""

    def __init__(self, inner, s):
        self.inner, self.s = inner, s

    async def transact(self, fn):
        await asyncio.sleep(self.s)
        return await self.inner.transact(fn)

    def read(self, fn):
        return self.inner.read(fn)


def test_forgetting_ops_takes_back_nothing_of_what_ended_meanwhile(tmp_path):
    async def story(c):
        w = c.writes
        await c.done("POST", "/indexes/m/documents", docs(*range(20)))
        await c.quiet()
        w.retention._limits = dataclasses.replace(SOON, keep_done_s=1e6)  # nothing by itself
        lane = (w.cluster.sequenced.names["m"], "b")
        c.stop("b")
        while "b" in w.cluster.live:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.1)
        store = w.completion._store
        w.completion._store, w.log._store = Late(store, 1.0), Late(store, 0.0)
        uid = await c.write("POST", "/indexes/m/documents", docs(*range(20, 40)))
        await asyncio.sleep(0.9)
        assert not w.cluster.lanes[lane].lagging, "its end is on its way to the disk"
        w.log._store = Late(store, 2.0)
        w.retention._limits = dataclasses.replace(SOON, keep_done_s=0.0)
        await w.retention.sweep()
        assert (await c.wait(uid))["status"] == "succeeded"
        stored = decode(LaneRecord, store.read(lambda reader: reader.get(Table.LANES, lane)))
        for record in (w.cluster.lanes[lane], stored):
            assert record.lagging, "the node has missed a write that was reported as done"
            assert record.forgotten >= 0

    in_cluster(tmp_path, story)


def test_what_ended_takes_back_nothing_of_what_was_forgotten_meanwhile(tmp_path):
    async def story(c):
        w = c.writes
        await c.done("POST", "/indexes/m/documents", docs(*range(20)))
        await c.quiet()
        w.retention._limits = dataclasses.replace(SOON, keep_done_s=1e6)
        lane = (w.cluster.sequenced.names["m"], "b")
        store = w.completion._store
        w.completion._store = Late(store, 3.0)
        uid = await c.write("POST", "/indexes/m/documents", docs(*range(20, 40)))
        await asyncio.sleep(1.5)
        assert w.log.tasks[uid].status == "processing"
        w.retention._limits = dataclasses.replace(SOON, keep_done_s=0.0)
        await w.retention.sweep()
        forgotten = w.cluster.lanes[lane].forgotten
        assert forgotten >= 0
        w.retention._limits = dataclasses.replace(SOON, keep_done_s=1e6)
        assert (await c.wait(uid))["status"] == "succeeded"
        stored = decode(LaneRecord, store.read(lambda reader: reader.get(Table.LANES, lane)))
        for record in (w.cluster.lanes[lane], stored):
            assert record.forgotten == forgotten
            assert record.applied > forgotten

    in_cluster(tmp_path, story)


@pytest.mark.parametrize("pause_s", [0.0, 10.0])
def test_a_restart_after_settings_hides_and_rebuilds_nothing(tmp_path, pause_s):
    """A settings change leaves no tag in the node's task list; after a while nothing of it is left in our log either."""
    cluster = SmallCluster(tmp_path / "miroir.db", limits=dataclasses.replace(LIMITS, keep_done_s=1.0))

    async def main():
        async with cluster.running_nodes():
            async with cluster.orchestrator():
                await cluster.live()
                await cluster.done("POST", "/indexes/m/documents", docs(*range(20)))
                await cluster.done("PATCH", "/indexes/m/settings", {"stopWords": ["a"]})
                await cluster.quiet()
                await asyncio.sleep(pause_s)
            async with cluster.orchestrator():
                seen = set()
                cluster.writes.cluster.subscribe(lambda snapshot: seen.update(snapshot.lagging))
                await cluster.live()
                await cluster.done("POST", "/indexes/m/documents", docs(1))
                await asyncio.sleep(5)
                assert not seen
                view = cluster.writes.cluster.snapshot().indexes["m"]
                states = {state for replicas in view.placement for state in replicas.values()}
                assert states == {ReplicaState.IN_SYNC}

    run_virtual(main())


def test_an_old_request_that_arrives_after_a_restart_is_noticed_though_its_lane_is_at_rest(tmp_path):
    cluster = SmallCluster(tmp_path / "miroir.db", limits=dataclasses.replace(LIMITS, keep_done_s=1.0))

    async def main():
        async with cluster.running_nodes():
            async with cluster.orchestrator():
                await cluster.live()
                first = await cluster.write("POST", "/indexes/m/documents", docs(*range(20)))
                await cluster.wait(first)
                await cluster.done("POST", "/indexes/m/documents", docs(*range(20), changed=1))
                await cluster.quiet()
                await asyncio.sleep(10)
                assert not cluster.writes.log.ops
            async with cluster.orchestrator():
                await cluster.live()
                await asyncio.sleep(5)
                physical = cluster.writes.cluster.sequenced.names["m"]
                held = [{**d, "changed": 0} for d in cluster.on_node("b", physical).values()]
                step = last_step(first)
                query = urlencode({"customMetadata": tag(step, step)})
                path = f"/indexes/{physical}/documents"
                headers = {"content-type": "application/json"}
                late = HttpRequest("POST", path, query, headers, orjson.dumps(held))
                assert (await cluster.engines["b"].edge.respond(late)).status == 202
                await asyncio.sleep(5)
                view = cluster.writes.cluster.snapshot().indexes["m"]
                states = {replicas["b"] for replicas in view.placement if "b" in replicas}
                assert states == {ReplicaState.STALE}, "what it holds is old, and what followed is not kept"

    run_virtual(main())

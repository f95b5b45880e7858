"""Who is taken for a node that lost its disk: nobody but one that says so itself."""

from __future__ import annotations

import asyncio
import re

import orjson
import pytest

from miroir.core.topology import NodeId, ReplicaState
from miroir.meili.http import HttpReply, HttpRequest
from tests.support.virtual_time import run_virtual
from tests.unit.services.small_cluster import SmallCluster
from tests.unit.services.test_writes import docs, in_cluster

IDENTITY = "/indexes/miroir-node/documents/identity"


class Page:
    """Something at a node's address that is no node: a page for every question."""

    def __init__(self, status):
        self.status = status

    async def respond(self, request):
        return HttpReply(200 if request.path == "/health" else self.status, b"<html>a page</html>")


async def until(condition):
    async with asyncio.timeout(600):
        while not condition():  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.1)


async def identity(c, node):
    reply = await c.engines[node].edge.respond(HttpRequest("GET", IDENTITY))
    return orjson.loads(reply.body)


def is_whole(c, uid):
    placement = c.writes.cluster.snapshot().indexes[uid].placement
    return {state for replicas in placement for state in replicas.values()} == {ReplicaState.IN_SYNC}


@pytest.mark.parametrize("status", [200, 404])
def test_a_page_at_a_node_s_address_costs_no_replica(tmp_path, status):
    async def story(c):
        await c.done("POST", "/indexes/m/documents", docs(*range(30)))
        c.nodes.attach(NodeId("b"), Page(status))
        await until(lambda: "b" not in c.writes.cluster.live)
        await asyncio.sleep(10)
        c.nodes.attach(NodeId("b"), c.engines["b"].edge)
        await c.live()
        await c.quiet()
        assert is_whole(c, "m")
        assert set(c.merged("m")) == {str(n) for n in range(30)}

    in_cluster(tmp_path, story)


def test_an_address_that_leads_to_another_node_harms_neither(tmp_path):
    async def story(c):
        await c.done("POST", "/indexes/m/documents", docs(*range(30)))
        before = [await identity(c, node) for node in c.names]
        c.nodes.attach(NodeId("b"), c.engines["a"].edge)
        await until(lambda: "b" not in c.writes.cluster.live)
        await asyncio.sleep(10)
        assert "a" in c.writes.cluster.live
        c.nodes.attach(NodeId("b"), c.engines["b"].edge)
        await c.live()
        await c.quiet()
        assert [await identity(c, node) for node in c.names] == before
        assert is_whole(c, "m")

    in_cluster(tmp_path, story)


def test_new_nodes_are_live_once_the_first_round_is_over(tmp_path):
    """The port opens then: nobody finds a cluster that is available and takes no write."""
    cluster = SmallCluster(tmp_path / "miroir.db")

    async def main():
        async with cluster.running_nodes(), cluster.orchestrator():
            assert set(cluster.writes.cluster.live) == set(cluster.names)

    run_virtual(main())


def test_a_node_that_is_slow_to_write_its_name_down_is_named_once(tmp_path):
    async def story(c):
        c.stop("b")
        await until(lambda: "b" not in c.writes.cluster.live)
        await c.fresh_node("b")
        c.down.clear()
        engine, named = c.engines["b"], []
        respond, breathe = engine.edge.respond, engine.scheduler.breathe

        class Noting:
            async def respond(self, request):
                if request.method == "POST" and "miroir-node" in request.path:
                    named.append(re.search(rb'"uuid":"([^"]+)"', request.body).group(1))
                return await respond(request)

        async def slow():
            await asyncio.sleep(2.5)
            await breathe()

        engine.scheduler.breathe = slow
        c.nodes.attach(NodeId("b"), Noting())
        await until(lambda: "b" in c.writes.cluster.live)
        assert len(named) > 1
        assert len(set(named)) == 1

    in_cluster(tmp_path, story)

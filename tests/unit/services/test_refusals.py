"""Nodes that refuse what their peers take: replicas that missed a write are not read, and some copy always is."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from miroir.core.topology import ReplicaState
from miroir.ports.nodes import NodeRequest, NodeResponse
from miroir.services.writes.completion import Completion
from miroir.services.writes.rounds import Round
from tests.support.faults import FaultyTransport
from tests.unit.services.test_writes import docs, in_cluster


@pytest.fixture
def choosy(monkeypatch):
    """A node refuses requests that hold the words `not on` and its name, as one whose embedder is out of reach."""
    send = FaultyTransport.send

    async def refusing(self, request, *, deadline):
        if f"not on {request.node}".encode() in request.body:
            await send(self, NodeRequest(request.node, "GET", "/health"), deadline=deadline)  # if it is up
            error = {"message": "no", "code": "vector_embedding_error", "type": "invalid_request", "link": ""}
            return NodeResponse(400, orjson.dumps(error))
        return await send(self, request, deadline=deadline)

    monkeypatch.setattr(FaultyTransport, "send", refusing)


def states(c):
    return [dict(replicas) for replicas in c.writes.cluster.snapshot().indexes["m"].placement]


def test_refused_by_one_node_and_then_by_the_other_leaves_a_copy_to_read(tmp_path, choosy, monkeypatch):
    """Both ends are heard of before either is judged."""
    take = Completion._take_round
    waits = True
    monkeypatch.setattr(Completion, "_take_round", lambda self: Round() if waits else take(self))

    async def story(c):
        nonlocal waits
        waits = False
        await c.done("POST", "/indexes/m/documents", docs(1))
        waits = True
        first = await c.write("POST", "/indexes/m/documents", docs(1, title="not on a"))
        second = await c.write("POST", "/indexes/m/documents", docs(1, title="not on b"))
        await asyncio.sleep(5)
        assert (
            {*c.writes.completion._outcomes[first]} == {*c.writes.completion._outcomes[second]} == {"a", "b"}
        )
        waits = False
        ends = [(await c.wait(uid))["status"] for uid in (first, second)]
        for replicas in states(c):
            assert ReplicaState.IN_SYNC in replicas.values(), states(c)
        assert ends == ["succeeded", "failed"], "the copy that missed the first has no say in the second"

    in_cluster(tmp_path, story, names=("a", "b"))


def test_a_node_that_refuses_later_what_the_others_took_without_it_is_not_read(tmp_path, choosy):
    async def story(c):
        await c.done("POST", "/indexes/m/documents", docs(1))
        c.stop("a")
        assert (await c.done("POST", "/indexes/m/documents", docs(1, title="not on a")))[
            "status"
        ] == "succeeded"
        c.start_all()
        await c.quiet()
        missed = [replicas for replicas in states(c) if replicas["a"] is ReplicaState.STALE]
        assert len(missed) == 1
        assert missed[0]["b"] is ReplicaState.IN_SYNC

    in_cluster(tmp_path, story, names=("a", "b"))


def test_a_node_that_takes_later_what_the_others_refused_without_it_is_not_read(tmp_path, choosy):
    async def story(c):
        await c.done("POST", "/indexes/m/documents", docs(1))
        c.stop("a")
        assert (await c.done("POST", "/indexes/m/documents", docs(1, title="not on b")))["status"] == "failed"
        c.start_all()
        await c.quiet()
        assert sum(replicas["a"] is ReplicaState.STALE for replicas in states(c)) == 1

    in_cluster(tmp_path, story, names=("a", "b"))

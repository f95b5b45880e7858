"""What every way to reach nodes promises (`ports/nodes.py`), one suite over all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from aiohttp import web

from miroir.adapters.nodes_http import HttpNodes
from miroir.adapters.nodes_inprocess import InProcessNodes
from miroir.core.topology import NodeId
from miroir.meili.http import HttpReply, HttpRequest
from miroir.ports.nodes import BodyGoneError, NodeError, NodeRequest, NodeResponse, NodeTransport

NODE, OTHER = NodeId("n1"), NodeId("n2")


class Desk:
    """A node that answers with what it was asked; `/silent` never, `/404` with that status."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seen: list[HttpRequest] = []

    async def respond(self, request: HttpRequest) -> HttpReply:
        self.seen.append(request)
        if request.path == "/silent":
            await asyncio.Event().wait()
        status = 404 if request.path == "/404" else 200
        return HttpReply(
            status, f"{self.name} {request.method} {request.path}?{request.query} ".encode() + request.body
        )


@asynccontextmanager
async def in_process(desks: dict[NodeId, Desk]) -> AsyncIterator[NodeTransport]:
    nodes = InProcessNodes("secret")
    for node, desk in desks.items():
        nodes.attach(node, desk)
    yield nodes


@asynccontextmanager
async def over_http(desks: dict[NodeId, Desk]) -> AsyncIterator[NodeTransport]:
    nodes = HttpNodes("secret")
    runners = []
    for node, desk in desks.items():
        runner = web.ServerRunner(web.Server(_serving(desk)), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        runners.append(runner)
        host, port = runner.addresses[0][:2]
        nodes.set_address(node, f"http://{host}:{port}")
    try:
        yield nodes
    finally:
        await nodes.close()
        for runner in runners:
            await runner.cleanup()


def _serving(desk: Desk) -> Callable[[web.BaseRequest], object]:
    async def serve(request: web.BaseRequest) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        path, _, query = request.raw_path.partition("?")
        reply = await desk.respond(
            HttpRequest(request.method, path, query, headers, await request.content.read())
        )
        return web.Response(status=reply.status, body=reply.body)

    return serve


ADAPTERS: dict[str, Callable[[dict[NodeId, Desk]], AbstractAsyncContextManager[NodeTransport]]] = {
    "in-process": in_process,
    "http": over_http,
}


@pytest.fixture(params=list(ADAPTERS))
def adapter(request: pytest.FixtureRequest):
    return ADAPTERS[request.param]


def send_all(adapter, *requests: NodeRequest, seconds: float = 5.0):
    """(answers or errors in order, desks) after sending all at once."""
    desks = {NODE: Desk("one"), OTHER: Desk("two")}

    async def one(nodes: NodeTransport, request: NodeRequest) -> NodeResponse | NodeError:
        try:
            return await nodes.send(request, deadline=asyncio.get_running_loop().time() + seconds)
        except NodeError as error:
            return error

    async def main() -> list[NodeResponse | NodeError]:
        async with adapter(desks) as nodes, asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(nodes, request)) for request in requests]
        return [task.result() for task in tasks]

    return asyncio.run(main()), desks


def test_a_request_arrives_whole_with_the_node_key(adapter) -> None:
    request = NodeRequest(
        NODE, "POST", "/indexes/a%2Fb/search", "x=1&y=%20", b'{"q":1}', headers={"X-Trace": "t"}
    )
    (answer,), desks = send_all(adapter, request)
    assert answer == NodeResponse(200, b'one POST /indexes/a%2Fb/search?x=1&y=%20 {"q":1}')
    (seen,) = desks[NODE].seen
    assert seen.headers["authorization"] == "Bearer secret"
    assert seen.headers["content-type"] == "application/json"
    assert seen.headers["x-trace"] == "t"


def test_each_node_gets_its_own_and_any_status_is_an_answer(adapter) -> None:
    asked = [
        NodeRequest(node, "GET", path, content_type=None)
        for node in (NODE, OTHER)
        for path in ("/a", "/404", "/b")
    ]
    answers, desks = send_all(adapter, *asked)
    assert [(a.status, a.body.split(b" ")[0]) for a in answers] == [
        (200, b"one"),
        (404, b"one"),
        (200, b"one"),
        (200, b"two"),
        (404, b"two"),
        (200, b"two"),
    ]
    assert sorted(request.path for request in desks[OTHER].seen) == ["/404", "/a", "/b"]


def test_large_bodies_go_both_ways(adapter) -> None:
    body = bytes(range(256)) * 20_000
    (answer,), _ = send_all(adapter, NodeRequest(NODE, "PUT", "/x", body=body, content_type="text/plain"))
    assert isinstance(answer, NodeResponse)
    assert answer.body.endswith(body)


class Pieces:
    """A BodyStream of many chunks; `broken`: it ends in the middle."""

    size = 3_000_000

    def __init__(self, *, broken: bool = False) -> None:
        self._broken = broken

    def chunks(self) -> Iterator[bytes]:
        for number in range(300):
            if self._broken and number == 200:
                raise BodyGoneError("dropped")
            yield b"%05d" % number * 2_000


def test_a_stream_arrives_whole(adapter) -> None:
    asked = [NodeRequest(node, "PUT", "/x", stream=Pieces()) for node in (NODE, OTHER)]
    answers, desks = send_all(adapter, *asked)
    assert all(isinstance(answer, NodeResponse) for answer in answers)
    (seen,) = desks[NODE].seen
    assert seen.body == b"".join(Pieces().chunks())
    assert len(seen.body) == Pieces.size


def test_a_stream_that_breaks_cuts_the_exchange(adapter) -> None:
    (cut, fine), desks = send_all(
        adapter, NodeRequest(NODE, "PUT", "/x", stream=Pieces(broken=True)), NodeRequest(OTHER, "GET", "/a")
    )
    assert isinstance(cut, NodeError)
    assert not cut.refused
    assert isinstance(fine, NodeResponse)
    assert desks[NODE].seen == []


def test_a_late_answer_is_an_error_that_leaves_open_whether_the_node_acted(adapter) -> None:
    (late, fine), desks = send_all(
        adapter, NodeRequest(NODE, "GET", "/silent"), NodeRequest(OTHER, "GET", "/a"), seconds=0.3
    )
    assert isinstance(late, NodeError)
    assert not late.refused
    assert late.node == NODE
    assert [request.path for request in desks[NODE].seen] == ["/silent"]
    assert isinstance(fine, NodeResponse)


def test_a_node_nobody_knows_is_refused(adapter) -> None:
    (answer,), _ = send_all(adapter, NodeRequest(NodeId("nobody"), "GET", "/a"))
    assert isinstance(answer, NodeError)
    assert answer.refused


def test_a_cancelled_call_ends_and_the_next_one_works(adapter) -> None:
    async def main() -> NodeResponse:
        desk = Desk("one")
        async with adapter({NODE: desk}) as nodes:
            deadline = asyncio.get_running_loop().time() + 5
            hanging = asyncio.create_task(nodes.send(NodeRequest(NODE, "GET", "/silent"), deadline=deadline))
            while not desk.seen:  # noqa: ASYNC110 - one turn of the loop at a time
                await asyncio.sleep(0)
            hanging.cancel()
            with pytest.raises(asyncio.CancelledError):
                await hanging
            answer: NodeResponse = await nodes.send(NodeRequest(NODE, "GET", "/a"), deadline=deadline)
            return answer

    assert asyncio.run(main()).status == 200

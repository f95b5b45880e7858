"""Whatever goes wrong between us and a node is a NodeError; only a refused connection is `refused`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from miroir.adapters.nodes_http import HttpNodes
from miroir.adapters.nodes_inprocess import InProcessNodes
from miroir.core.topology import NodeId
from miroir.meili.http import HttpReply, HttpRequest
from miroir.ports.nodes import NodeError, NodeRequest, NodeResponse

NODE = NodeId("n1")
ASK = NodeRequest(NODE, "POST", "/indexes/a%2Fb/search", query="x=1", body=b"{}")
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def ask(serve: Serve | None, *, seconds: float = 5.0) -> NodeResponse:
    """Send ASK to a server that does `serve`, or to a port where nobody listens."""

    async def main() -> NodeResponse:
        served = asyncio.Event()

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert serve is not None
            await serve(reader, writer)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            served.set()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        nodes = HttpNodes("secret")
        nodes.set_address(NODE, f"http://127.0.0.1:{port}/")
        if serve is None:
            server.close()
            await server.wait_closed()
        try:
            return await nodes.send(ASK, deadline=asyncio.get_running_loop().time() + seconds)
        finally:
            await nodes.close()
            if serve is not None:
                await served.wait()
            server.close()

    return asyncio.run(main())


def test_a_request_arrives_as_it_was_meant() -> None:
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        seen.append(await reader.readexactly(2))
        writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n[]")
        await writer.drain()

    assert ask(serve) == NodeResponse(202, b"[]")
    head, body = seen
    assert head.startswith(b"POST /indexes/a%2Fb/search?x=1 HTTP/1.1\r\n")
    assert b"Authorization: Bearer secret\r\n" in head
    assert b"Content-Type: application/json\r\n" in head
    assert b"Accept-Encoding: identity\r\n" in head
    assert body == b"{}"


def test_nobody_listening_is_refused() -> None:
    with pytest.raises(NodeError) as failed:
        ask(None)
    assert failed.value.refused


def test_a_cut_answer_is_not_refused() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n[]")
        await writer.drain()

    with pytest.raises(NodeError) as failed:
        ask(serve)
    assert not failed.value.refused


def test_a_late_answer_is_not_refused() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionResetError):
            await reader.read()

    with pytest.raises(NodeError, match="did not answer") as failed:
        ask(serve, seconds=0.05)
    assert not failed.value.refused


def test_an_unknown_node_and_a_deadline_gone_never_leave() -> None:
    async def main() -> list[bool]:
        nodes = HttpNodes(None)
        refused = []
        for address, left in ((None, 1.0), ("http://127.0.0.1:9", -1.0)):
            if address is not None:
                nodes.set_address(NODE, address)
            try:
                await nodes.send(ASK, deadline=asyncio.get_running_loop().time() + left)
            except NodeError as error:
                refused.append(error.refused)
        return refused

    assert asyncio.run(main()) == [True, True]


class Desk:
    """A front desk that answers with what it was asked, or never."""

    def __init__(self, *, silent: bool = False) -> None:
        self._silent = silent
        self.requests: list[HttpRequest] = []

    async def respond(self, request: HttpRequest) -> HttpReply:
        self.requests.append(request)
        if self._silent:
            await asyncio.Event().wait()
        return HttpReply(200, request.body)


def test_nodes_in_process() -> None:
    async def main() -> tuple[NodeResponse, list[Any]]:
        nodes, desk = InProcessNodes("secret"), Desk()
        deadline = asyncio.get_running_loop().time() + 5
        nodes.attach(NODE, desk)
        reply = await nodes.send(ASK, deadline=deadline)
        errors = []
        nodes.attach(NODE, Desk(silent=True))
        for take in (lambda: None, lambda: nodes.detach(NODE)):
            take()
            try:
                await nodes.send(ASK, deadline=asyncio.get_running_loop().time() + 0.01)
            except NodeError as error:
                errors.append(error.refused)
        headers = {"authorization": "Bearer secret", "content-type": "application/json"}
        assert desk.requests == [HttpRequest("POST", ASK.path, "x=1", headers, b"{}")]
        return reply, errors

    assert asyncio.run(main()) == (NodeResponse(200, b"{}"), [False, True])


def test_an_answer_before_the_end_of_a_stream_counts_and_ends_the_connection() -> None:
    """A node may refuse a large body at its head and read no further: nothing waits for it, nothing is mixed up."""
    connections = 0
    over = asyncio.Event()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        head = await reader.readuntil(b"\r\n\r\n")
        status = b"413 Payload Too Large" if b"/large" in head else b"200 OK"
        writer.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 2\r\n\r\n{}")
        await writer.drain()
        await over.wait()
        writer.close()

    class Endless:
        size = 1 << 40

        def chunks(self) -> Iterator[bytes]:
            while True:
                yield b"x" * 65_536

    async def main() -> list[NodeResponse]:
        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        nodes = HttpNodes(None)
        nodes.set_address(NODE, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        deadline = asyncio.get_running_loop().time() + 5
        try:
            large = await nodes.send(NodeRequest(NODE, "POST", "/large", stream=Endless()), deadline=deadline)
            return [large, await nodes.send(NodeRequest(NODE, "GET", "/small"), deadline=deadline)]
        finally:
            await nodes.close()
            over.set()
            server.close()

    assert [answer.status for answer in asyncio.run(main())] == [413, 200]
    assert connections == 2


@pytest.mark.parametrize("address", ["http://a..b:7700", f"http://{'a' * 70}:7700", "http://[::1", "ftp://a"])
def test_an_address_that_is_none_is_refused_and_not_a_crash(address: str) -> None:
    async def main() -> None:
        nodes = HttpNodes(None)
        nodes.set_address(NODE, address)
        with pytest.raises(NodeError) as caught:
            await nodes.send(ASK, deadline=asyncio.get_running_loop().time() + 5)
        assert caught.value.refused
        await nodes.close()

    asyncio.run(main())

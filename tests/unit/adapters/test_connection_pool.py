"""Connections to a node on both event loops: answers of every framing, belonging to their questions, in bounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvloop

from miroir.adapters.nodes_http import HttpNodes
from miroir.core.topology import NodeId
from miroir.ports.nodes import NodeError, NodeRequest, NodeResponse

NODE = NodeId("n1")
Run = Callable[[Awaitable[Any]], Any]
#: body of the question -> bytes of the answer, and whether the connection ends with them
Answering = Callable[[bytes], Awaitable[tuple[bytes, bool]]]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    factory = uvloop.new_event_loop if request.param == "uvloop" else None

    def runner(main: Any) -> Any:
        with asyncio.Runner(loop_factory=factory) as loop:
            return loop.run(main)

    return runner


class Server:
    def __init__(self) -> None:
        self.accepted = 0


@asynccontextmanager
async def reached(answering: Answering, *, connections: int = 32) -> AsyncIterator[tuple[HttpNodes, Server]]:
    counts, tasks = Server(), set[asyncio.Task[Any]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())  # type: ignore[arg-type]
        counts.accepted += 1
        try:
            last = False
            while not last:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                size = int(head.partition("content-length: ")[2].partition("\r\n")[0])
                answer, last = await answering(await reader.readexactly(size))
                writer.write(answer)
                await writer.drain()
            writer.close()
        except (asyncio.IncompleteReadError, OSError):
            writer.transport.abort()
        except asyncio.CancelledError:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    nodes = HttpNodes("secret", connections_per_node=connections)
    nodes.set_address(NODE, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    try:
        yield nodes, counts
    finally:
        await nodes.close()
        server.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await rounds()


async def rounds() -> None:
    """Let the loop come round a few times: transports say goodbye in later ones."""
    for _ in range(10):
        await asyncio.sleep(0)


async def ask(nodes: HttpNodes, body: bytes, seconds: float = 5.0) -> NodeResponse:
    deadline = asyncio.get_running_loop().time() + seconds
    return await nodes.send(NodeRequest(NODE, "POST", "/x", body=body), deadline=deadline)


def sized(body: bytes, status: int = 200) -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


def chunked(body: bytes) -> bytes:
    parts = [body[start : start + 7] for start in range(0, len(body), 7)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n%b0\r\n\r\n" % chunks


def until_the_end(body: bytes) -> bytes:
    return b"HTTP/1.1 200 X\r\n\r\n" + body


@pytest.mark.parametrize(
    ("form", "ends", "connections"), [(sized, False, 1), (chunked, False, 1), (until_the_end, True, 4)]
)
def test_every_framing(run: Run, form: Callable[[bytes], bytes], ends: bool, connections: int) -> None:
    bodies = [b"", b"{}", b"x" * 1_000, bytes(range(256)) * 2_000]

    async def answering(body: bytes) -> tuple[bytes, bool]:
        return form(body), ends

    async def main() -> tuple[list[bytes], int]:
        async with reached(answering) as (nodes, server):
            return [(await ask(nodes, body)).body for body in bodies], server.accepted

    assert run(main()) == (bodies, connections)


def test_an_answer_may_come_byte_by_byte_after_an_interim_one(run: Run) -> None:
    sent = b"HTTP/1.1 100 Continue\r\n\r\n" + sized(b"abc", 404)

    async def main() -> NodeResponse:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            for position in range(len(sent)):
                writer.write(sent[position : position + 1])
                await writer.drain()
                await asyncio.sleep(0)
            await reader.read()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        nodes = HttpNodes(None)
        nodes.set_address(NODE, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        try:
            return await ask(nodes, b"")
        finally:
            await nodes.close()
            server.close()
            await rounds()

    assert run(main()) == NodeResponse(404, b"abc")


@pytest.mark.parametrize(
    "garbage",
    [b"SSH-2.0-x\r\n\r\n", sized(b"1") + sized(b"2"), b"HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\n1"],
)
def test_nonsense_never_reaches_the_next_question(run: Run, garbage: bytes) -> None:
    async def answering(body: bytes) -> tuple[bytes, bool]:
        return (garbage, True) if body == b"first" else (sized(body), False)

    async def main() -> tuple[Any, bytes]:
        async with reached(answering) as (nodes, _):
            first: Any = None
            with suppress(NodeError):
                first = (await ask(nodes, b"first")).body
            return first, (await ask(nodes, b"second")).body

    first, second = run(main())
    assert first == (b"1" if garbage.startswith(sized(b"1")) else None)
    assert second == b"second"


def test_answers_belong_to_their_questions_and_connections_are_bounded(run: Run) -> None:
    """Many at once over few connections; some are given up, some ask for longer than they may wait."""
    busy, most = 0, 0

    async def answering(body: bytes) -> tuple[bytes, bool]:
        nonlocal busy, most
        number = int(body)
        if number % 7 == 3:
            await asyncio.Event().wait()
        busy += 1
        most = max(most, busy)
        for _ in range(number % 5):
            await asyncio.sleep(0)
        busy -= 1
        return sized(body), number % 11 == 0

    async def main() -> None:
        async with reached(answering, connections=3) as (nodes, _):
            tasks = [
                asyncio.ensure_future(ask(nodes, b"%d" % number, 0.02 if number % 7 == 3 else 5.0))
                for number in range(120)
            ]
            await rounds()
            for task in tasks[::13]:
                task.cancel()
            await asyncio.wait(tasks)
            for number, task in enumerate(tasks):
                if task.cancelled():
                    assert number % 13 == 0
                elif number % 7 == 3:
                    assert isinstance(task.exception(), NodeError)
                else:
                    assert task.result().body == b"%d" % number
            assert 2 <= most <= 4  # one may be answering what was just given up
            assert (await ask(nodes, b"5")).body == b"5"

    run(main())


def test_waiting_for_a_connection_ends_at_the_deadline(run: Run) -> None:
    asked = asyncio.Event()

    async def answering(body: bytes) -> tuple[bytes, bool]:
        if body == b"slow":
            asked.set()
            await asyncio.Event().wait()
        return sized(body), False

    async def main() -> None:
        async with reached(answering, connections=1) as (nodes, server):
            slow = asyncio.ensure_future(ask(nodes, b"slow"))
            await asked.wait()
            with pytest.raises(NodeError, match="did not answer"):
                await ask(nodes, b"quick", 0.02)
            assert server.accepted == 1
            slow.cancel()
            assert (await ask(nodes, b"quick")).body == b"quick"

    run(main())


def test_headers_cannot_be_smuggled(run: Run) -> None:
    async def answering(body: bytes) -> tuple[bytes, bool]:
        return sized(body), False

    async def main() -> None:
        async with reached(answering) as (nodes, server):
            deadline = asyncio.get_running_loop().time() + 5
            for request in (
                NodeRequest(NODE, "GET", "/x\r\nA: b"),
                NodeRequest(NODE, "GET", "/x", headers={"X-Request-Id": "1\r\nA: b"}),
                NodeRequest(NODE, "GET", "/x", content_type="a\nb"),
                NodeRequest(NODE, "GET", "/\u4e00"),
            ):
                with pytest.raises(NodeError) as failed:
                    await nodes.send(request, deadline=deadline)
                assert failed.value.refused
            assert server.accepted == 0

    run(main())


def test_a_question_that_is_given_up_does_not_arrive_later(run: Run) -> None:
    """A node that stood still reads on after we have gone: it gets no more of what was asked."""
    size = 64 << 20

    async def main() -> None:
        given_up, ended = asyncio.Event(), asyncio.get_running_loop().create_future()

        async def stalled(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await given_up.wait()
            got = 0
            try:
                while piece := await reader.read(1 << 20):
                    got += len(piece)
            except ConnectionResetError:
                ended.set_result(got)
            else:
                ended.set_exception(AssertionError(f"{got} bytes, and a polite end"))
            writer.transport.abort()

        server = await asyncio.start_server(stalled, "127.0.0.1", 0)
        nodes = HttpNodes("secret")
        nodes.set_address(NODE, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        try:
            with pytest.raises(NodeError, match="did not answer"):
                await ask(nodes, bytes(size), 0.2)
            given_up.set()
            assert await asyncio.wait_for(ended, 10) < size
        finally:
            await nodes.close()
            server.close()
            await rounds()

    run(main())

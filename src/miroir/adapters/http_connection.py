"""One keep-alive HTTP/1.1 connection to a node: an `asyncio.Protocol` around the httptools parser.

A search makes one exchange per node it asks, so what an exchange costs here counts several times: measured over
loopback it takes half the CPU of aiohttp's client. Only what nodes need is here: whole answers, no redirects, no
cookies, no decompression.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
from collections.abc import Callable, Iterator
from typing import cast

import httptools

_FRAMING = frozenset({b"content-length", b"transfer-encoding"})
#: SO_LINGER: on, for no time at all
_NO_GOODBYE = struct.pack("ii", 1, 0)
#: Below this a body is copied behind its head: one buffer, one system call.
_JOINED_BYTES = 64 << 10


class CutError(OSError):
    """The connection ended, or spoke nonsense, before the answer was whole."""


class Connection(asyncio.Protocol):
    """One connection, one exchange at a time. `on_lost` is told once, when it can no longer be used."""

    def __init__(self, on_lost: Callable[[Connection], None]) -> None:
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._chunks: list[bytes] = []
        self._framed = False
        self._has_head = False
        self._room: asyncio.Future[None] | None = None  #: set while the transport wants no more to write
        self.idle_since = 0.0  #: loop time at which the last answer was whole

    @property
    def usable(self) -> bool:
        """Whether another exchange may be tried."""
        return self._transport is not None and not self._transport.is_closing()

    async def exchange(self, head: bytes, body: bytes, deadline: float) -> tuple[int, bytes]:
        """Send one request and return (status, body). Raises TimeoutError at the deadline, CutError.

        Unless it returns, the connection is closed: what still comes belongs to a question nobody asks any more.
        """
        answer = self._ask()
        assert self._transport is not None
        if len(body) <= _JOINED_BYTES:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))
        return await self._answered(answer, deadline)

    async def upload(self, head: bytes, chunks: Iterator[bytes], deadline: float) -> tuple[int, bytes]:
        """As `exchange`, with a body that is never in memory as a whole. What `chunks` raises comes through."""
        answer = self._ask()
        sending = self._loop.create_task(self._send_all(head, chunks, answer))
        try:
            return await self._answered(answer, deadline)
        finally:
            if not sending.done():  # answered before everything was said: no second question can follow
                sending.cancel()
                self.close()

    def _ask(self) -> asyncio.Future[tuple[int, bytes]]:
        assert self._answer is None
        if self._transport is None:
            raise CutError("connection closed")
        answer: asyncio.Future[tuple[int, bytes]] = self._loop.create_future()
        self._answer = answer
        self._begin_answer()
        return answer

    async def _answered(
        self, answer: asyncio.Future[tuple[int, bytes]], deadline: float
    ) -> tuple[int, bytes]:
        timer = self._loop.call_at(deadline, self._fail, TimeoutError())
        try:
            return await answer
        except BaseException:
            self.close()
            raise
        finally:
            timer.cancel()
            self._answer = None

    async def _send_all(
        self, head: bytes, chunks: Iterator[bytes], answer: asyncio.Future[tuple[int, bytes]]
    ) -> None:
        """As fast as the node takes it; what goes wrong goes to the answer."""
        try:
            for chunk in itertools.chain((head,), chunks):
                if self._transport is None:
                    return
                self._transport.write(chunk)
                if self._room is None:
                    await asyncio.sleep(0)  # others get a turn: making chunks is work
                else:
                    await asyncio.shield(self._room)
        except Exception as error:  # noqa: BLE001 - whoever waits for the answer gets it
            if not answer.done():
                answer.set_exception(error)

    def close(self) -> None:
        """Drop the connection at once; an exchange under way fails, and what was not sent of it never is."""
        if self._transport is not None:
            if self._answer is not None:
                # Else the kernel would go on sending a question that nobody asks any more.
                socket_ = self._transport.get_extra_info("socket")
                socket_.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_GOODBYE)
            self._transport.abort()
        self._gone(CutError("connection closed"))

    # --- asyncio.Protocol -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        if self._parser is None:  # nobody asked
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._gone(CutError(f"no HTTP: {error}"))
        except httptools.HttpParserUpgrade:
            self._gone(CutError("the protocol was changed"))

    def pause_writing(self) -> None:
        self._room = self._loop.create_future()

    def resume_writing(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    def eof_received(self) -> None:
        """Nothing follows; the transport closes itself and says so."""

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None and self._has_head and not self._framed and self._parser is not None:
            self._end_answer(self._parser.get_status_code())  # a body that ends with the connection
        self._gone(exc or CutError("connection closed"))

    # --- httptools --------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() in _FRAMING:
            self._framed = True

    def on_headers_complete(self) -> None:
        self._has_head = True

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)

    def on_message_complete(self) -> None:
        parser = self._parser
        assert parser is not None
        status = parser.get_status_code()
        if status < 200:  # an interim answer; the real one follows
            self._begin_answer()
            return
        reusable = parser.should_keep_alive()
        self._end_answer(status)
        if not reusable:
            self._gone(CutError("connection closed"))

    def _begin_answer(self) -> None:
        if self._parser is None:
            self._parser = httptools.HttpResponseParser(self)
        self._chunks = []
        self._framed = self._has_head = False

    def _end_answer(self, status: int) -> None:
        self.idle_since = self._loop.time()
        body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks = []
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((status, body))
        else:  # a second answer to one question
            self._gone(CutError("an answer nobody asked for"))

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    def _gone(self, error: Exception) -> None:
        transport, self._transport = self._transport, None
        if transport is None:
            return
        self._fail(error)
        self.resume_writing()
        transport.abort()
        self._on_lost(self)

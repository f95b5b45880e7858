"""Keep-alive connections to one address: reused newest first, bounded, queued for in order of arrival."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from contextlib import suppress
from urllib.parse import urlsplit

from miroir.adapters.http_connection import Connection, CutError

#: An older idle connection is not trusted: the server or something between may have dropped it silently.
_IDLE_S = 15.0


class ConnectionPool:
    """Connections to one base URL, at most `limit` at a time. Raises ValueError for an address that is none."""

    def __init__(self, address: str, *, limit: int) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{address!r} is no http address")
        self.address = address
        self.prefix = parts.path.rstrip("/")
        self.host_header = parts.netloc.rpartition("@")[2]
        self._host = parts.hostname.encode("idna").decode()  # UnicodeError, a ValueError, for what is no name
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._ssl = ssl.create_default_context() if parts.scheme == "https" else None
        self._limit = limit
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._connecting = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self, deadline: float) -> Connection:
        """A usable connection, for one exchange; give it back afterwards, whatever came of it.

        Raises TimeoutError at the deadline (loop time), OSError when nothing can be reached there.
        """
        arrived = False
        while True:
            if arrived or not self._waiting:
                connection = self._reusable()
                if connection is not None:
                    return connection
                if len(self._open) + self._connecting < self._limit:
                    return await self._connect(deadline)
            await self._wait(deadline, first=arrived)
            arrived = True

    def give(self, connection: Connection) -> None:
        """The exchange is over."""
        if connection.usable and connection in self._open:
            self._idle.append(connection)
            self._wake()

    def close(self) -> None:
        """Drop every connection; exchanges under way fail."""
        for connection in list(self._open):
            connection.close()

    def _reusable(self) -> Connection | None:
        oldest = asyncio.get_running_loop().time() - _IDLE_S
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and connection.idle_since >= oldest:
                return connection
            connection.close()
        return None

    async def _connect(self, deadline: float) -> Connection:
        self._connecting += 1
        try:
            async with asyncio.timeout_at(deadline):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: Connection(self._lost), self._host, self._port, ssl=self._ssl
                )
            if not connection.usable:
                raise CutError("closed as soon as it was open")
            self._open.add(connection)
        except BaseException:
            self._wake()
            raise
        finally:
            self._connecting -= 1
        return connection

    async def _wait(self, deadline: float, *, first: bool) -> None:
        """Until a connection, or room for one, is likely there. Raises TimeoutError."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        if first:  # it was its turn already, and somebody was quicker
            self._waiting.appendleft(waiter)
        else:
            self._waiting.append(waiter)
        timer = loop.call_at(deadline, _expire, waiter)
        try:
            await waiter
        except BaseException:
            with suppress(ValueError):
                self._waiting.remove(waiter)
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._wake()  # cancelled with its turn in hand: hand it on
            raise
        finally:
            timer.cancel()

    def _wake(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _lost(self, connection: Connection) -> None:
        self._open.discard(connection)
        with suppress(ValueError):
            self._idle.remove(connection)
        self._wake()


def _expire(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())

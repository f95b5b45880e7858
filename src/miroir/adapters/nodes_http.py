"""Nodes over HTTP: keep-alive connections, the node key on every request, every failure a NodeError."""

from __future__ import annotations

import asyncio

from miroir.adapters.connection_pool import ConnectionPool
from miroir.core.topology import NodeId
from miroir.ports.nodes import NodeError, NodeRequest, NodeResponse

#: to each node, beside the others
_URGENT_CONNECTIONS = 4


class HttpNodes:
    """A NodeTransport over HTTP. Use it inside one loop, and close it there.

    `connections_per_node` bounds what waits at one node; more requests queue here, under their deadline. Urgent ones
    have connections of their own.
    """

    def __init__(self, node_key: str | None, *, connections_per_node: int = 32) -> None:
        # Compressing between neighbours costs both sides more than the bytes saved.
        self._common = "Accept-Encoding: identity\r\n"
        if node_key:
            self._common += f"Authorization: Bearer {_plain(node_key)}\r\n"
        self._connections_per_node = connections_per_node
        self._addresses: dict[NodeId, str] = {}
        self._pools: dict[tuple[NodeId, bool], ConnectionPool] = {}

    def set_address(self, node: NodeId, address: str) -> None:
        """From now on `node` is reached at this base URL."""
        self._addresses[node] = address.rstrip("/")

    async def send(self, request: NodeRequest, *, deadline: float) -> NodeResponse:
        """Send one request and read the whole answer. Raises NodeError only."""
        address = self._addresses.get(request.node)
        if address is None:
            raise NodeError(request.node, "has no address", refused=True)
        left = deadline - asyncio.get_running_loop().time()
        if left <= 0:
            raise NodeError(request.node, "no time left to ask", refused=True)
        try:
            pool = self._pool(request.node, address, urgent=request.urgent)
            head = self._head(pool, request)
        except ValueError as error:
            raise NodeError(request.node, f"cannot be asked: {error}", refused=True) from error
        try:
            connection = await pool.take(deadline)
        except TimeoutError as error:
            raise _late(request.node, left) from error
        except OSError as error:
            refused = isinstance(error, ConnectionRefusedError)
            raise NodeError(request.node, f"cannot be reached: {error}", refused=refused) from error
        try:
            if request.stream is None:
                status, body = await connection.exchange(head, request.body, deadline)
            else:
                status, body = await connection.upload(head, request.stream.chunks(), deadline)
        except TimeoutError as error:
            raise _late(request.node, left) from error
        except OSError as error:
            raise NodeError(request.node, f"cut the exchange: {error!r}") from error
        finally:
            pool.give(connection)
        return NodeResponse(status, body)

    def _pool(self, node: NodeId, address: str, *, urgent: bool) -> ConnectionPool:
        pool = self._pools.get((node, urgent))
        if pool is None or pool.address != address:
            if pool is not None:
                pool.close()  # the node moved: what it had been asked there is lost with the old address
            limit = _URGENT_CONNECTIONS if urgent else self._connections_per_node
            pool = self._pools[node, urgent] = ConnectionPool(address, limit=limit)
        return pool

    def _head(self, pool: ConnectionPool, request: NodeRequest) -> bytes:
        """Request line and headers. Raises ValueError for what cannot stand in them."""
        target = f"{request.path}?{request.query}" if request.query else request.path
        lines = f"{request.method} {pool.prefix}{_plain(target)} HTTP/1.1\r\nHost: {pool.host_header}\r\n{self._common}"
        if request.content_type is not None:
            lines += f"Content-Type: {_plain(request.content_type)}\r\n"
        for name, value in request.headers.items():
            lines += f"{name}: {_plain(value)}\r\n"
        if request.size or request.method != "GET":
            lines += f"Content-Length: {request.size}\r\n"
        return f"{lines}\r\n".encode("latin-1")

    async def close(self) -> None:
        """Close every connection."""
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()
        await asyncio.sleep(0)  # transports say goodbye in the loop's next round


def _plain(text: str) -> str:
    """A text that ends no line: nobody adds headers by what he calls things."""
    if "\n" in text or "\r" in text:
        raise ValueError("a line break in a header")
    return text


def _late(node: NodeId, left: float) -> NodeError:
    return NodeError(node, f"did not answer in {left:.1f} s")

"""Nodes over HTTP: one aiohttp session, keep-alive connections, the node key on every request."""

from __future__ import annotations

import asyncio

import aiohttp
from yarl import URL

from miroir.core.topology import NodeId
from miroir.ports.nodes import NodeError, NodeRequest, NodeResponse


class HttpNodes:
    """A NodeTransport over HTTP. Open it inside the loop that uses it, and close it there.

    `connections_per_node` bounds what waits at one node; more requests queue here, under their deadline.
    """

    def __init__(self, node_key: str | None, *, connections_per_node: int = 32) -> None:
        # Compressing between neighbours costs both sides more than the bytes saved.
        self._headers = {"Accept-Encoding": "identity"}
        if node_key:
            self._headers["Authorization"] = f"Bearer {node_key}"
        self._connections_per_node = connections_per_node
        self._addresses: dict[NodeId, str] = {}
        self._session: aiohttp.ClientSession | None = None

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
        url = f"{address}{request.path}?{request.query}" if request.query else address + request.path
        headers = {**self._headers, **request.headers}
        if request.content_type is not None:
            headers["Content-Type"] = request.content_type
        try:
            async with self._open().request(
                request.method,
                _as_is(url),
                data=request.body or None,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=left),
                allow_redirects=False,
            ) as response:
                return NodeResponse(response.status, await response.read())
        except aiohttp.ClientConnectorError as error:
            refused = isinstance(error.os_error, ConnectionRefusedError)
            raise NodeError(request.node, f"cannot be reached: {error.os_error}", refused=refused) from error
        except TimeoutError as error:
            raise NodeError(request.node, f"did not answer in {left:.1f} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise NodeError(request.node, f"cut the exchange: {error!r}") from error

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, limit_per_host=self._connections_per_node),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()


def _as_is(url: str) -> URL:
    """The URL without a second round of quoting: paths arrive percent-encoded."""
    return URL(url, encoded=True)

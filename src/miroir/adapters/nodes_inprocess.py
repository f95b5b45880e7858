"""Nodes in this process: requests go straight to their front desks, without a socket."""

from __future__ import annotations

import asyncio
from typing import Protocol

from miroir.core.topology import NodeId
from miroir.meili.http import HttpReply, HttpRequest
from miroir.ports.nodes import BodyGoneError, NodeError, NodeRequest, NodeResponse


class FrontDesk(Protocol):
    """What answers for a node (`meili.edge.Edge` does)."""

    async def respond(self, request: HttpRequest) -> HttpReply:
        """Answer one request; every failure of the request is an answer."""
        ...


class InProcessNodes:
    """A NodeTransport over front desks. A node that was never attached, or was detached, refuses."""

    def __init__(self, node_key: str | None = None) -> None:
        self._headers = {"authorization": f"Bearer {node_key}"} if node_key else {}
        self._desks: dict[NodeId, FrontDesk] = {}

    def attach(self, node: NodeId, desk: FrontDesk) -> None:
        """From now on `node` answers."""
        self._desks[node] = desk

    def detach(self, node: NodeId) -> None:
        """From now on `node` refuses connections."""
        self._desks.pop(node, None)

    def set_address(self, node: NodeId, address: str) -> None:
        """Nodes in this process have no address."""

    async def send(self, request: NodeRequest, *, deadline: float) -> NodeResponse:
        """Hand the request over. Raises NodeError only."""
        desk = self._desks.get(request.node)
        if desk is None:
            raise NodeError(request.node, "connection refused", refused=True)
        headers = {**self._headers, **{name.lower(): value for name, value in request.headers.items()}}
        if request.content_type is not None:
            headers["content-type"] = request.content_type
        try:
            body = request.body if request.stream is None else b"".join(request.stream.chunks())
        except BodyGoneError as error:
            raise NodeError(request.node, f"cut the exchange: {error}") from error
        try:
            async with asyncio.timeout_at(deadline):
                reply = await desk.respond(
                    HttpRequest(request.method, request.path, request.query, headers, body)
                )
        except TimeoutError as error:
            raise NodeError(request.node, "did not answer in time") from error
        return NodeResponse(reply.status, reply.body)

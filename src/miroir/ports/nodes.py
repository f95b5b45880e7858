"""A way to reach every node: one method, bytes both ways."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from miroir.core.topology import NodeId
from miroir.errors import MiroirError


class BodyGoneError(OSError):
    """What a stream was to yield is no longer there."""


class BodyStream(Protocol):
    """A body too large to be in memory as a whole; it can be asked for its bytes again and again."""

    @property
    def size(self) -> int:
        """Bytes of all chunks together."""
        ...

    def chunks(self) -> Iterator[bytes]:
        """The body from its beginning. May raise BodyGoneError: the exchange is then cut, a NodeError."""
        ...


@dataclass(frozen=True, slots=True)
class NodeRequest:
    """One request to one node. `path` starts with a slash, percent-encoded; `query` without `?`.

    With a `stream` that is the body, and `body` is empty.
    """

    node: NodeId
    method: str
    path: str
    query: str = ""
    body: bytes = b""
    content_type: str | None = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    stream: BodyStream | None = None
    #: must not wait behind other requests to the node: what it tells is how the node is, not how much it is asked
    urgent: bool = False

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return len(self.body) if self.stream is None else self.stream.size


@dataclass(frozen=True, slots=True)
class NodeResponse:
    status: int
    body: bytes


class NodeError(MiroirError):
    """The node was unreachable, late, or cut the answer. Whether it acted is unknown unless `refused`."""

    def __init__(self, node: NodeId, reason: str, *, refused: bool = False) -> None:
        super().__init__(f"node {node}: {reason}")
        self.node = node
        self.reason = reason
        #: True only if the request certainly never reached the node (connection refused)
        self.refused = refused


class NodeTransport(Protocol):
    """A way to reach every node.

    Addresses and the node key are the transport's: `set_address` is called by the cluster service
    whenever the topology changes.
    """

    async def send(self, request: NodeRequest, *, deadline: float) -> NodeResponse:
        """Send one request and read the whole answer.

        `deadline` is a point of the running loop's time.
        Promise: raises NodeError and nothing else (but CancelledError); may be cancelled at any point, and
        then the node may or may not have acted; never retries by itself.
        """
        ...

    def set_address(self, node: NodeId, address: str) -> None:
        """From now on `node` is reached at this base URL."""
        ...

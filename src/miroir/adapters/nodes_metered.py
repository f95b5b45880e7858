"""A node transport around another one: counts and times every call, and hands on the request id."""

from __future__ import annotations

import asyncio

from prometheus_client import Histogram

from miroir.core.topology import NodeId
from miroir.ports.nodes import NodeError, NodeRequest, NodeResponse, NodeTransport
from miroir.telemetry import logs
from miroir.telemetry.metrics import Metrics

#: last words of paths that are operations; anything else is told apart by its first word only
_OPERATIONS = frozenset(
    {"search", "multi-search", "facet-search", "similar", "documents", "settings", "stats"}
)
_ROOTS = frozenset(
    {"indexes", "tasks", "health", "version", "stats", "multi-search", "experimental-features"}
)


class MeteredNodes:
    """Implements `ports.nodes.NodeTransport`."""

    def __init__(self, inner: NodeTransport, metrics: Metrics) -> None:
        self._inner = inner
        self._metrics = metrics
        self._durations: dict[tuple[NodeId, str], Histogram] = {}
        #: node -> (loop time of its last answer or None, what its last call failed with or None)
        self.sightings: dict[NodeId, tuple[float | None, str | None]] = {}

    def set_address(self, node: NodeId, address: str) -> None:
        self._inner.set_address(node, address)

    async def send(self, request: NodeRequest, *, deadline: float) -> NodeResponse:
        """As promised by the port; the request id of the client's request goes along."""
        identity = logs.current_request_id()
        if identity is not None:
            request = _identified(request, identity)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            response = await self._inner.send(request, deadline=deadline)
        except NodeError as error:
            kind = "refused" if error.refused else "unreachable"
            self._metrics.node_errors_total.labels(request.node, kind).inc()
            self.sightings[request.node] = (self.sightings.get(request.node, (None, None))[0], error.reason)
            raise
        took = loop.time() - begun
        self.sightings[request.node] = (begun + took, None)
        self._duration(request.node, operation(request)).observe(took)
        if response.status >= 500:
            self._metrics.node_errors_total.labels(request.node, "server_error").inc()
        return response

    def _duration(self, node: NodeId, name: str) -> Histogram:
        """The instrument of one node and operation, looked up among the labels once."""
        found = self._durations.get((node, name))
        if found is None:
            found = self._metrics.node_request_duration_seconds.labels(node, name)
            self._durations[node, name] = found
        return found


def _identified(request: NodeRequest, identity: str) -> NodeRequest:
    """A copy that carries the request id; written out, for `dataclasses.replace` takes its time."""
    headers = {**request.headers, "X-Request-Id": identity}
    return NodeRequest(
        request.node,
        request.method,
        request.path,
        request.query,
        request.body,
        request.content_type,
        headers,
        request.stream,
        request.urgent,
    )


def operation(request: NodeRequest) -> str:
    """A bounded name of what was asked: `search`, `documents`, `tasks` ..."""
    if request.path.endswith("/search"):
        return "search"
    words = [word for word in request.path.split("/") if word]
    for word in reversed(words[2:]):
        if word in _OPERATIONS:
            return word
    return words[0] if words and words[0] in _ROOTS else "other"

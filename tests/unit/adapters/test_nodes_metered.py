"""The metering transport counts, names operations within bounds, and hands on the request id."""

import asyncio

import pytest

from miroir.adapters.nodes_metered import MeteredNodes, operation
from miroir.core.topology import NodeId
from miroir.ports.nodes import NodeError, NodeRequest, NodeResponse
from miroir.telemetry import logs
from miroir.telemetry.metrics import Metrics

NODE = NodeId("n")


class Scripted:
    """A transport that gives one answer, or raises it."""

    def __init__(self, answer: NodeResponse | NodeError) -> None:
        self.answer = answer
        self.seen: list[NodeRequest] = []

    def set_address(self, node: NodeId, address: str) -> None:
        self.address = address

    async def send(self, request: NodeRequest, *, deadline: float) -> NodeResponse:
        self.seen.append(request)
        if isinstance(self.answer, NodeError):
            raise self.answer
        return self.answer


def send(inner: Scripted, metrics: Metrics, path: str = "/indexes/miroir-1/search") -> NodeResponse:
    transport = MeteredNodes(inner, metrics)
    transport.set_address(NODE, "http://x")
    return asyncio.run(transport.send(NodeRequest(NODE, "POST", path), deadline=1.0))


def test_an_answer_is_timed_by_node_and_operation() -> None:
    metrics = Metrics()
    assert send(Scripted(NodeResponse(200, b"{}")), metrics).status == 200
    line = 'miroir_node_request_duration_seconds_count{node_id="n",operation="search"} 1.0'
    assert line in metrics.render().decode()


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (NodeError(NODE, "x", refused=True), "refused"),
        (NodeError(NODE, "x"), "unreachable"),
        (NodeResponse(500, b""), "server_error"),
    ],
)
def test_failures_are_counted_by_kind(answer: NodeResponse | NodeError, kind: str) -> None:
    metrics = Metrics()
    inner = Scripted(answer)
    if isinstance(answer, NodeError):
        with pytest.raises(NodeError):
            send(inner, metrics)
    else:
        send(inner, metrics)
    assert f'miroir_node_errors_total{{error_type="{kind}",node_id="n"}} 1.0' in metrics.render().decode()


def test_the_request_id_goes_along() -> None:
    inner = Scripted(NodeResponse(200, b""))
    with logs.request_context("r-9"):
        send(inner, Metrics())
    send(inner, Metrics())
    assert [request.headers.get("X-Request-Id") for request in inner.seen] == ["r-9", None]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/indexes/search/documents", "documents"),
        ("/indexes/documents", "indexes"),
        ("/indexes/i/documents/settings", "settings"),
        ("/tasks/12", "tasks"),
        ("/health", "health"),
        ("/", "other"),
        ("/whatever/a", "other"),
    ],
)
def test_operations_are_bounded(path: str, name: str) -> None:
    assert operation(NodeRequest(NODE, "GET", path)) == name

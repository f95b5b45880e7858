"""The front and the admin routes over a stand-in edge: ids, bounds, keys, metrics."""

import asyncio
import json

import pytest

from miroir.api.admin import Admin, Shape
from miroir.api.front import Front
from miroir.core.topology import IndexView, Node, NodeId, PhysicalUid, ReplicaState, Snapshot
from miroir.meili.codes import ApiError
from miroir.meili.http import HttpReply, HttpRequest
from miroir.ports.store import StoreFullError
from miroir.services.observation import NodeSight, Observed
from miroir.telemetry.metrics import Metrics

A, B = NodeId("a"), NodeId("b")
VIEW = IndexView(
    "books", PhysicalUid("p"), "id", ({A: ReplicaState.IN_SYNC, B: ReplicaState.IN_SYNC},) * 4, {}, 0, 0
)
NODES = {A: Node(A, "http://a"), B: Node(B, "http://b")}


class Echo:
    """An edge that answers its route's name, once told to go on."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()

    async def respond(self, request: HttpRequest, *, body_error: ApiError | None = None) -> HttpReply:
        await self.gate.wait()
        return HttpReply(200, b'"answered"')

    def route_name(self, request: HttpRequest) -> str | None:
        return "search" if request.path.endswith("/search") else None


def make(live: frozenset[NodeId] = frozenset({A, B}), **limits: int) -> tuple[Front, Echo, Metrics]:
    observed = Observed(
        Snapshot(epoch=7, nodes=NODES, live=live, indexes={"books": VIEW}),
        sights={A: NodeSight(12), B: NodeSight(None, "refused")},
        lag_ops={B: 3},
        tasks={"succeeded": 5, "enqueued": 1},
    )
    metrics, edge = Metrics(), Echo()
    admin = Admin(
        lambda: observed.snapshot, lambda: observed, metrics, shape=lambda: Shape(64, 2), admin_key="adm"
    )
    limit = limits.get("max_concurrent_requests", 10)
    return Front(edge, admin, metrics, max_concurrent_requests=limit), edge, metrics


def get(front: Front, path: str, **headers: str) -> HttpReply:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    path, _, query = path.partition("?")
    return asyncio.run(front.respond(HttpRequest("GET", path, query, sent)))


def test_every_answer_has_a_request_id_and_the_clients_is_kept() -> None:
    front, _, _ = make()
    assert get(front, "/indexes/books/search", x_request_id="mine").headers["x-request-id"] == "mine"
    assert len(get(front, "/health").headers["x-request-id"]) == 16


def test_requests_above_the_bound_are_refused_at_once() -> None:
    front, edge, _ = make(max_concurrent_requests=1)

    async def scenario() -> HttpReply:
        edge.gate.clear()
        async with asyncio.TaskGroup() as group:
            first = group.create_task(front.respond(HttpRequest("GET", "/indexes/books/search")))
            second = group.create_task(front.respond(HttpRequest("GET", "/indexes/books/search")))
            reply = await second
            edge.gate.set()
        assert first.result().status == 200
        return reply

    reply = asyncio.run(scenario())
    assert reply.status == 503
    assert json.loads(reply.body)["code"] == "miroir_overloaded"
    assert reply.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, "missing_authorization_header"),
        ({"authorization": "Bearer nope"}, 403, "invalid_api_key"),
        ({"x_admin_key": "nope"}, 403, "invalid_api_key"),
    ],
)
def test_admin_routes_want_the_admin_key(headers: dict[str, str], status: int, code: str) -> None:
    front, _, _ = make()
    for route in ("topology", "shards", "metrics", "anything"):
        reply = get(front, f"/_miroir/{route}", **headers)
        assert (reply.status, json.loads(reply.body)["code"]) == (status, code)


def test_without_an_admin_key_nobody_is_let_in() -> None:
    empty = Snapshot(epoch=0)
    admin = Admin(
        lambda: empty, lambda: Observed(empty), Metrics(), shape=lambda: Shape(1, 1), admin_key=None
    )
    with pytest.raises(ApiError, match="invalid"):
        admin.respond(HttpRequest("GET", "/_miroir/topology", headers={"x-admin-key": ""}))


@pytest.mark.parametrize(("live", "status"), [({A, B}, 200), ({A}, 200), (set(), 503)])
def test_ready_is_open_and_says_whether_everything_is_served(live: set[NodeId], status: int) -> None:
    front, _, _ = make(live=frozenset(live))
    assert get(front, "/_miroir/ready").status == status


def test_topology_has_the_documented_shape() -> None:
    front, _, _ = make(live=frozenset({A}))
    topology = json.loads(get(front, "/_miroir/topology", authorization="Bearer adm").body)
    assert topology["epoch"] == 7
    assert topology["fully_covered"] is True
    assert topology["degraded_node_count"] == 1
    assert topology["nodes"][1] == {
        "id": "b", "address": "http://b", "group": 0, "lifecycle": "active", "health": "down", "shard_count": 4,
        "in_sync": 4, "copying": 0, "stale": 0, "lag_ops": 3, "last_seen_ms": None, "error": "refused",
    }  # fmt: skip
    assert topology["indexes"] == [{"uid": "books", "shards": 4, "readable_shards": 4, "degraded_shards": 4}]


def test_shards_can_be_asked_for_one_index() -> None:
    front, _, _ = make()
    shards = json.loads(get(front, "/_miroir/shards?index=none", x_admin_key="adm").body)
    assert shards == {"epoch": 7, "indexes": []}
    assert len(json.loads(get(front, "/_miroir/shards", x_admin_key="adm").body)["indexes"][0]["shards"]) == 4


def test_a_request_leaves_its_traces_in_the_metrics() -> None:
    front, _, _ = make()
    get(front, "/indexes/books/search")
    get(front, "/indexes/secret-name/unknown")
    text = get(front, "/_miroir/metrics", x_admin_key="adm").body.decode()
    assert 'miroir_requests_total{method="GET",route="search",status="200"} 1.0' in text
    assert 'route="unknown"' in text
    assert "secret-name" not in text
    assert "miroir_shard_coverage 1.0" in text
    assert 'miroir_lane_lag_ops{node_id="b"} 3.0' in text
    assert "miroir_placement_epoch 7.0" in text


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(KeyError("bug"), 500, "internal"), (StoreFullError("full"), 422, "no_space_left_on_device")],
)
def test_what_goes_wrong_in_an_admin_route_is_answered_and_counted(
    monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, code: str
) -> None:
    front, _, metrics = make()

    async def serve(self: Admin, request: HttpRequest) -> HttpReply:
        raise error

    monkeypatch.setattr(Admin, "serve", serve)
    reply = get(front, "/_miroir/topology", x_admin_key="adm")
    assert (reply.status, json.loads(reply.body)["code"]) == (status, code)
    assert f'status="{status}"' in metrics.render().decode()

"""The `/_miroir/` routes: readiness for everyone; topology, shards and metrics for the admin key.

Answers are made from one snapshot each; what changes something is in modules of its own.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import orjson

from miroir.api import admin_indexes, admin_operations
from miroir.api.admin_indexes import IndexAdmin
from miroir.api.admin_operations import OperationAdmin
from miroir.core.coverage import Coverage, coverage, ready, shard_table
from miroir.core.topology import Node, NodeLifecycle, ReplicaState, Snapshot
from miroir.meili.codes import ApiError
from miroir.meili.http import HttpReply, HttpRequest
from miroir.services.observation import MoveSight, NodeSight, Observe, Observed
from miroir.telemetry.metrics import CONTENT_TYPE, Metrics

PREFIX = "/_miroir/"


@dataclass(frozen=True, slots=True)
class Shape:
    """What new indexes get, and what all should have: as configured, or as an operation changed it."""

    shards: int
    replication_factor: int


class Admin:
    """Answers `/_miroir/` requests."""

    def __init__(
        self,
        snapshot: Callable[[], Snapshot],
        observe: Observe,
        metrics: Metrics,
        *,
        shape: Callable[[], Shape],
        admin_key: str | None,
        indexes: IndexAdmin | None = None,
        operations: OperationAdmin | None = None,
    ) -> None:
        self._snapshot = snapshot
        self._observe = observe  #: dearer than a snapshot: walks tasks and lanes
        self._metrics = metrics
        self._shape = shape
        self._admin_key = admin_key
        self._indexes = indexes
        self._operations = operations
        self._routes: dict[str, Callable[[HttpRequest], HttpReply]] = {
            "topology": self._topology,
            "shards": self._shards,
            "metrics": self._exposition,
        }

    async def serve(self, request: HttpRequest) -> HttpReply:
        """Answer one request below the prefix, changes too. Raises ApiError."""
        route, _, rest = request.path.removeprefix(PREFIX).strip("/").partition("/")
        if route in admin_operations.ROUTES and self._operations is not None:
            self._check_key(request.headers)
            return await self._operations.respond(request, [route, *rest.split("/")] if rest else [route])
        if route == admin_indexes.ROUTE and rest.endswith("/reshard") and self._operations is not None:
            self._check_key(request.headers)
            return await self._operations.respond(request, [route, *rest.split("/")])
        if route != admin_indexes.ROUTE or self._indexes is None:
            return self.respond(request)
        self._check_key(request.headers)
        return await self._indexes.respond(request, rest)

    def respond(self, request: HttpRequest) -> HttpReply:
        """Answer one request below the prefix. Raises ApiError."""
        name = request.path.removeprefix(PREFIX).strip("/")
        if name == "ready":
            return self._ready(request)
        self._check_key(request.headers)
        route = self._routes.get(name)
        if route is None:
            return HttpReply(404, content_type=None)
        if request.method != "GET":
            return HttpReply(405, content_type=None, headers={"allow": "GET"})
        return route(request)

    def label(self, path: str) -> str:
        """A bounded name of the route for metrics and logs."""
        name = path.removeprefix(PREFIX).strip("/")
        first = name.partition("/")[0]
        if first in admin_operations.ROUTES:
            return f"miroir.{first.removesuffix('.json')}"
        if name.startswith(f"{admin_indexes.ROUTE}/"):
            return "miroir.index"
        return f"miroir.{name}" if name in self._routes or name == "ready" else "miroir.other"

    def _check_key(self, headers: Mapping[str, str]) -> None:
        sent = headers.get("x-admin-key")
        if sent is None:
            scheme, _, token = headers.get("authorization", "").partition(" ")
            sent = token.strip() if scheme.lower() == "bearer" else None
        if sent is None:
            raise ApiError(
                "missing_authorization_header",
                "The Authorization header is missing. It must use the bearer authorization method.",
            )
        if self._admin_key is None or not hmac.compare_digest(sent.encode(), self._admin_key.encode()):
            raise ApiError("invalid_api_key", "The provided API key is invalid.")

    def _ready(self, request: HttpRequest) -> HttpReply:
        is_ready = ready(self._snapshot(), self._shape().replication_factor)
        return _json(200 if is_ready else 503, {"ready": is_ready})

    def _topology(self, request: HttpRequest) -> HttpReply:
        return _json(200, describe(self._observe(), self._shape()))

    def _shards(self, request: HttpRequest) -> HttpReply:
        snapshot = self._snapshot()
        wanted = parse_qs(request.query).get("index")
        rows = [
            {"index": index.uid, "shards": shard_table(snapshot, index)}
            for index in snapshot.indexes.values()
            if wanted is None or index.uid in wanted
        ]
        return _json(200, {"epoch": snapshot.epoch, "indexes": rows})

    def _exposition(self, request: HttpRequest) -> HttpReply:
        record(self._metrics, self._observe(), self._shape())
        return HttpReply(200, self._metrics.render(), CONTENT_TYPE)


def describe(observed: Observed, shape: Shape) -> dict[str, Any]:
    """The topology as shown by `/_miroir/topology` and `miroir status`."""
    snapshot = observed.snapshot
    seen = coverage(snapshot, shape.replication_factor)
    members = [
        node
        for _, node in sorted(snapshot.nodes.items())
        if node.lifecycle is not NodeLifecycle.REMOVED or seen.replicas.get(node.id)
    ]
    nodes = [_node(node, observed, seen) for node in members]
    groups = sorted({node.group for node in members})
    return {
        "epoch": snapshot.epoch,
        "shards": shape.shards,
        "replication_factor": shape.replication_factor,
        "groups": [{"id": group, "state": "active"} for group in groups],
        "nodes": nodes,
        "indexes": [
            {
                "uid": index.uid,
                "shards": index.shards,
                "readable_shards": index.readable,
                "degraded_shards": index.degraded,
            }
            for index in seen.indexes
        ],
        "tasks": dict(observed.tasks),
        "degraded_node_count": sum(node["health"] != "live" for node in nodes),
        "rebalance_in_progress": any(node["copying"] for node in nodes),
        "fully_covered": seen.full,
    }


def _node(node: Node, observed: Observed, seen: Coverage) -> dict[str, Any]:
    counts = seen.replicas.get(node.id, {})
    sight = observed.sights.get(node.id, NodeSight())
    return {
        "id": node.id,
        "address": node.address,
        "group": node.group,
        "lifecycle": node.lifecycle.value,
        "health": "live" if node.id in observed.snapshot.live else "down",
        "shard_count": sum(counts.values()),
        "in_sync": counts.get(ReplicaState.IN_SYNC, 0),
        "copying": counts.get(ReplicaState.COPYING, 0),
        "stale": counts.get(ReplicaState.STALE, 0),
        "lag_ops": observed.lag_ops.get(node.id, 0),
        "last_seen_ms": sight.last_seen_ms,
        "error": sight.error,
    }


def record(metrics: Metrics, observed: Observed, shape: Shape) -> None:
    """Set the gauges that describe the cluster as it is now; called when metrics are asked for."""
    snapshot = observed.snapshot
    seen = coverage(snapshot, shape.replication_factor)
    metrics.placement_epoch.set(snapshot.epoch)
    metrics.shard_coverage.set(seen.ratio)
    metrics.degraded_shards.set(seen.degraded_shards)
    metrics.oplog_bytes.set(observed.log_bytes)
    metrics.oplog_oldest_seconds.set(observed.log_oldest_s)
    for status in ("enqueued", "processing", "succeeded", "failed", "canceled"):
        metrics.tasks.labels(status).set(observed.tasks.get(status, 0))
    for node in snapshot.nodes.values():
        if node.lifecycle is NodeLifecycle.REMOVED:
            continue
        metrics.node_healthy.labels(node.id).set(node.id in snapshot.live)
        metrics.lane_lag_ops.labels(node.id).set(observed.lag_ops.get(node.id, 0))
        metrics.lane_lag_seconds.labels(node.id).set(observed.lag_seconds.get(node.id, 0.0))
        metrics.shard_distribution.labels(node.id).set(sum(seen.replicas.get(node.id, {}).values()))
    for state in ReplicaState:
        metrics.replica_state.labels(state.value).set(
            sum(counts.get(state, 0) for counts in seen.replicas.values())
        )
    _record_moves(metrics, observed.moves)


def _record_moves(metrics: Metrics, moves: MoveSight) -> None:
    metrics.operations.clear()
    for (kind, state), count in moves.operations.items():
        metrics.operations.labels(kind, state).set(count)
    for phase in ("planned", "copying", "following"):
        metrics.copies.labels(phase).set(moves.copies.get(phase, 0))
    metrics.layouts.labels("built").set(moves.layouts_built)
    metrics.layouts.labels("kept").set(moves.layouts_kept)
    metrics.layout_shards_unverified.set(moves.shards_unverified)
    metrics.patrol_ended_timestamp_seconds.set(moves.patrol_ended_s)


def _json(status: int, value: Any) -> HttpReply:
    return HttpReply(status, orjson.dumps(value))

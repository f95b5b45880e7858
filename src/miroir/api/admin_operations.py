"""Admin routes that change the cluster: nodes, replica groups, operations. The caller has checked the admin key.

    POST   /_miroir/nodes {id, address, replica_group, weight}   add a node (or {"nodes": [...]})
    PATCH  /_miroir/nodes/{id} {weight}                     let it hold more or fewer shards than others
    POST   /_miroir/nodes/{id}/drain | undrain              empty a node | take that back
    DELETE /_miroir/nodes/{id}?force=true                   let an empty node go
    POST   /_miroir/replica_groups {id, nodes}              add a group | DELETE /_miroir/replica_groups/{id}
    PUT    /_miroir/replication_factor {replication_factor}
    POST   /_miroir/indexes/{uid}/reshard {shards}          another number of shards
    POST   /_miroir/rebalance                               even out | GET .../status | PATCH: bounds of copying
    GET    /_miroir/operations(/{id})                       POST .../{id}/pause | resume | cancel

Everything that begins an operation answers 202 with it, takes `?dry_run=true`, and 409 with what to do instead. The
full description is served at `/_miroir/openapi.json`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, unquote

import msgspec
import orjson

from miroir.api.admin_openapi import openapi
from miroir.api.operation_views import plain, shown
from miroir.core.moves.node_list import RefusedError
from miroir.core.moves.operation_records import OperationKind, OperationRecord, OperationState
from miroir.core.topology import NodeLifecycle
from miroir.meili.codes import ApiError
from miroir.meili.http import HttpReply, HttpRequest
from miroir.meili.indexes import index_not_found
from miroir.services.moves.operations import Operations

ROUTES = frozenset(
    {
        "nodes",
        "replica_groups",
        "rebalance",
        "operations",
        "verify",
        "replication_factor",
        "openapi.json",
    }
)
_CONTROLS = {
    "pause": OperationState.PAUSED,
    "resume": OperationState.RUNNING,
    "cancel": OperationState.CANCELLING,
}


class _Node(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    address: str
    replica_group: int = 0
    weight: float = 1.0


class _Weight(msgspec.Struct, forbid_unknown_fields=True):
    weight: float


class _Nodes(msgspec.Struct, forbid_unknown_fields=True):
    nodes: list[_Node]


class _GroupNode(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    address: str
    weight: float = 1.0


class _Group(msgspec.Struct, forbid_unknown_fields=True):
    id: int
    nodes: list[_GroupNode]


class _Factor(msgspec.Struct, forbid_unknown_fields=True):
    replication_factor: int


class _Shards(msgspec.Struct, forbid_unknown_fields=True):
    shards: int
    retention_s: float | None = None


class _Bounds(msgspec.Struct, forbid_unknown_fields=True):
    max_concurrent_copies: int | None = None
    documents_per_s: float | None = None
    bytes_per_s: float | None = None


class OperationAdmin:
    """Answers requests whose first word is one of `ROUTES`."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    async def respond(self, request: HttpRequest, words: list[str]) -> HttpReply:
        """Answer one request; `words` are the parts of the path after `/_miroir/`. Raises ApiError."""
        route = _ROUTES.get((request.method, words[0], len(words)))
        if route is None:
            return _other_method(words)
        try:
            return await route(self, request, [unquote(word) for word in words])
        except RefusedError as error:
            if error.missing and words[0] == "indexes":
                raise index_not_found(unquote(words[1])) from error
            missing = "miroir_operation_not_found" if words[0] == "operations" else "miroir_node_not_found"
            raise ApiError(missing if error.missing else "miroir_conflict", str(error)) from error

    # --- nodes and groups ---------------------------------------------------------------------

    async def nodes(self, request: HttpRequest, words: list[str]) -> HttpReply:
        """GET /_miroir/nodes."""
        view = self._operations.everything()
        held: dict[str, int] = {}
        for shards in view.placement.values():
            for replicas in shards:
                for node in replicas:
                    held[node] = held.get(node, 0) + 1
        return _json(
            200,
            {
                "results": [
                    {
                        "id": member.id,
                        "replica_group": member.group,
                        "weight": member.weight,
                        "lifecycle": member.lifecycle.value,
                        "live": member.live,
                        "replicas": held.get(member.id, 0),
                    }
                    for _, member in sorted(view.members.items())
                    if member.lifecycle is not NodeLifecycle.REMOVED or member.id in held
                ]
            },
        )

    async def add_nodes(self, request: HttpRequest, words: list[str]) -> HttpReply:
        body = _object(request.body)
        wanted = _decode(_Nodes, body).nodes if "nodes" in body else [_decode(_Node, body)]
        nodes = [msgspec.to_builtins(node) for node in wanted]
        return await self._begin(request, OperationKind.ADD_NODES, {"nodes": _checked(nodes)})

    async def weigh(self, request: HttpRequest, words: list[str]) -> HttpReply:
        """PATCH /_miroir/nodes/{id}."""
        weight = _checked_weight(_decode(_Weight, _object(request.body)).weight)
        return await self._begin(request, OperationKind.REBALANCE, {"node": words[1], "weight": weight})

    async def drain(self, request: HttpRequest, words: list[str]) -> HttpReply:
        kinds = {"drain": OperationKind.DRAIN, "undrain": OperationKind.UNDRAIN}
        if words[2] not in kinds:
            return HttpReply(404, content_type=None)
        return await self._begin(request, kinds[words[2]], {"node": words[1]})

    async def remove_node(self, request: HttpRequest, words: list[str]) -> HttpReply:
        args = {"node": words[1], "force": _flag(request, "force")}
        return await self._begin(request, OperationKind.REMOVE_NODE, args)

    async def add_group(self, request: HttpRequest, words: list[str]) -> HttpReply:
        group = _decode(_Group, _object(request.body))
        nodes = [{**msgspec.to_builtins(node), "replica_group": group.id} for node in group.nodes]
        return await self._begin(request, OperationKind.ADD_GROUP, {"nodes": _checked(nodes)})

    async def remove_group(self, request: HttpRequest, words: list[str]) -> HttpReply:
        if not words[1].isdecimal():
            raise ApiError("miroir_invalid_request", "The id of a replica group is a number.")
        return await self._begin(request, OperationKind.REMOVE_GROUP, {"group": int(words[1])})

    async def set_factor(self, request: HttpRequest, words: list[str]) -> HttpReply:
        factor = _decode(_Factor, _object(request.body)).replication_factor
        return await self._begin(
            request, OperationKind.SET_REPLICATION_FACTOR, {"replication_factor": factor}
        )

    async def rebalance(self, request: HttpRequest, words: list[str]) -> HttpReply:
        return await self._begin(request, OperationKind.REBALANCE, {})

    async def verify(self, request: HttpRequest, words: list[str]) -> HttpReply:
        return await self._begin(request, OperationKind.VERIFY, {})

    async def reshard(self, request: HttpRequest, words: list[str]) -> HttpReply:
        if words[2] != "reshard":
            return HttpReply(404, content_type=None)
        wanted = _decode(_Shards, _object(request.body))
        if wanted.retention_s is not None and wanted.retention_s < 0:
            raise ApiError("miroir_invalid_request", "`retention_s` is 0 or more.")
        dry_run = _flag(request, "dry_run")
        begun = await self._operations.reshard(words[1], wanted.shards, wanted.retention_s, dry_run=dry_run)
        return self._answer(begun, dry_run=dry_run)

    async def _begin(self, request: HttpRequest, kind: OperationKind, args: dict[str, Any]) -> HttpReply:
        dry_run = _flag(request, "dry_run")
        operation = await self._operations.request(kind, args, dry_run=dry_run)
        return self._answer(operation, dry_run=dry_run)

    def _answer(self, operation: OperationRecord, *, dry_run: bool) -> HttpReply:
        if dry_run:
            return _json(200, {"dry_run": True, **self._shown(operation, moves=True)})
        return _json(202, {"operation": operation.id, **self._shown(operation, moves=False)})

    # --- operations ---------------------------------------------------------------------------

    async def list_all(self, request: HttpRequest, words: list[str]) -> HttpReply:
        newest = sorted(self._operations.all.values(), key=lambda operation: -operation.id)
        view = self._operations.everything()
        return _json(
            200,
            {"results": [shown(operation, self._operations, view, moves=False) for operation in newest]},
        )

    async def show(self, request: HttpRequest, words: list[str]) -> HttpReply:
        return _json(200, self._shown(self._find(words[1]), moves=True))

    async def control(self, request: HttpRequest, words: list[str]) -> HttpReply:
        if words[2] not in _CONTROLS:
            return HttpReply(404, content_type=None)
        operation = await self._operations.control(self._find(words[1]).id, _CONTROLS[words[2]])
        return _json(202, {"operation": operation.id, **self._shown(operation, moves=False)})

    async def status(self, request: HttpRequest, words: list[str]) -> HttpReply:
        open_ones = [operation for operation in self._operations.all.values() if operation.open]
        copies = self._operations.copies()
        running = sum(copy.documents for copy in copies)
        moved = sum(operation.documents_moved for operation in open_ones) + running
        planned = sum(operation.planned.documents for operation in open_ones)
        phases: dict[str, int] = {}
        for copy in copies:
            phases[copy.phase.value] = phases.get(copy.phase.value, 0) + 1
        return _json(
            200,
            {
                "in_progress": bool(open_ones),
                "documents_moved": moved,
                "documents_to_move": max(0, planned - moved),
                "phases": phases,
                "operations": [operation.id for operation in open_ones],
                "copies": [plain(copy) for copy in copies],
                "limits": self._bounds(),
            },
        )

    async def throttle(self, request: HttpRequest, words: list[str]) -> HttpReply:
        wanted = _decode(_Bounds, _object(request.body))
        limits = self._operations.limits
        if wanted.max_concurrent_copies is not None:
            limits = replace(limits, copies_max=wanted.max_concurrent_copies)
        if wanted.documents_per_s is not None:
            limits = replace(limits, documents_per_s=wanted.documents_per_s)
        if wanted.bytes_per_s is not None:
            limits = replace(limits, bytes_per_s=wanted.bytes_per_s)
        if limits.copies_max < 1 or limits.documents_per_s < 0 or limits.bytes_per_s < 0:
            raise ApiError(
                "miroir_invalid_request",
                "`max_concurrent_copies` is 1 or more; `documents_per_s` and `bytes_per_s` are 0 (no bound) or more.",
            )
        self._operations.throttle(limits)
        return _json(200, self._bounds())

    async def description(self, request: HttpRequest, words: list[str]) -> HttpReply:
        return _json(200, openapi())

    def _bounds(self) -> dict[str, float]:
        limits = self._operations.limits
        return {
            "max_concurrent_copies": limits.copies_max,
            "documents_per_s": limits.documents_per_s,
            "bytes_per_s": limits.bytes_per_s,
        }

    def _find(self, number: str) -> OperationRecord:
        found = self._operations.all.get(int(number)) if number.isdecimal() else None
        if found is None:
            raise ApiError("miroir_operation_not_found", f"Operation `{number}` not found.")
        return found

    def _shown(self, operation: OperationRecord, *, moves: bool) -> dict[str, Any]:
        return shown(operation, self._operations, self._operations.everything(), moves=moves)


_Route = Callable[[OperationAdmin, HttpRequest, list[str]], Awaitable[HttpReply]]
#: (method, first word, number of words)
_ROUTES: dict[tuple[str, str, int], _Route] = {
    ("GET", "nodes", 1): OperationAdmin.nodes,
    ("POST", "nodes", 1): OperationAdmin.add_nodes,
    ("POST", "nodes", 3): OperationAdmin.drain,
    ("DELETE", "nodes", 2): OperationAdmin.remove_node,
    ("PATCH", "nodes", 2): OperationAdmin.weigh,
    ("POST", "replica_groups", 1): OperationAdmin.add_group,
    ("DELETE", "replica_groups", 2): OperationAdmin.remove_group,
    ("PUT", "replication_factor", 1): OperationAdmin.set_factor,
    ("POST", "rebalance", 1): OperationAdmin.rebalance,
    ("PATCH", "rebalance", 1): OperationAdmin.throttle,
    ("GET", "rebalance", 2): OperationAdmin.status,
    ("POST", "verify", 1): OperationAdmin.verify,
    ("POST", "indexes", 3): OperationAdmin.reshard,
    ("GET", "operations", 1): OperationAdmin.list_all,
    ("GET", "operations", 2): OperationAdmin.show,
    ("POST", "operations", 3): OperationAdmin.control,
    ("GET", "openapi.json", 1): OperationAdmin.description,
}


def _other_method(words: list[str]) -> HttpReply:
    allowed = sorted(m for m, word, count in _ROUTES if (word, count) == (words[0], len(words)))
    if allowed:
        return HttpReply(405, content_type=None, headers={"allow": ", ".join(allowed)})
    return HttpReply(404, content_type=None)


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ApiError("malformed_payload", f"The json payload provided is malformed. `{error}`.") from None
    if not isinstance(value, dict):
        raise ApiError("miroir_invalid_request", "Expected a JSON object.")
    return value


def _decode(kind: Any, value: dict[str, Any]) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        known = ", ".join(field.name for field in msgspec.structs.fields(kind))
        raise ApiError("miroir_invalid_request", f"{error}. Known fields: {known}.") from None


def _checked(nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for node in nodes:
        if not node["address"].startswith(("http://", "https://")):
            raise ApiError(
                "miroir_invalid_request",
                f"The address of node `{node['id']}` must be a base URL such as http://10.0.0.4:7700.",
            )
        if not node["id"] or len(node["id"]) > 64 or not all(c.isalnum() or c in "_.-" for c in node["id"]):
            raise ApiError(
                "miroir_invalid_request",
                "A node id has 1 to 64 letters, digits, dots, dashes or underscores.",
            )
        if node["replica_group"] < 0:
            raise ApiError("miroir_invalid_request", "The id of a replica group is 0 or more.")
        _checked_weight(node["weight"])
    return nodes


def _checked_weight(weight: float) -> float:
    if not 0.001 <= weight <= 1000:
        raise ApiError(
            "miroir_invalid_request", "The weight of a node is between 0.001 and 1000; 1 is usual."
        )
    return weight


def _flag(request: HttpRequest, name: str) -> bool:
    values = parse_qs(request.query, keep_blank_values=True).get(name, ["false"])
    if values[-1] not in ("true", "false", ""):
        raise ApiError("miroir_invalid_request", f"`{name}` is true or false.")
    return values[-1] != "false"


def _json(status: int, value: Any) -> HttpReply:
    return HttpReply(status, orjson.dumps(value))

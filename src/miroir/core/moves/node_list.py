"""Changes of the node list that operations begin and end with: what is allowed, and in which words it is refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from miroir.core.moves.cluster_view import ClusterView
from miroir.core.moves.operation_records import OperationKind, OperationRecord
from miroir.core.records import NodeRecord
from miroir.core.topology import NodeLifecycle, ReplicaState
from miroir.errors import MiroirError

ACTIVE, DRAINING, REMOVED = NodeLifecycle.ACTIVE, NodeLifecycle.DRAINING, NodeLifecycle.REMOVED


class RefusedError(MiroirError):
    """An operation that cannot be; the message says what to do instead. `missing`: what it names does not exist."""

    def __init__(self, message: str, *, missing: bool = False) -> None:
        super().__init__(message)
        self.missing = missing


#: begun by nobody, and in nobody's way
AUTOMATIC = frozenset({OperationKind.RESTORE, OperationKind.RESYNC})


def check_free(kind: OperationKind, operations: Iterable[OperationRecord]) -> None:
    """One operation at a time; only a drain may be taken back while it runs. Raises RefusedError."""
    for operation in operations:
        if not operation.open or operation.kind in AUTOMATIC:
            continue
        if kind is OperationKind.UNDRAIN and operation.kind is OperationKind.DRAIN:
            continue
        if OperationKind.RESHARD in (kind, operation.kind):
            continue  # follows the node list by itself; of each index only one, which its plan sees to
        raise RefusedError(
            f"Operation {operation.id} ({operation.kind.value}) is {operation.state.value}. "
            f"Wait for its end, or cancel it with POST /_miroir/operations/{operation.id}/cancel."
        )


def edited(
    kind: OperationKind, args: Mapping[str, Any], nodes: Mapping[str, NodeRecord], view: ClusterView
) -> dict[str, NodeRecord]:
    """The nodes that an operation changes when it begins. Raises RefusedError."""
    if kind in (OperationKind.ADD_NODES, OperationKind.ADD_GROUP):
        return _added(kind, args, nodes)
    if kind is OperationKind.DRAIN:
        return _drained(_known(nodes, args["node"]), view)
    if kind is OperationKind.UNDRAIN:
        node = _known(nodes, args["node"])
        if node.lifecycle != DRAINING:
            raise RefusedError(f"Node `{node.id}` is not draining: there is nothing to take back.")
        return {node.id: _with(node, ACTIVE)}
    if kind is OperationKind.REMOVE_NODE:
        return _removed(_known(nodes, args["node"]), view, force=bool(args.get("force")))
    if kind is OperationKind.REMOVE_GROUP:
        return _group_removed(int(args["group"]), nodes)
    if kind is OperationKind.REBALANCE and "node" in args:
        node = _known(nodes, args["node"])
        return {node.id: msgspec.structs.replace(node, weight=float(args["weight"]))}
    if kind is OperationKind.SET_REPLICATION_FACTOR:
        _check_factor(int(args["replication_factor"]), nodes)
    return {}


def _known(nodes: Mapping[str, NodeRecord], node: str) -> NodeRecord:
    found = nodes.get(node)
    if found is None or found.lifecycle == REMOVED:
        raise RefusedError(f"Node `{node}` not found.", missing=True)
    return found


def _with(node: NodeRecord, lifecycle: NodeLifecycle) -> NodeRecord:
    return msgspec.structs.replace(node, lifecycle=lifecycle.value)


def _added(
    kind: OperationKind, args: Mapping[str, Any], nodes: Mapping[str, NodeRecord]
) -> dict[str, NodeRecord]:
    groups = {node.group for node in nodes.values() if node.lifecycle != REMOVED}
    fresh: dict[str, NodeRecord] = {}
    for entry in args["nodes"]:
        node = NodeRecord(
            id=entry["id"],
            address=entry["address"].rstrip("/"),
            group=entry["replica_group"],
            weight=entry.get("weight"),
        )
        if node.id in nodes or node.id in fresh:
            raise RefusedError(
                f"Node `{node.id}` exists or existed: ids are never used twice. Choose another id."
            )
        twin = next((o for o in nodes.values() if o.address == node.address and o.lifecycle != REMOVED), None)
        if twin is not None:
            raise RefusedError(f"Address `{node.address}` is that of node `{twin.id}`.")
        if kind is OperationKind.ADD_NODES and node.group not in groups:
            raise RefusedError(
                f"Replica group {node.group} does not exist. Make it with POST /_miroir/replica_groups."
            )
        if kind is OperationKind.ADD_GROUP and node.group in groups:
            raise RefusedError(
                f"Replica group {node.group} exists. Add nodes to it with POST /_miroir/nodes."
            )
        fresh[node.id] = node
    if not fresh:
        raise RefusedError("No node was given: a replica group needs at least one.")
    return fresh


def _drained(node: NodeRecord, view: ClusterView) -> dict[str, NodeRecord]:
    if node.lifecycle == DRAINING:
        raise RefusedError(f"Node `{node.id}` is draining or drained already.")
    others = [m for m in view.takers() if m.group == node.group and m.id != node.id]
    if not others:
        raise RefusedError(
            f"Node `{node.id}` is the last node of replica group {node.group} that can hold shards. "
            "Add a node to the group first, or remove the group."
        )
    if len(others) < view.replication_factor:
        raise RefusedError(
            f"Without `{node.id}` replica group {node.group} has {len(others)} nodes for "
            f"{view.replication_factor} copies of every shard. Add a node or lower the replication factor first."
        )
    return {node.id: _with(node, DRAINING)}


def _removed(node: NodeRecord, view: ClusterView, *, force: bool) -> dict[str, NodeRecord]:
    held = last = 0
    for shards in view.placement.values():
        for replicas in shards:
            if node.id not in replicas:
                continue
            held += 1
            others = [n for n, s in replicas.items() if s is ReplicaState.IN_SYNC and n != node.id]
            last += replicas[node.id] is ReplicaState.IN_SYNC and not others
    if last:
        raise RefusedError(
            f"Node `{node.id}` holds the last in-sync copy of {last} shards. It cannot be removed, not even by force: "
            f"drain it first (POST /_miroir/nodes/{node.id}/drain)."
        )
    if held and not force:
        raise RefusedError(
            f"Node `{node.id}` still holds {held} replicas. Drain it first (POST /_miroir/nodes/{node.id}/drain), "
            "or remove it with ?force=true: the other copies are then the only ones until they are copied again."
        )
    return {node.id: _with(node, REMOVED)}


def _group_removed(group: int, nodes: Mapping[str, NodeRecord]) -> dict[str, NodeRecord]:
    members = [node for node in nodes.values() if node.group == group and node.lifecycle != REMOVED]
    if not members:
        raise RefusedError(f"Replica group {group} not found.", missing=True)
    if not any(node.group != group and node.lifecycle == ACTIVE for node in nodes.values()):
        raise RefusedError(f"Replica group {group} is the only one: it holds the only copies.")
    return {node.id: _with(node, DRAINING) for node in members}


def _check_factor(factor: int, nodes: Mapping[str, NodeRecord]) -> None:
    if factor < 1:
        raise RefusedError("The replication factor must be at least 1.")
    sizes: dict[int, int] = {}
    for node in nodes.values():
        if node.lifecycle == ACTIVE:
            sizes[node.group] = sizes.get(node.group, 0) + 1
    small = sorted(group for group, size in sizes.items() if size < factor)
    if small:
        raise RefusedError(
            f"Replica group {small[0]} has {sizes[small[0]]} active nodes, too few for {factor} copies of every shard. "
            "Add nodes first."
        )

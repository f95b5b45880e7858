"""Operations as the admin routes show them."""

from __future__ import annotations

from typing import Any

import msgspec

from miroir.core.moves.cluster_view import ClusterView
from miroir.core.moves.operation_records import OperationRecord, OperationState
from miroir.core.moves.planning import is_done
from miroir.services.moves.operations import Operations


def shown(
    operation: OperationRecord, operations: Operations, view: ClusterView, *, moves: bool
) -> dict[str, Any]:
    """Plan, actual, and how far it is, in the cluster as `view` has it; with `moves` each of them."""
    running = [copy for copy in operations.copies() if copy.operation == operation.id]
    found: dict[str, Any] = {
        "id": operation.id,
        "kind": operation.kind.value,
        "state": operation.state.value,
        "args": operation.args,
        "reason": operations.waits.get(operation.id, operation.reason),
        "planned": plain(operation.planned),
        "actual": {
            "replicas": operation.replicas_moved,
            "seconds": round((operation.ended_at - operation.created_at) / 1e9, 1)
            if operation.ended_at
            else None,
            "documents": operation.documents_moved + sum(copy.documents for copy in running),
            "size_bytes": operation.bytes_moved + sum(copy.size_bytes for copy in running),
            "copies_begun_again": operation.copies_again + sum(copy.attempts for copy in running),
        },
        "moves_total": len(operation.moves),
        "moves_done": _moves_done(operation, view),
        "verified": {"replicas": operation.checked, "differed": operation.repaired},
        "copies": [plain(copy) for copy in running],
        "created_at_ns": operation.created_at,
        "ended_at_ns": operation.ended_at or None,
    }
    if operation.reshard is not None:
        found["old_layout_kept_until_ns"] = operation.reshard.kept_until or None
    if moves:
        names = operations.index_names()
        found["moves"] = [
            {
                "index": names.get(move.physical) or operation.args.get("index") or move.physical,
                "shard": move.shard,
                "to": move.target,
                "from": move.leaves,
            }
            for move in operation.moves
        ]
    return found


def plain(record: msgspec.Struct) -> dict[str, Any]:
    """Every field, also those that stand as they do by default: these are not stored, but shown."""
    return {name: msgspec.to_builtins(value) for name, value in msgspec.structs.asdict(record).items()}


def _moves_done(operation: OperationRecord, view: ClusterView) -> int:
    """What has been done is done, wherever a later operation moved it."""
    if operation.state is OperationState.DONE:
        return len(operation.moves)
    return sum(is_done(move, view) for move in operation.moves) if operation.id else 0

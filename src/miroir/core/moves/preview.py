"""What a plan costs, before it begins: documents, bytes, time, disk. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from miroir.core.moves.cluster_view import ClusterView, MoveLimits
from miroir.core.moves.operation_records import Move, OperationRecord, OperationState, Preview

#: documents a second that a copy is expected to make, as long as none was seen
_USUAL_RATE = 5000.0
#: an operation that moved fewer says little about the rate
_TELLING_DOCUMENTS = 1000
_USUAL_BYTES = 1024.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """What nodes say; whatever they did not say is estimated from averages."""

    documents: Mapping[tuple[str, int], int] = field(default_factory=dict)  #: (physical, shard) -> count
    document_bytes: Mapping[str, float] = field(default_factory=dict)  #: physical -> average
    disk_bytes: Mapping[str, int] = field(default_factory=dict)  #: node -> used now
    #: bytes on disk for one byte of documents: what an index adds to its documents
    disk_factor: float = 1.0


def preview(
    moves: Iterable[Move],
    view: ClusterView,
    limits: MoveLimits,
    *,
    sizes: Sizes | None = None,
    rate: float | None = None,
) -> Preview:
    """What `moves` cost.

    Args:
        moves: of one plan.
        view: the cluster they were planned for.
        limits: in force.
        sizes: measured; documents are exact for shards that are in it.
        rate: documents a second that copies made before, all together.
    """
    known = Sizes() if sizes is None else sizes
    replicas, exact = 0, True
    documents = size = 0.0
    gained: dict[str, float] = {}
    copied: set[tuple[str, str]] = set()
    for move in moves:
        if move.target is None:
            continue
        count = known.documents.get((move.physical, move.shard))
        share = view.documents.get(move.physical, 0) / max(1, len(view.placement[move.physical]))
        each = share if count is None else count
        exact = exact and count is not None
        average = known.document_bytes.get(move.physical) or view.document_bytes.get(move.physical)
        replicas += 1
        documents += each
        size += each * (average or _USUAL_BYTES)
        gained[move.target] = gained.get(move.target, 0.0) + each * (average or _USUAL_BYTES)
        copied.add((move.physical, move.target))
    peak = {node: math.ceil(more) for node, more in gained.items()}
    return Preview(
        replicas=replicas,
        documents=math.ceil(documents),
        size_bytes=math.ceil(size),
        seconds=round(_seconds(documents, size, len(copied), limits, rate or _USUAL_RATE), 1),
        peak_bytes=peak,
        peak_disk_bytes={
            node: known.disk_bytes[node] + math.ceil(more * known.disk_factor)
            for node, more in peak.items()
            if node in known.disk_bytes
        },
        exact=exact,
    )


def _seconds(documents: float, size: float, copies: int, limits: MoveLimits, rate: float) -> float:
    """Bounds are of each copy; as many run at once as may."""
    at_once = max(1, min(limits.copies_max, copies))
    times = [documents / rate]
    if limits.documents_per_s:
        times.append(documents / (limits.documents_per_s * at_once))
    if limits.bytes_per_s:
        times.append(size / (limits.bytes_per_s * at_once))
    return max(times)


def rate_of(operations: Iterable[OperationRecord]) -> float | None:
    """Documents a second that the last operation worth a look made, None without one."""
    told = [
        operation
        for operation in operations
        if operation.state is OperationState.DONE
        and operation.documents_moved >= _TELLING_DOCUMENTS
        and operation.ended_at > operation.created_at
        and operation.reshard is None  # which spends most of its time with keeping the old layout
    ]
    last = max(told, key=lambda operation: operation.ended_at, default=None)
    return None if last is None else last.documents_moved * 1e9 / (last.ended_at - last.created_at)

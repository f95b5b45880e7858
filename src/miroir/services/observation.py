"""The cluster at one moment, gathered from the services for whoever watches: admin routes, metrics, status."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from miroir.core.topology import NodeId, Snapshot
from miroir.core.writes.lanes import Lane
from miroir.services.writes.writes import WritePath


@dataclass(frozen=True, slots=True)
class NodeSight:
    """What calls to a node showed. `last_seen_ms`: since its last answer; None when it never gave one."""

    last_seen_ms: int | None = None
    error: str | None = None  #: of the last call, when it failed


@dataclass(frozen=True, slots=True)
class MoveSight:
    """What moves. `layouts_*`: second layouts of indexes; `patrol_ended_s`: since 1970, 0 before its first round ended."""

    operations: Mapping[tuple[str, str], int] = field(default_factory=dict)  #: (kind, state) -> open ones
    copies: Mapping[str, int] = field(default_factory=dict)  #: phase -> count
    layouts_built: int = 0
    layouts_kept: int = 0
    shards_unverified: int = 0
    patrol_ended_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Observed:
    """The cluster as the admin routes and the metrics show it. `lag_*`: of the lane of a node furthest behind."""

    snapshot: Snapshot
    sights: Mapping[NodeId, NodeSight] = field(default_factory=dict)
    lag_ops: Mapping[NodeId, int] = field(default_factory=dict)  #: settled ops a node has not applied
    lag_seconds: Mapping[NodeId, float] = field(default_factory=dict)  #: age of the oldest of them
    tasks: Mapping[str, int] = field(default_factory=dict)  #: status -> count
    log_bytes: int = 0
    log_oldest_s: float = 0.0
    moves: MoveSight = field(default_factory=MoveSight)


#: node -> (loop time of its last answer or None, what its last call failed with or None)
Sightings = Mapping[NodeId, tuple[float | None, str | None]]


def observe(writes: WritePath, sightings: Sightings, moves: MoveSight) -> Observed:
    """Walk lanes and tasks once."""
    now_s = writes.now_ns() / 1e9
    lag_ops: Counter[NodeId] = Counter()
    lag_seconds: dict[NodeId, float] = {}
    for track in writes.delivery.tracks.values():
        lag_ops[track.node] += unfinished(track.lane)
        oldest = track.lane.undone
        accepted_s = _accepted_s(writes, oldest)
        if accepted_s is not None:
            lag_seconds[track.node] = max(lag_seconds.get(track.node, 0.0), now_s - accepted_s)
    first = min(writes.log.ops, default=None)
    begun_s = _accepted_s(writes, first)
    return Observed(
        snapshot=writes.cluster.snapshot(),
        sights=_sights(sightings),
        lag_ops=lag_ops,
        lag_seconds=lag_seconds,
        tasks=writes.log.tasks.counts(),
        log_bytes=writes.log.kept_bytes,
        log_oldest_s=0.0 if begun_s is None else max(0.0, now_s - begun_s),
        moves=moves,
    )


def unfinished(lane: Lane) -> int:
    """Ops of a lane that have not ended on its node (again)."""
    out = len(lane.out.ops) if lane.out else 0
    return out + sum(len(request.ops) for request, _ in lane.accepted) + len(lane.log) - lane.cursor


def _accepted_s(writes: WritePath, op_id: int | None) -> float | None:
    op = None if op_id is None else writes.log.ops.get(op_id)
    return None if op is None else op.accepted_at / 1e9


def _sights(sightings: Sightings) -> dict[NodeId, NodeSight]:
    now = asyncio.get_running_loop().time()
    return {
        node: NodeSight(None if seen is None else round((now - seen) * 1000), error)
        for node, (seen, error) in sightings.items()
    }


Observe = Callable[[], Observed]

"""What of the cluster can be read now, and how its replicas are spread: reports made from one snapshot.

Read-only views for readiness, `/_miroir/topology`, `/_miroir/shards` and metrics; nothing here decides anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from miroir.core.topology import IndexView, NodeId, NodeLifecycle, ReplicaState, Snapshot


@dataclass(frozen=True, slots=True)
class IndexCoverage:
    """`readable`: shards with at least one replica that may answer; `degraded`: with fewer than wanted."""

    uid: str
    shards: int
    readable: int
    degraded: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """Coverage of all indexes, and replicas by node and state."""

    indexes: tuple[IndexCoverage, ...]
    replicas: dict[NodeId, dict[ReplicaState, int]] = field(default_factory=dict)

    @property
    def full(self) -> bool:
        """Whether every shard of every index can be read."""
        return all(index.readable == index.shards for index in self.indexes)

    @property
    def degraded_shards(self) -> int:
        return sum(index.degraded for index in self.indexes)

    @property
    def ratio(self) -> float:
        """Readable part of all shards; 1 when there are none."""
        shards = sum(index.shards for index in self.indexes)
        return sum(index.readable for index in self.indexes) / shards if shards else 1.0


def short_groups(
    placed: Iterable[tuple[str, ReplicaState]],
    good: Iterable[str],
    group_of: Callable[[str], int],
    wanted: int,
) -> bool:
    """Whether some group has fewer `good` replicas of a shard than it should: `wanted` of those placed on it.

    A copy on its way to another node is one more than wanted, and not missed until it is there.
    """
    there = Counter(group_of(node) for node, state in placed if state is not ReplicaState.RETIRING)
    found = Counter(group_of(node) for node in good)
    return any(found[group] < min(wanted, count) for group, count in there.items())


def coverage(snapshot: Snapshot, replication_factor: int) -> Coverage:
    """Walk every placement of the snapshot once."""
    replicas: dict[NodeId, Counter[ReplicaState]] = {node: Counter() for node in snapshot.nodes}
    indexes = []
    for index in snapshot.indexes.values():
        readable = degraded = 0
        for shard, placed in enumerate(index.placement):
            answering = snapshot.readable(index, shard)
            readable += bool(answering)
            degraded += short_groups(placed.items(), answering, snapshot.group_of, replication_factor)
            for node, state in placed.items():
                replicas.setdefault(node, Counter())[state] += 1
        indexes.append(IndexCoverage(index.uid, index.shard_count, readable, degraded))
    return Coverage(tuple(indexes), {node: dict(counts) for node, counts in replicas.items()})


def ready(snapshot: Snapshot, replication_factor: int) -> bool:
    """Whether a client is served everything: a covering set is reachable, for the indexes there are and new ones.

    For new ones: in some group fewer members are away than a shard has replicas there.
    """
    members: Counter[int] = Counter()
    away: Counter[int] = Counter()
    for node in snapshot.nodes.values():
        if node.lifecycle is NodeLifecycle.ACTIVE:
            members[node.group] += 1
            away[node.group] += node.id not in snapshot.live
    return (
        any(away[group] < replication_factor for group in members)
        and coverage(snapshot, replication_factor).full
    )


def shard_table(snapshot: Snapshot, index: IndexView) -> list[dict[str, object]]:
    """One row per shard: {shard, replicas: [{node, group, state, readable}]}, replicas in placement order."""
    rows: list[dict[str, object]] = []
    for shard, placed in enumerate(index.placement):
        readable = set(snapshot.readable(index, shard))
        replicas = [
            {
                "node": node,
                "group": snapshot.nodes[node].group if node in snapshot.nodes else None,
                "state": state.value,
                "readable": node in readable,
            }
            for node, state in placed.items()
        ]
        rows.append({"shard": shard, "replicas": replicas})
    return rows

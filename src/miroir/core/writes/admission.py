"""Whether a write may be accepted now: enough live in-sync copies of each shard it touches (design.md, D2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from miroir.core.coverage import short_groups
from miroir.core.topology import ReplicaState


@dataclass(frozen=True, slots=True)
class Admission:
    """`refused` shards lack copies to accept the write; `degraded` ones have fewer than configured."""

    refused: tuple[int, ...] = ()
    degraded: tuple[int, ...] = ()


def admit(
    placement: Sequence[Mapping[str, ReplicaState]],
    shards: Collection[int] | None,
    *,
    writable: Callable[[str, int], bool],
    group_of: Callable[[str], int],
    min_in_sync: int,
    majority: bool,
    replication_factor: int,
) -> Admission:
    """Check the touched shards (None: all).

    Args:
        placement: shard -> node -> state.
        shards: touched ones.
        writable: whether a node is up and its replica of the shard is not behind.
        group_of: replica group of a node.
        min_in_sync: copies needed per shard.
        majority: also floor(RF/2)+1 of a group's copies, in at least one group.
        replication_factor: copies wanted in each group; one being made for another node is not counted.
    """
    refused: list[int] = []
    degraded: list[int] = []
    for shard in range(len(placement)) if shards is None else sorted(shards):
        replicas = placement[shard]
        good = [n for n, state in replicas.items() if state is ReplicaState.IN_SYNC and writable(n, shard)]
        wanted = Counter(group_of(n) for n, state in replicas.items() if state is not ReplicaState.RETIRING)
        enough = any(
            sum(group_of(node) == group for node in good) >= min(replication_factor, count) // 2 + 1
            for group, count in wanted.items()
        )
        if len(good) < min_in_sync or (majority and not enough):
            refused.append(shard)
        elif short_groups(replicas.items(), good, group_of, replication_factor):
            degraded.append(shard)
    return Admission(tuple(refused), tuple(degraded))

"""Whether a write may be accepted now: enough live in-sync copies of each shard it touches (design.md, D2)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

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
    writable: Callable[[str], bool],
    group_of: Callable[[str], int],
    min_in_sync: int,
    majority: bool,
) -> Admission:
    """Check the touched shards (None: all).

    Args:
        placement: shard -> node -> state.
        shards: touched ones.
        writable: whether a node is up and its lane of this index is not behind.
        group_of: replica group of a node.
        min_in_sync: copies needed per shard.
        majority: also floor(RF/2)+1 of a group's copies, in at least one group.
    """
    refused: list[int] = []
    degraded: list[int] = []
    for shard in range(len(placement)) if shards is None else sorted(shards):
        replicas = placement[shard]
        good = [node for node, state in replicas.items() if state is ReplicaState.IN_SYNC and writable(node)]
        wanted = [node for node, state in replicas.items() if state is not ReplicaState.RETIRING]
        if len(good) < min_in_sync or (majority and not _some_majority(good, wanted, group_of)):
            refused.append(shard)
        elif len(good) < len(wanted):
            degraded.append(shard)
    return Admission(tuple(refused), tuple(degraded))


def _some_majority(good: Sequence[str], wanted: Sequence[str], group_of: Callable[[str], int]) -> bool:
    groups = {group_of(node) for node in wanted}
    return any(
        sum(group_of(node) == group for node in good)
        >= sum(group_of(node) == group for node in wanted) // 2 + 1
        for group in groups
    )

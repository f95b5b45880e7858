"""Changing the rules of an index group by group, so that no answer comes from nodes with different rules. Pure.

First one replica group changes while the others answer, then all at once the answers come from it, and the others
follow. Needs two groups that can each answer alone; else all nodes change at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from miroir.core.topology import ReplicaState


@dataclass(frozen=True, slots=True)
class Halves:
    """`first` changes while `rest` answers, then the other way round."""

    first: frozenset[str]
    rest: frozenset[str]


def covers(
    placement: Sequence[Mapping[str, ReplicaState]], nodes: frozenset[str], readable: Callable[[str], bool]
) -> bool:
    """Whether `nodes` alone can answer for every shard."""
    return all(
        any(
            state is ReplicaState.IN_SYNC and node in nodes and readable(node)
            for node, state in replicas.items()
        )
        for replicas in placement
    )


def halves(
    placement: Sequence[Mapping[str, ReplicaState]],
    group_of: Callable[[str], int],
    readable: Callable[[str], bool],
) -> Halves | None:
    """Which nodes change first; None when the index cannot be answered from two sides.

    Args:
        placement: shard -> node -> state.
        group_of: replica group of a node.
        readable: whether a node is up and not behind.
    """
    members = frozenset(node for replicas in placement for node in replicas)
    for group in sorted({group_of(node) for node in members}):
        first = frozenset(node for node in members if group_of(node) == group)
        rest = members - first
        if rest and covers(placement, first, readable) and covers(placement, rest, readable):
            return Halves(first, rest)
    return None


def group_count(placement: Sequence[Mapping[str, ReplicaState]], group_of: Callable[[str], int]) -> int:
    """How many replica groups hold parts of an index."""
    return len({group_of(node) for replicas in placement for node in replicas})

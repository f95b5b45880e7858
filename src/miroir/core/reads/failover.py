"""Whom a read turns to when nodes fail it: those of sound health, then those in doubt, then those that were late. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from miroir.core.reads.covering import SUSPECT, Rank, by_health
from miroir.core.topology import NodeId, Snapshot

#: of a node that was late for this request: after all others, for it has had its chance
LATE = SUSPECT + 1


@dataclass(slots=True)
class Trouble:
    """What one request had with nodes: these gave no answer, or had given none when it was time for one."""

    failed: set[NodeId] = field(default_factory=set)
    late: set[NodeId] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.failed or self.late)


def rank_of(snapshot: Snapshot, trouble: Trouble, *, suspects: bool) -> Rank:
    """By health, but for what the request itself has seen: failed nodes are not asked again, late ones last."""
    health = by_health(snapshot, suspects=suspects)

    def rank(node: NodeId) -> int | None:
        if node in trouble.failed:
            return None
        known = health(node)
        return LATE if known is not None and node in trouble.late else known

    return rank

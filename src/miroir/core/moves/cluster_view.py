"""The cluster as planning sees it, and the bounds of moving data. Pure values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from miroir.core.topology import NodeLifecycle, ReplicaState


@dataclass(frozen=True, slots=True)
class Member:
    """A node as planning sees it. `gone`: down for longer than the grace time."""

    id: str
    group: int
    lifecycle: NodeLifecycle
    live: bool = True
    gone: bool = False
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class ClusterView:
    """Everything a plan is made from, at one moment."""

    members: Mapping[str, Member]
    placement: Mapping[str, Sequence[Mapping[str, ReplicaState]]]  #: of indexes that exist
    replication_factor: int
    documents: Mapping[str, int] = field(default_factory=dict)
    document_bytes: Mapping[str, int] = field(default_factory=dict)  #: average, per index

    def takers(self) -> list[Member]:
        """Nodes that should hold replicas, by id."""
        return [
            member
            for _, member in sorted(self.members.items())
            if member.lifecycle is NodeLifecycle.ACTIVE and not member.gone
        ]


@dataclass(frozen=True, slots=True)
class MoveLimits:
    """Bounds of moving data; `core` uses the first three, the copier the rest."""

    copies_max: int = 2
    shards_per_copy: int = 8
    documents_per_s: float = 0.0  #: 0: no limit
    bytes_per_s: float = 0.0
    page_documents: int = 1000
    page_bytes: int = 8 << 20
    grace_s: float = 900.0
    attempts_max: int = 10
    barrier_s: float = 10.0
    request_timeout_s: float = 60.0
    reader_timeout_s: float = 30.0
    slow_ms: float = 500.0  #: a source slower than this gets a pause as long as its answer took

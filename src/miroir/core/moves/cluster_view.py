"""The cluster as planning sees it, and the bounds of moving data. Pure values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from math import gcd

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
class OtherLayout:
    """The same documents, cut otherwise."""

    name: str
    shards: Sequence[Mapping[str, ReplicaState]]

    def has_part_of(self, shard: int, count: int) -> Iterator[int]:
        """Its shards in which documents of `shard` of `count` lie: those equal to it modulo what both counts share."""
        common = gcd(count, len(self.shards))
        return (one for one in range(len(self.shards)) if one % common == shard % common)


@dataclass(frozen=True, slots=True)
class ClusterView:
    """Everything a plan is made from, at one moment."""

    members: Mapping[str, Member]
    placement: Mapping[str, Sequence[Mapping[str, ReplicaState]]]  #: of indexes that exist
    replication_factor: int
    documents: Mapping[str, int] = field(default_factory=dict)
    document_bytes: Mapping[str, int] = field(default_factory=dict)  #: average, per index
    #: layout -> the other layout of its index, that a shard without a copy of its own can be read from
    other: Mapping[str, OtherLayout] = field(default_factory=dict)
    lagging: Set[tuple[str, str]] = (
        frozenset()
    )  #: (node, layout) that have not applied everything that was reported

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
    retention_s: float = 86400.0  #: how long the old layout of a resharded index is fed
    scrub_interval_s: float = 86400.0  #: between the beginnings of two comparisons of everything; 0: never
    scrub_documents_per_s: float = 500.0  #: read of a replica for it; 0: no limit
    slow_ms: float = 500.0  #: a source slower than this gets a pause as long as its answer took

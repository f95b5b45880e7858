"""Nodes, groups, shards, and the immutable picture of the cluster that one request uses to its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NewType

NodeId = NewType("NodeId", str)
GroupId = NewType("GroupId", int)
ShardId = NewType("ShardId", int)
#: The name an index has on the nodes; never changes, never shown to clients.
PhysicalUid = NewType("PhysicalUid", str)


class NodeLifecycle(StrEnum):
    """What the operator wants of a node; health is another matter."""

    JOINING = "joining"
    ACTIVE = "active"
    DRAINING = "draining"
    REMOVED = "removed"


class ReplicaState(StrEnum):
    """State of one replica: one (index, shard) on one node."""

    COPYING = "copying"  #: target of a copy; ops after the boundary are held for it
    IN_SYNC = "in_sync"  #: holds every op its lane has applied; may answer reads when the lane is caught up
    STALE = "stale"  #: missed something for good; must be rebuilt by a copy
    RETIRING = "retiring"  #: no longer read; to be deleted when no reader of the old epoch is left


@dataclass(frozen=True, slots=True)
class Node:
    id: NodeId
    address: str  #: base URL, without a trailing slash
    group: GroupId = GroupId(0)
    weight: float = 1.0
    lifecycle: NodeLifecycle = NodeLifecycle.ACTIVE


#: shard -> node -> state; index = shard number. Identical tables are shared between indexes.
Placement = tuple[Mapping[NodeId, ReplicaState], ...]


@dataclass(frozen=True, slots=True)
class IndexView:
    """One index as readers see it: everything up to its last completed task."""

    uid: str
    physical_uid: PhysicalUid
    primary_key: str | None
    placement: Placement
    settings: Mapping[str, Any]  #: the client's effective settings, canonical keys, secrets in clear
    created_at: int  #: ns since 1970
    updated_at: int
    field_order: tuple[str, ...] = ()  #: top-level names in order of first appearance in the whole index
    key: str = (
        ""  #: of the index in catalogue and books; another layout has another physical uid, not another key
    )
    exact: bool = False  #: vocabulary documents are kept on the shards

    @property
    def shard_count(self) -> int:
        return len(self.placement)


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Snapshot:
    """The cluster at one moment. A request takes one and never looks again.

    `lagging` holds the lanes (node, physical index) that have not applied some op the cluster has already
    reported as succeeded: their replicas must not answer reads. Where that is known of some shards only, those are
    in `behind`, and the node's other replicas may.

    `doubted` nodes are live but answer late; `suspects` are not live, but were a moment ago. Both hold what they hold,
    and are asked where nobody else can answer.
    """

    epoch: int
    nodes: Mapping[NodeId, Node] = field(default_factory=dict)
    live: frozenset[NodeId] = frozenset()
    lagging: frozenset[tuple[NodeId, PhysicalUid]] = frozenset()
    indexes: Mapping[str, IndexView] = field(default_factory=dict)
    doubted: frozenset[NodeId] = frozenset()
    suspects: frozenset[NodeId] = frozenset()
    behind: Mapping[tuple[NodeId, PhysicalUid], frozenset[int]] = field(default_factory=dict)

    def group_of(self, node: str) -> int:
        """Replica group of a node; -1 for one that is not known."""
        known = self.nodes.get(NodeId(node))
        return -1 if known is None else known.group

    def current(self, index: IndexView, shard: int) -> tuple[NodeId, ...]:
        """Nodes whose replica of `shard` holds all that was reported as done, up or not, in the placement's order."""
        return tuple(
            node
            for node, state in index.placement[shard].items()
            if state is ReplicaState.IN_SYNC and not self._lags(node, index.physical_uid, shard)
        )

    def readable(self, index: IndexView, shard: int) -> tuple[NodeId, ...]:
        """Nodes whose replica of `shard` may answer a read now, in the placement's order."""
        return tuple(node for node in self.current(index, shard) if node in self.live)

    def _lags(self, node: NodeId, physical: PhysicalUid, shard: int) -> bool:
        lane = (node, physical)
        if lane not in self.lagging:
            return False
        only = self.behind.get(lane)
        return only is None or shard in only

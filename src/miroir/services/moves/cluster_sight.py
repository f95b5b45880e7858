"""The cluster as planning sees it: members, how long they have been away, placement, sizes."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence

from miroir.core.moves.cluster_view import ClusterView, Member, MoveLimits, OtherLayout
from miroir.core.records import NodeRecord, weight_of
from miroir.core.topology import NodeId, NodeLifecycle, ReplicaState
from miroir.services.cluster import Cluster


class ClusterSight:
    """Remembers since when nodes are down.

    A restart of the orchestrator begins to count anew, but for nodes that were being made up for: those stay gone
    until they answer.
    """

    def __init__(self, cluster: Cluster, replication_factor: int) -> None:
        self._cluster = cluster
        self._factor = replication_factor
        self._down_since: dict[str, float] = {}
        self._given_up: set[str] = set()

    def give_up(self, nodes: Iterable[str]) -> None:
        """These were gone already when the process before ended."""
        self._given_up.update(nodes)

    def look(self) -> None:
        """Note who is down now."""
        now = asyncio.get_running_loop().time()
        for node in self._cluster.nodes.values():
            if NodeId(node.id) in self._cluster.live or node.lifecycle == NodeLifecycle.REMOVED:
                self._down_since.pop(node.id, None)
                self._given_up.discard(node.id)
            else:
                self._down_since.setdefault(node.id, now)

    def gone(self, node: str, limits: MoveLimits) -> bool:
        """Whether the node is down for longer than the grace time."""
        if node in self._given_up:
            return True
        since = self._down_since.get(node)
        return since is not None and asyncio.get_running_loop().time() - since > limits.grace_s

    def view(
        self,
        limits: MoveLimits,
        changed: Mapping[str, NodeRecord] | None = None,
        replication_factor: int | None = None,
        *,
        without: Collection[str] = (),
    ) -> ClusterView:
        """The cluster now, with `changed` nodes in place of those there are, but for some layouts."""
        placed = {
            layout: record.shards
            for layout, record in self._cluster.placement.items()
            if layout not in without and self._cluster.index_of(layout) is not None
        }
        return self.view_of(placed, limits, changed, replication_factor)

    def view_of(
        self,
        placed: Mapping[str, Sequence[Mapping[str, ReplicaState]]],
        limits: MoveLimits,
        changed: Mapping[str, NodeRecord] | None = None,
        replication_factor: int | None = None,
    ) -> ClusterView:
        """The cluster now as if it had nothing but these layouts."""
        cluster = self._cluster
        nodes = {**cluster.nodes, **(changed or {})}
        indexes = {layout: index for layout in placed if (index := cluster.index_of(layout)) is not None}
        return ClusterView(
            members={
                node.id: Member(
                    node.id,
                    node.group,
                    NodeLifecycle(node.lifecycle),
                    live=NodeId(node.id) in cluster.live,
                    gone=self.gone(node.id, limits),
                    weight=weight_of(node),
                )
                for node in nodes.values()
            },
            placement=placed,
            replication_factor=replication_factor or cluster.replication_factor or self._factor,
            documents={layout: index.document_count for layout, index in indexes.items()},
            lagging=cluster.snapshot().lagging,
            other={
                layout: OtherLayout(other, cluster.placement[other].shards)
                for layout, index in indexes.items()
                if (other := index.other_layout if layout == index.layout else index.layout) is not None
                and other in cluster.placement
            },
        )

"""How far nodes are with a layout: which may be read from, and whether everything sequenced has arrived."""

from __future__ import annotations

from collections.abc import Collection

from miroir.core.moves.cluster_view import OtherLayout
from miroir.core.topology import NodeId, ReplicaState
from miroir.services.cluster import Cluster
from miroir.services.moves.held_ops import HeldOps
from miroir.services.moves.sources import Cut, Source, holders_of
from miroir.services.writes.lanes import Delivery
from miroir.services.writes.node_requests import last_step


class Standing:
    """Looks at lanes; changes nothing."""

    def __init__(self, cluster: Cluster, delivery: Delivery, held: HeldOps) -> None:
        self._cluster = cluster
        self._delivery = delivery
        self._held = held

    def reached(self, layout: str, node: str, op: int) -> bool:
        """Whether the node has certainly applied everything of the layout up to `op`."""
        stored = self._cluster.lanes.get((layout, node))
        if stored is not None and stored.lagging:
            return False
        lane = self._delivery.lane(layout, node)
        return lane is None or lane.settled_to(last_step(op))

    def at_rest(self, layout: str, node: str) -> bool:
        """Whether the node has applied everything that was sequenced."""
        return self.reached(layout, node, self.last_op(layout))

    def last_op(self, layout: str) -> int:
        """The last sequenced op of the layout's index."""
        return self._held.last_op(layout)

    def usable(self, layout: str, shard: int, op: int) -> list[str]:
        """Live nodes that hold the shard in sync and have applied everything up to `op`."""
        return [
            node
            for node, state in self._cluster.placement[layout].shards[shard].items()
            if state is ReplicaState.IN_SYNC
            and NodeId(node) in self._cluster.live
            and self.reached(layout, node, op)
        ]

    def other_layout(self, origin: str, wanted: Cut, op: int) -> Source | None:
        """Where in the layout `origin` the documents of the wanted shards are; None when some cannot be read now."""
        record = self._cluster.placement.get(origin)
        if record is None or self._cluster.index_of(origin) is None:
            return None
        other = OtherLayout(origin, record.shards)
        parts = {part for shard in wanted.shards for part in other.has_part_of(shard, wanted.count)}
        usable = {part: self.usable(origin, part, op) for part in parts}
        holders = holders_of(record.shards, sorted(parts), usable)
        return None if holders is None else Source(origin, len(record.shards), holders, wanted)

    def one_node(
        self, layout: str, shards: Collection[int], op: int, *, but: Collection[str] = ()
    ) -> Source | None:
        """One node that holds all of these shards, a late one if it must be; None when there is none, or nothing to read."""
        if not shards:
            return None
        count = len(self._cluster.placement[layout].shards)
        found = set.intersection(*(set(self.usable(layout, shard, op)) for shard in shards)) - set(but)
        if not found:
            return None
        wanted = Cut(layout, count, frozenset(shards))
        node = min(found, key=lambda one: (NodeId(one) in self._cluster.doubted, one))
        return Source(layout, count, dict.fromkeys(shards, node), wanted)

"""Which nodes should hold which shards: rendezvous hashing proposes, caps and the table in force decide.

Plain rendezvous hashing over 64 shards is uneven and moves too much when a node joins (design.md, D3). So:
the first table takes every shard's best nodes up to ceil(shards x copies / nodes) each, then evens out; later
tables change as little as they can. A proposal moves nothing: the caller compares it with what is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from miroir.core.hashing import rendezvous_score
from miroir.core.topology import GroupId, Node, NodeId

#: shard -> nodes of one replica group that hold it
Owners = tuple[tuple[NodeId, ...], ...]


def propose(
    nodes: Sequence[Node],
    groups: Collection[GroupId],
    shard_count: int,
    replication_factor: int,
    current: Mapping[GroupId, Owners] | None = None,
) -> dict[GroupId, Owners]:
    """Owners of every shard in every group.

    In each group every shard has `replication_factor` distinct nodes (all of them where the group is smaller;
    none where it is empty). With `current`: a node that left gives up its shards and no others move; a node
    that joined takes its share (shards x copies / nodes, rounded down) from the fullest and nothing else
    moves. Proposing again from a proposal changes nothing.
    """
    return {
        group: _propose_group(
            sorted(node.id for node in nodes if node.group == group),
            shard_count,
            replication_factor,
            None if current is None else current.get(group),
        )
        for group in sorted(groups)
    }


def _propose_group(
    nodes: Sequence[NodeId], shard_count: int, replication_factor: int, current: Owners | None
) -> Owners:
    copies = min(replication_factor, len(nodes))
    if not copies:
        return ((),) * shard_count
    table = _Table(nodes, shard_count, copies)
    if current is None:
        table.fill_by_rendezvous()
        table.raise_nodes_below(table.share)
    else:
        table.keep(current)
        table.fill_evenly()
        table.raise_nodes_below((table.share + 1) // 2)
    return table.owners()


class _Table:
    """Owners under construction. `share` is what a node holds at least when loads are even."""

    def __init__(self, nodes: Sequence[NodeId], shard_count: int, copies: int) -> None:
        self._nodes = nodes
        self._copies = copies
        self._held: dict[NodeId, set[int]] = {node: set() for node in nodes}
        self._owners: list[list[NodeId]] = [[] for _ in range(shard_count)]
        self.share, rest = divmod(shard_count * copies, len(nodes))
        self._cap = self.share + bool(rest)

    def owners(self) -> Owners:
        """Each shard's nodes, those that want it most first."""
        return tuple(
            tuple(sorted(owners, key=lambda node: (-rendezvous_score(shard, node), node)))
            for shard, owners in enumerate(self._owners)
        )

    def keep(self, current: Owners) -> None:
        """Start from the table in force, without nodes that left and without copies too many."""
        for shard, owners in enumerate(current):
            for node in owners:
                if node in self._held:
                    self._give(shard, node)
        for shard, holders in enumerate(self._owners):
            while len(holders) > self._copies:
                fullest = max(
                    holders, key=lambda node: (len(self._held[node]), -rendezvous_score(shard, node))
                )
                self._take(shard, fullest)

    def fill_by_rendezvous(self) -> None:
        """Every missing copy to the node that wants the shard most and has room."""
        for shard, owners in enumerate(self._owners):
            wanting = sorted(self._nodes, key=lambda node: (-rendezvous_score(shard, node), node))
            for node in wanting:
                if len(owners) < self._copies and len(self._held[node]) < self._cap:
                    self._give(shard, node)
            while len(owners) < self._copies:
                self._make_room(shard, wanting)

    def _make_room(self, shard: int, wanting: Sequence[NodeId]) -> None:
        """All room is on nodes that hold the shard: pass another shard to one of them.

        A full node holds more shards than one with room, so there is always one to pass on.
        """
        full = next(node for node in wanting if node not in self._owners[shard])
        roomy = next(node for node in wanting if len(self._held[node]) < self._cap)
        self._move(min(self._held[full] - self._held[roomy]), full, roomy)
        self._give(shard, full)

    def fill_evenly(self) -> None:
        """Every missing copy to the emptiest node that lacks it."""
        for shard, owners in enumerate(self._owners):
            while len(owners) < self._copies:
                lacking = [node for node in self._nodes if node not in owners]
                self._give(
                    shard,
                    min(
                        lacking,
                        key=lambda node: (len(self._held[node]), -rendezvous_score(shard, node), node),
                    ),
                )

    def raise_nodes_below(self, floor: int) -> None:
        """Nodes that hold less than `floor` take their share, one shard at a time from the fullest."""
        for node in self._nodes:
            if len(self._held[node]) >= floor:
                continue
            while len(self._held[node]) < self.share:
                giver = max(
                    self._nodes,
                    key=lambda other: (
                        len(self._held[other] - self._held[node]) > 0,
                        len(self._held[other]),
                        other,
                    ),
                )
                movable = self._held[giver] - self._held[node]
                if not movable or len(self._held[giver]) <= len(self._held[node]) + 1:
                    break
                self._move(
                    max(movable, key=lambda shard: (rendezvous_score(shard, node), shard)), giver, node
                )

    def _give(self, shard: int, node: NodeId) -> None:
        self._owners[shard].append(node)
        self._held[node].add(shard)

    def _take(self, shard: int, node: NodeId) -> None:
        self._owners[shard].remove(node)
        self._held[node].remove(shard)

    def _move(self, shard: int, giver: NodeId, taker: NodeId) -> None:
        self._take(shard, giver)
        self._give(shard, taker)

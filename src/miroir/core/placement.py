"""Which nodes should hold which shards: rendezvous hashing proposes, quotas and the table in force decide.

Plain rendezvous hashing over 64 shards is uneven and moves too much when a node joins (design.md, D3). So every node has a
quota, shards x copies by weight. The first table takes every shard's best nodes as far as quotas allow; later tables
change as little as they can. A proposal moves nothing: the caller compares it with what is.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence

from miroir.core.hashing import rendezvous_score
from miroir.core.topology import GroupId, Node, NodeId

#: shard -> nodes of one replica group that hold it
Owners = tuple[tuple[NodeId, ...], ...]

_ROUNDING = 1e-9


def propose(
    nodes: Sequence[Node],
    groups: Collection[GroupId],
    shard_count: int,
    replication_factor: int,
    current: Mapping[GroupId, Owners] | None = None,
) -> dict[GroupId, Owners]:
    """Owners of every shard in every group.

    In each group every shard has `replication_factor` distinct nodes (all of them where the group is smaller;
    none where it is empty), and every node holds its quota, rounded down or up. With `current`: replicas of nodes that
    left go to those that lack most, a node that joined or became heavier takes its quota (rounded down) from
    those that have most too many, and nothing else moves. Proposing again from a proposal changes nothing.
    """
    return {
        group: _propose_group(
            {node.id: node.weight for node in sorted(nodes, key=lambda n: n.id) if node.group == group},
            shard_count,
            replication_factor,
            None if current is None else current.get(group),
        )
        for group in sorted(groups)
    }


def quotas(weights: Mapping[NodeId, float], shard_count: int, copies: int) -> dict[NodeId, float]:
    """Replicas each node should hold, by weight: `shard_count * copies` in all, and no shard twice on one node."""
    found: dict[NodeId, float] = {}
    open_nodes, left = dict(weights), float(shard_count * copies)
    while open_nodes:
        each = left / sum(open_nodes.values())
        full = [node for node, weight in open_nodes.items() if weight * each > shard_count]
        if not full:
            return found | {node: weight * each for node, weight in open_nodes.items()}
        for node in full:
            found[node] = float(shard_count)
            left -= shard_count
            del open_nodes[node]
    return found


def _propose_group(
    weights: Mapping[NodeId, float], shard_count: int, replication_factor: int, current: Owners | None
) -> Owners:
    copies = min(replication_factor, len(weights))
    if not copies:
        return ((),) * shard_count
    table = _Table(weights, shard_count, copies)
    if current is None:
        table.fill_by_rendezvous()
    else:
        table.keep(current)
        table.fill_evenly()
    table.even_out()
    return table.owners()


class _Table:
    """Owners under construction. A node holds at least `_floor`, at most `_cap`: its quota rounded down and up."""

    def __init__(self, weights: Mapping[NodeId, float], shard_count: int, copies: int) -> None:
        self._weights = weights
        self._copies = copies
        self._held: dict[NodeId, set[int]] = {node: set() for node in weights}
        self._kept: dict[NodeId, set[int]] = {node: set() for node in weights}  #: held in the table in force
        self._owners: list[list[NodeId]] = [[] for _ in range(shard_count)]
        self._quota = quotas(weights, shard_count, copies)
        self._floor = {node: math.floor(quota + _ROUNDING) for node, quota in self._quota.items()}
        self._cap = {node: math.ceil(quota - _ROUNDING) for node, quota in self._quota.items()}

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
                self._take(
                    shard,
                    max(holders, key=lambda node: (self._surplus(node), -rendezvous_score(shard, node))),
                )
        self._kept = {node: set(held) for node, held in self._held.items()}

    def fill_by_rendezvous(self) -> None:
        """Every missing copy to the node that wants the shard most and has room."""
        for shard, owners in enumerate(self._owners):
            wanting = sorted(self._held, key=lambda node: self._appetite(shard, node), reverse=True)
            for node in wanting:
                if len(owners) < self._copies and self._has_room(node):
                    self._give(shard, node)
            while len(owners) < self._copies:
                # All room is on nodes that hold the shard: one that does not passes another shard on.
                lacking = [node for node in wanting if node not in owners]
                freed = self._pass_on(lacking, self._has_room)
                self._give(shard, lacking[0] if freed is None else freed)

    def fill_evenly(self) -> None:
        """Every missing copy to the node that lacks most and does not hold the shard."""
        for shard, owners in enumerate(self._owners):
            while len(owners) < self._copies:
                lacking = [node for node in self._held if node not in owners]
                self._give(
                    shard,
                    min(
                        lacking,
                        key=lambda node: (self._surplus(node), -rendezvous_score(shard, node), node),
                    ),
                )

    def even_out(self) -> None:
        """Nodes below their quota take from those that have most too many; nobody keeps more than its quota."""
        for node in self._held:
            while len(self._held[node]) < self._floor[node]:
                givers = [n for n in self._fullest() if len(self._held[n]) > self._floor[n]]
                if self._pass_on(givers, lambda other, node=node: other == node) is None:  # type: ignore[misc]
                    break
        for node in self._held:
            while len(self._held[node]) > self._cap[node]:
                if self._pass_on([node], self._has_room) is None:
                    break

    def _pass_on(self, givers: Sequence[NodeId], takes: Callable[[NodeId], bool]) -> NodeId | None:
        """One shard goes from a giver to a node that `takes`, by way of others where it must; the giver.

        What is not in the table in force moves at no cost, so that is tried first; the shortest way is taken.
        """
        for free in (True, False):
            way = self._way(givers, takes, free=free)
            if way is not None:
                for giver, taker in itertools.pairwise(way):
                    movable = self._movable(giver, taker, free=free)
                    self._move(
                        max(movable, key=lambda shard: (rendezvous_score(shard, taker), shard)), giver, taker
                    )
                return way[0]
        return None

    def _way(
        self, givers: Sequence[NodeId], takes: Callable[[NodeId], bool], *, free: bool
    ) -> list[NodeId] | None:
        takers = [node for node in self._held if takes(node)]
        for giver in givers:
            for taker in takers:
                if taker != giver and self._movable(giver, taker, free=free):
                    return [giver, taker]
        ways = deque([node] for node in givers)
        seen = {way[0] for way in ways}
        while ways:
            way = ways.popleft()
            for node in self._held:
                if node not in seen and self._movable(way[-1], node, free=free):
                    if takes(node):
                        return [*way, node]
                    seen.add(node)
                    ways.append([*way, node])
        return None

    def _movable(self, giver: NodeId, taker: NodeId, *, free: bool) -> set[int]:
        held = self._held[giver] - self._kept[giver] if free else self._held[giver]
        return held - self._held[taker]

    def _fullest(self) -> list[NodeId]:
        return sorted(self._held, key=lambda node: (-self._surplus(node), node))

    def _surplus(self, node: NodeId) -> float:
        return len(self._held[node]) - self._quota[node]

    def _has_room(self, node: NodeId) -> bool:
        return len(self._held[node]) < self._cap[node]

    def _appetite(self, shard: int, node: NodeId) -> tuple[float, int]:
        """Weighted rendezvous hashing: a node wins as many shards as its weight says."""
        score = rendezvous_score(shard, node)
        return -self._weights[node] / math.log((score // 2048 + 0.5) / 2**53), score

    def _give(self, shard: int, node: NodeId) -> None:
        self._owners[shard].append(node)
        self._held[node].add(shard)

    def _take(self, shard: int, node: NodeId) -> None:
        self._owners[shard].remove(node)
        self._held[node].remove(shard)

    def _move(self, shard: int, giver: NodeId, taker: NodeId) -> None:
        self._take(shard, giver)
        self._give(shard, taker)

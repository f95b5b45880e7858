"""Which node answers for which shard in one read, and the filter that keeps it to those shards.

A covering set asks every shard exactly once. Every stored document carries its shard; a node that holds
more than it answers for gets a filter (design.md, D5), or shards with two replicas would count twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from miroir.core.reserved import GHOST_FIELD, GHOST_MARK, SHARD_FIELD, encode_shard
from miroir.core.topology import IndexView, NodeId, ReplicaState, Snapshot


@dataclass(frozen=True, slots=True)
class Share:
    """What one node answers for. `shard_filter` None: it holds exactly these shards' documents."""

    node: NodeId
    shards: tuple[int, ...]
    shard_filter: str | None


@dataclass(frozen=True, slots=True)
class Covering:
    """`shares` are ordered by node id; `missing` are shards without a readable replica."""

    shares: tuple[Share, ...]
    missing: tuple[int, ...]


#: of a node: the lower, the rather it is asked; None: not at all
Rank = Callable[[NodeId], int | None]

SOUND, DOUBTED, SUSPECT = 0, 1, 2


def by_health(snapshot: Snapshot, *, suspects: bool = False) -> Rank:
    """Nodes that answer in time before those that are late, and those before `suspects`, if these at all."""

    def rank(node: NodeId) -> int | None:
        if node in snapshot.live:
            return DOUBTED if node in snapshot.doubted else SOUND
        return SUSPECT if suspects and node in snapshot.suspects else None

    return rank


def hopeless(snapshot: Snapshot, index: IndexView) -> list[int]:
    """Shards without a whole replica on a node that answers, or may again in a moment: waiting does not help them."""
    near = snapshot.live | snapshot.suspects
    return [
        shard
        for shard, replicas in enumerate(index.placement)
        if not any(state is ReplicaState.IN_SYNC and node in near for node, state in replicas.items())
    ]


def cover(
    snapshot: Snapshot,
    index: IndexView,
    *,
    rotation: int = 0,
    shards: Iterable[int] | None = None,
    rank: Rank | None = None,
) -> Covering:
    """Choose one replica per shard so that few nodes are asked: among those that have everything, of the lowest rank.

    `rotation` spreads equal choices over requests; `shards` restricts the question (a retry asks only for what
    a failed node owed), None meaning all of them. Without a `rank` nodes go by their health, suspects left out.

    A single replica group is preferred when it covers everything: its nodes hold little besides what they
    answer for, so filters are short. Else greedy: the node that still answers for most shards, first.
    """
    wanted = range(index.shard_count) if shards is None else sorted(set(shards))
    rank = rank or by_health(snapshot)
    readable: dict[int, tuple[NodeId, ...]] = {}
    missing = []
    for shard in wanted:
        ranked = [
            (place, node) for node in snapshot.current(index, shard) if (place := rank(node)) is not None
        ]
        if ranked:
            best = min(place for place, _ in ranked)
            readable[shard] = tuple(node for place, node in ranked if place == best)
        else:
            missing.append(shard)
    candidates = _within_one_group(snapshot, readable, rotation) or readable
    chosen = _choose(candidates, rotation)
    held = _held(index, chosen)
    shares = tuple(
        Share(node, tuple(mine), _without_ghosts(index, _shard_filter(mine, held[node])))
        for node, mine in sorted(chosen.items())
    )
    return Covering(shares, tuple(missing))


def _within_one_group(
    snapshot: Snapshot, readable: dict[int, tuple[NodeId, ...]], rotation: int
) -> dict[int, tuple[NodeId, ...]] | None:
    """`readable` narrowed to one replica group that covers every shard of it, or None."""
    groups = sorted({snapshot.nodes[node].group for nodes in readable.values() for node in nodes})
    if len(groups) < 2:
        return None
    for turn in range(len(groups)):
        group = groups[(rotation + turn) % len(groups)]
        narrowed = {
            shard: tuple(node for node in nodes if snapshot.nodes[node].group == group)
            for shard, nodes in readable.items()
        }
        if all(narrowed.values()):
            return narrowed
    return None


def _choose(readable: dict[int, tuple[NodeId, ...]], rotation: int) -> dict[NodeId, list[int]]:
    """Greedy covering by the fewest nodes, then shards evened out among the nodes chosen."""
    names = sorted({node for nodes in readable.values() for node in nodes})
    if not names:
        return {}
    place = {node: (position - rotation) % len(names) for position, node in enumerate(names)}
    open_shards = set(readable)
    picked: list[NodeId] = []
    while open_shards:
        gain: dict[NodeId, int] = defaultdict(int)
        for shard in open_shards:
            for node in readable[shard]:
                gain[node] += 1
        best = min(gain, key=lambda node: (-gain[node], place[node]))
        picked.append(best)
        open_shards = {shard for shard in open_shards if best not in readable[shard]}
    load: dict[NodeId, list[int]] = {node: [] for node in picked}
    # Shards with the least choice first, so that the freer ones can even out the load.
    options = {shard: [node for node in nodes if node in load] for shard, nodes in readable.items()}
    for shard in sorted(options, key=lambda number: (len(options[number]), number)):
        load[min(options[shard], key=lambda node: (len(load[node]), place[node]))].append(shard)
    return {node: sorted(mine) for node, mine in load.items() if mine}


def _held(index: IndexView, nodes: Collection[NodeId]) -> dict[NodeId, list[int]]:
    """Every shard each node may hold documents of: in any state, since leftovers would be counted too."""
    held: dict[NodeId, list[int]] = {node: [] for node in nodes}
    for shard, replicas in enumerate(index.placement):
        for node in replicas:
            if node in held:
                held[node].append(shard)
    return held


def ghosts_only() -> str:
    """A filter for the documents that exist only to make shards agree."""
    return f'{GHOST_FIELD} = "{GHOST_MARK}"'


def shard_filter(shards: Collection[int]) -> str:
    """A filter for the documents of exactly these shards, ascending."""
    return _among("IN", shards)


def not_in_shards(shards: Collection[int]) -> str:
    """A filter for the documents of all other shards, and for ghosts."""
    return _among("NOT IN", shards)


def _among(operator: str, shards: Collection[int]) -> str:
    values = ", ".join(f'"{encode_shard(shard)}"' for shard in sorted(shards))
    return f"{SHARD_FIELD} {operator} [{values}]"


def _without_ghosts(index: IndexView, shard_filter: str | None) -> str | None:
    """Also without the documents that exist only to make shards agree, where an index has them."""
    if not index.exact:
        return shard_filter
    no_ghosts = f"NOT {ghosts_only()}"
    return no_ghosts if shard_filter is None else f"{shard_filter} AND {no_ghosts}"


def _shard_filter(answers_for: Collection[int], holds: list[int]) -> str | None:
    """The shorter of IN and NOT IN (about 6 us a listed value on the node), or None when nothing is in excess."""
    mine = set(answers_for)
    excess = [shard for shard in holds if shard not in mine]
    if not excess:
        return None
    return not_in_shards(excess) if len(excess) < len(mine) else shard_filter(mine)

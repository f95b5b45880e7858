"""What must move so that every index stands where `core/placement.propose` says, what it costs, and whether it is sound."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import lru_cache

from miroir.core import placement
from miroir.core.moves.cluster_view import ClusterView, Member
from miroir.core.moves.operation_records import Move, OperationRecord, OperationState
from miroir.core.placement import Owners
from miroir.core.topology import GroupId, Node, NodeId, NodeLifecycle, ReplicaState

HOLDING = frozenset({ReplicaState.IN_SYNC, ReplicaState.COPYING, ReplicaState.STALE})


#: what tables came to, by identity: tables are replaced, never changed, and most indexes share one
_Planned = tuple[
    Sequence[Mapping[str, ReplicaState]], Hashable, tuple[tuple[int, str | None, str | None], ...]
]
_planned: dict[int, _Planned] = {}
_PLANNED_MAX = 10_000


def moves_to(view: ClusterView) -> tuple[Move, ...]:
    """What must change so that every index stands where it should, and no stale replica is left.

    Asked again and again while a node is gone, of thousands of indexes: a table is looked at once for each node list.
    """
    takers, key = view.takers(), _node_list(view)
    moves: list[Move] = []
    for physical in sorted(view.placement):
        shards = view.placement[physical]
        known = _planned.get(id(shards))
        if known is None or known[0] is not shards or known[1] != key:
            if len(_planned) >= _PLANNED_MAX:
                _planned.clear()
            found = _moves_of(view, takers, physical)
            known = _planned[id(shards)] = (shards, key, tuple((m.shard, m.target, m.leaves) for m in found))
        moves.extend(
            Move(physical=physical, shard=shard, target=target, leaves=leaves)
            for shard, target, leaves in known[2]
        )
    return tuple(moves)


def _node_list(view: ClusterView) -> Hashable:
    """All of a view, but for tables, that a plan depends on."""
    members = tuple((m.id, m.group, m.lifecycle, m.gone, m.weight) for _, m in sorted(view.members.items()))
    return _one_of((view.replication_factor, members))


@lru_cache(maxsize=16)
def _one_of(key: Hashable) -> Hashable:
    """The first that was equal: to be compared at once."""
    return key


def stale_moves(view: ClusterView) -> tuple[Move, ...]:
    """Stale replicas, to be rebuilt where they are. Asked often, and there are nearly never any.

    Also where a plan made now would have them elsewhere: only operations move replicas, and none may be asked for.
    """
    members = view.members
    return tuple(
        Move(physical=physical, shard=shard, target=node)
        for physical in _with_stale(view)
        for shard, replicas in enumerate(view.placement[physical])
        for node, state in replicas.items()
        if state is ReplicaState.STALE and node in members and _may_be_rebuilt(members[node])
    )


def rebuilds(view: ClusterView, operations: Iterable[OperationRecord]) -> tuple[Move, ...]:
    """Stale replicas on live nodes, but for what an open operation replaces anyway, unless it is paused."""
    stale = [move for move in stale_moves(view) if move.target is not None and view.members[move.target].live]
    if not stale:
        return ()
    busy = [operation for operation in operations if operation.state is not OperationState.PAUSED]
    leaving = {(move.physical, move.shard, move.leaves) for operation in busy for move in operation.moves}
    return tuple(move for move in stale if (move.physical, move.shard, move.target) not in leaving)


def _may_be_rebuilt(member: Member) -> bool:
    """A draining node too: until something replaces its replicas, they count."""
    return member.lifecycle is not NodeLifecycle.REMOVED and not member.gone


def _with_stale(view: ClusterView) -> list[str]:
    """Indexes that have a stale replica; indexes that are placed alike share their table, which is looked at once."""
    judged: dict[int, bool] = {}
    for shards in view.placement.values():
        if id(shards) not in judged:
            judged[id(shards)] = any(ReplicaState.STALE in replicas.values() for replicas in shards)
    return sorted(physical for physical, shards in view.placement.items() if judged[id(shards)])


def _moves_of(view: ClusterView, takers: Sequence[Member], physical: str) -> Iterable[Move]:
    shards = view.placement[physical]
    nodes = [Node(NodeId(m.id), "", GroupId(m.group), m.weight) for m in takers]
    groups = sorted({node.group for node in nodes})
    current = {group: _owners(view, shards, group) for group in groups}
    wanted = placement.propose(nodes, groups, len(shards), view.replication_factor, current)
    for shard, replicas in enumerate(shards):
        holders = [node for node, state in replicas.items() if state in HOLDING]
        targets = [str(node) for group in groups for node in wanted[group][shard]]
        missing = [node for node in targets if node not in holders]
        surplus = [node for node in holders if node not in targets]
        stale = [n for n in targets if replicas.get(n) is ReplicaState.STALE]
        for node in stale:
            yield Move(physical=physical, shard=shard, target=node)
        for node in missing:
            yield Move(physical=physical, shard=shard, target=node, leaves=_partner(view, node, surplus))
        for node in surplus:
            if _may_go(view, node, targets):
                yield Move(physical=physical, shard=shard, leaves=node)


def _may_go(view: ClusterView, node: str, targets: Sequence[str]) -> bool:
    """Whether a replica that nothing replaces may go: not while its group is short of nodes for all its copies."""
    if must_leave(view, node):
        return True
    group = view.members[node].group
    return sum(view.members[target].group == group for target in targets) >= view.replication_factor


def must_leave(view: ClusterView, node: str) -> bool:
    """The node is no member any more, or its whole group goes."""
    member = view.members.get(node)
    if member is None or member.lifecycle is NodeLifecycle.REMOVED:
        return True
    group = [m for m in view.members.values() if m.group == member.group]
    return not any(m.lifecycle is NodeLifecycle.ACTIVE for m in group)


def _owners(view: ClusterView, shards: Sequence[Mapping[str, ReplicaState]], group: int) -> Owners:
    """Holders within one group; those in sync first, so that a stale one is what gives way."""
    return tuple(
        tuple(
            NodeId(node)
            for node, state in sorted(replicas.items(), key=lambda item: (_rank(item[1]), item[0]))
            if state in HOLDING and node in view.members and view.members[node].group == group
        )
        for replicas in shards
    )


def _rank(state: ReplicaState) -> int:
    order = (ReplicaState.IN_SYNC, ReplicaState.COPYING, ReplicaState.STALE, ReplicaState.RETIRING)
    return order.index(state)


def _partner(view: ClusterView, node: str, surplus: list[str]) -> str | None:
    """A replica that goes in return for the one on `node`, preferably of the same group; taken off `surplus`."""
    group = view.members[node].group
    for leaver in surplus:
        if leaver in view.members and view.members[leaver].group == group:
            surplus.remove(leaver)
            return leaver
    return None


def is_done(move: Move, view: ClusterView) -> bool:
    """Whether the placement is what the move wanted, or its index is gone."""
    shards = view.placement.get(move.physical)
    if shards is None:
        return True
    replicas = shards[move.shard]
    arrived = move.target is None or replicas.get(move.target) is ReplicaState.IN_SYNC
    return arrived and (move.leaves is None or replicas.get(move.leaves) not in HOLDING)


def check_plan(moves: Sequence[Move], view: ClusterView) -> list[str]:
    """What is wrong with a plan, in words; empty when it is sound. Written without the planner.

    Every shard must end with at least one replica that exists or is made, no node gets one twice, and nothing is
    given to a node that should not hold any.
    """
    problems = []
    by_shard: dict[tuple[str, int], list[Move]] = {}
    for move in moves:
        by_shard.setdefault((move.physical, move.shard), []).append(move)
    for (physical, shard), here in by_shard.items():
        replicas = view.placement[physical][shard]
        gains = [move.target for move in here if move.target is not None]
        losses = [move.leaves for move in here if move.leaves is not None]
        place = f"shard {shard} of {physical}"
        if len(set(gains)) != len(gains) or len(set(losses)) != len(losses):
            problems.append(f"{place} is moved twice")
        for node in gains:
            member = view.members.get(node)
            if member is None or member.lifecycle is not NodeLifecycle.ACTIVE or member.gone:
                problems.append(f"{place} would go to {node}, which takes nothing")
            if replicas.get(node) is ReplicaState.IN_SYNC:
                problems.append(f"{place} is on {node} already")
        kept = {n for n, s in replicas.items() if s is ReplicaState.IN_SYNC} - set(losses)
        if not kept and not gains:
            problems.append(f"{place} would have no copy")
    return problems

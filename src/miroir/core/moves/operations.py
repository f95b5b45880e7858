"""Operations: from what the operator wants and what is, to the next step. Pure.

Almost every operation is the same thing: it changes the node list, and then the placement is brought, replica by
replica, to what `core/placement.propose` says for that list. So an interrupted operation needs no memory but its
record: asked again, it goes on from whatever state the cluster is in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from miroir.core.moves.cluster_view import ClusterView, MoveLimits
from miroir.core.moves.operation_records import (
    CopyRecord,
    Move,
    OperationKind,
    OperationRecord,
    OperationState,
)
from miroir.core.moves.planning import HOLDING, is_done, moves_to, must_leave, stale_moves
from miroir.core.topology import ReplicaState

#: a plan is made anew so often at most, for indexes that came meanwhile
REPLANS_MAX = 50


@dataclass(frozen=True, slots=True)
class StartCopy:
    """Begin to copy these moves, all of one layout to one node. `origin`: the layout they are read from."""

    moves: tuple[Move, ...]
    origin: str | None = None


@dataclass(frozen=True, slots=True)
class DropReplicas:
    """Replicas too many that may go now."""

    moves: tuple[Move, ...]


@dataclass(frozen=True, slots=True)
class Replan:
    """The plan is done, but the cluster is not where it should be: go on with these."""

    moves: tuple[Move, ...]


@dataclass(frozen=True, slots=True)
class Finish:
    state: OperationState
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    reason: str


Step = StartCopy | DropReplicas | Replan | Finish | Wait


def next_step(
    operation: OperationRecord, view: ClusterView, copies: Sequence[CopyRecord], limits: MoveLimits
) -> Step:
    """What to do for a running operation now. Does nothing twice: what it asked for shows in `view` and `copies`.

    Args:
        operation: open, as stored.
        view: the cluster now.
        copies: every copy that is not over, of any operation.
        limits: how much may happen at once.
    """
    mine = [copy for copy in copies if copy.operation == operation.id and not copy.over]
    if operation.state is OperationState.CANCELLING:
        return Wait("copies are being taken back") if mine else Finish(OperationState.CANCELLED)
    if operation.state is OperationState.PAUSED:
        return Wait("paused")
    if operation.kind is OperationKind.RESTORE and not any(member.gone for member in view.members.values()):
        if mine:
            return Wait("running copies are being finished")
        return Finish(OperationState.CANCELLED, "the nodes came back")
    waiting = [move for move in operation.moves if not is_done(move, view)]
    if operation.kind is OperationKind.RESYNC:
        still_stale = set(stale_moves(view))
        waiting = [move for move in waiting if move in still_stale]
    if not waiting:
        return Wait("copies are ending") if mine else _end(operation, view)
    step = _startable(waiting, view, copies, limits)
    if step is not None:
        return step
    if not mine and operation.replans < REPLANS_MAX and operation.kind is not OperationKind.RESYNC:
        fresh = moves_to(view)
        if fresh != tuple(waiting):
            return Replan(fresh)
    return Wait(_why(waiting, view, copies))


def _end(operation: OperationRecord, view: ClusterView) -> Step:
    """All moves are made: look whether more are needed, and whether what left is cleaned up."""
    if operation.kind is not OperationKind.RESYNC:
        rest = moves_to(view)
        if rest and operation.replans < REPLANS_MAX:
            return Replan(rest)
    if operation.kind is OperationKind.DRAIN and _holds(view, str(operation.args.get("node"))):
        return Wait("too few other nodes are up to take what the node holds")
    leavers = {move.leaves for move in operation.moves if move.leaves is not None}
    for replicas in (replicas for shards in view.placement.values() for replicas in shards):
        for node, state in replicas.items():
            member = view.members.get(node)
            if state is ReplicaState.RETIRING and node in leavers and member is not None and member.live:
                return Wait("old copies are being deleted")
    return Finish(OperationState.DONE)


def _holds(view: ClusterView, node: str) -> bool:
    return any(replicas.get(node) in HOLDING for shards in view.placement.values() for replicas in shards)


def _startable(
    waiting: Sequence[Move], view: ClusterView, copies: Sequence[CopyRecord], limits: MoveLimits
) -> StartCopy | DropReplicas | None:
    droppable = tuple(
        move
        for move in waiting
        if move.leaves is not None
        and _state(view, move, move.leaves) in (ReplicaState.IN_SYNC, ReplicaState.STALE)
        and (move.target is None or _state(view, move, move.target) is ReplicaState.IN_SYNC)
        and _others_in_sync(view, move)
    )
    if droppable:
        first = droppable[0]
        return DropReplicas(
            tuple(m for m in droppable if (m.physical, m.leaves) == (first.physical, first.leaves))
        )
    if sum(not copy.over for copy in copies) >= limits.copies_max:
        return None
    busy = {(copy.physical, copy.target) for copy in copies if not copy.over}
    chosen: list[Move] = []
    sources: set[str] = set()
    origin: str | None = None
    for move in waiting:
        if not _may_start(move, view, busy):
            continue
        if chosen and (move.physical, move.target) != (chosen[0].physical, chosen[0].target):
            continue
        common = _sources(move, view) & sources if chosen else _sources(move, view)
        if not common:
            continue
        sources = common
        origin = None if _has_copy(move, view) else view.other[move.physical].name
        chosen.append(move)
        if len(chosen) >= limits.shards_per_copy:
            break
    return StartCopy(tuple(chosen), origin) if chosen else None


def _may_start(move: Move, view: ClusterView, busy: set[tuple[str, str]]) -> bool:
    if move.target is None or (move.physical, move.target) in busy:
        return False
    member = view.members.get(move.target)
    if member is None or not member.live:
        return False
    if _state(view, move, move.target) not in (None, ReplicaState.STALE):
        return False
    return bool(_sources(move, view))


def _sources(move: Move, view: ClusterView) -> set[str]:
    """Live nodes that hold the shard in sync; without any copy of it, the name of the other layout that holds it."""
    if _has_copy(move, view):
        return _live_in_sync(view.placement[move.physical][move.shard], view)
    other = view.other.get(move.physical)
    if other is None:
        return set()
    parts = other.has_part_of(move.shard, len(view.placement[move.physical]))
    return {other.name} if all(_live_in_sync(other.shards[part], view) for part in parts) else set()


def _has_copy(move: Move, view: ClusterView) -> bool:
    """Whether a copy of the shard itself is there, or may come back; one on a node that is gone only where nothing else is."""
    in_sync = [
        node
        for node, state in view.placement[move.physical][move.shard].items()
        if state is ReplicaState.IN_SYNC
    ]
    if move.physical not in view.other:
        return bool(in_sync)
    return any(node in view.members and not view.members[node].gone for node in in_sync)


def _live_in_sync(replicas: Mapping[str, ReplicaState], view: ClusterView) -> set[str]:
    return {
        node
        for node, state in replicas.items()
        if state is ReplicaState.IN_SYNC and node in view.members and view.members[node].live
    }


def _state(view: ClusterView, move: Move, node: str) -> ReplicaState | None:
    return view.placement[move.physical][move.shard].get(node)


def _others_in_sync(view: ClusterView, move: Move) -> bool:
    """Enough copies are there without the one that leaves: of nodes that are up, and have everything.

    A copy on its way to another node is not one yet, and one on a dead node may be none any more.
    """
    replicas = view.placement[move.physical][move.shard]
    others = [
        n
        for n in _live_in_sync(replicas, view)
        if n != move.leaves and (n, move.physical) not in view.lagging
    ]
    if move.leaves is not None and not must_leave(view, move.leaves):
        group = view.members[move.leaves].group
        mates = [n for n in others if view.members[n].group == group]
        return len(mates) >= view.replication_factor
    return bool(others)


def _why(waiting: Sequence[Move], view: ClusterView, copies: Sequence[CopyRecord]) -> str:
    if any(not copy.over for copy in copies):
        return "copies are running"
    targets = {move.target for move in waiting if move.target is not None}
    down = sorted(n for n in targets if n in view.members and not view.members[n].live)
    if down:
        return f"{', '.join(down)} is down"
    if any(move.target is None for move in waiting):
        return "the copies that stay are not all up and up to date"
    return "no live in-sync copy to read from"

"""Operations: from what the operator wants and what is, to the next step. Pure.

Almost every operation is the same thing: it changes the node list, and then the placement is brought, replica by
replica, to what `core/placement.propose` says for that list. So an interrupted operation needs no memory but its
record: asked again, it goes on from whatever state the cluster is in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from miroir.core import placement
from miroir.core.moves.operation_records import (
    CopyRecord,
    Move,
    OperationKind,
    OperationRecord,
    OperationState,
    Preview,
)
from miroir.core.placement import Owners
from miroir.core.topology import GroupId, Node, NodeId, NodeLifecycle, ReplicaState

_HOLDING = frozenset({ReplicaState.IN_SYNC, ReplicaState.COPYING, ReplicaState.STALE})
#: a plan is made anew so often at most, for indexes that came meanwhile
REPLANS_MAX = 50


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


# --- plans ---------------------------------------------------------------------------------------


def moves_to(view: ClusterView) -> tuple[Move, ...]:
    """What must change so that every index stands where it should, and no stale replica is left."""
    takers = view.takers()
    moves: list[Move] = []
    for physical in sorted(view.placement):
        moves.extend(_moves_of(view, takers, physical))
    return tuple(moves)


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
        holders = [node for node, state in replicas.items() if state in _HOLDING]
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
    if _must_leave(view, node):
        return True
    group = view.members[node].group
    return sum(view.members[target].group == group for target in targets) >= view.replication_factor


def _must_leave(view: ClusterView, node: str) -> bool:
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
            if state in _HOLDING and node in view.members and view.members[node].group == group
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


def preview(moves: Iterable[Move], view: ClusterView, limits: MoveLimits, *, rate: float = 5000.0) -> Preview:
    """What `moves` cost. `rate`: documents a second that a copy is expected to make."""
    replicas = documents = size = 0
    peak: dict[str, int] = {}
    for move in moves:
        if move.target is None:
            continue
        count = view.documents.get(move.physical, 0) // max(1, len(view.placement[move.physical]))
        each = count * view.document_bytes.get(move.physical, 1024)
        replicas += 1
        documents += count
        size += each
        peak[move.target] = peak.get(move.target, 0) + each
    speed = min(rate, limits.documents_per_s or rate)
    seconds = max(documents / speed, size / limits.bytes_per_s if limits.bytes_per_s else 0.0)
    return Preview(
        replicas=replicas, documents=documents, size_bytes=size, seconds=round(seconds, 1), peak_bytes=peak
    )


# --- the next step -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StartCopy:
    """Begin to copy these moves, all of one index to one node."""

    moves: tuple[Move, ...]


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


def is_done(move: Move, view: ClusterView) -> bool:
    """Whether the placement is what the move wanted, or its index is gone."""
    shards = view.placement.get(move.physical)
    if shards is None:
        return True
    replicas = shards[move.shard]
    arrived = move.target is None or replicas.get(move.target) is ReplicaState.IN_SYNC
    return arrived and (move.leaves is None or replicas.get(move.leaves) not in _HOLDING)


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
    return any(replicas.get(node) in _HOLDING for shards in view.placement.values() for replicas in shards)


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
    for move in waiting:
        if not _may_start(move, view, busy):
            continue
        if chosen and (move.physical, move.target) != (chosen[0].physical, chosen[0].target):
            continue
        common = _sources(move, view) & sources if chosen else _sources(move, view)
        if not common:
            continue
        sources = common
        chosen.append(move)
        if len(chosen) >= limits.shards_per_copy:
            break
    return StartCopy(tuple(chosen)) if chosen else None


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
    """Live nodes that hold the shard in sync."""
    return {
        node
        for node, state in view.placement[move.physical][move.shard].items()
        if state is ReplicaState.IN_SYNC and node in view.members and view.members[node].live
    }


def _state(view: ClusterView, move: Move, node: str) -> ReplicaState | None:
    return view.placement[move.physical][move.shard].get(node)


def _others_in_sync(view: ClusterView, move: Move) -> bool:
    """Enough copies are there without the one that leaves; a copy on its way to another node is not one yet."""
    replicas = view.placement[move.physical][move.shard]
    others = [n for n, s in replicas.items() if s is ReplicaState.IN_SYNC and n != move.leaves]
    if move.leaves is not None and not _must_leave(view, move.leaves):
        group = view.members[move.leaves].group
        mates = [n for n in others if n in view.members and view.members[n].group == group]
        return len(mates) >= view.replication_factor
    return bool(others)


def _why(waiting: Sequence[Move], view: ClusterView, copies: Sequence[CopyRecord]) -> str:
    if any(not copy.over for copy in copies):
        return "copies are running"
    targets = {move.target for move in waiting if move.target is not None}
    down = sorted(n for n in targets if n in view.members and not view.members[n].live)
    if down:
        return f"{', '.join(down)} is down"
    return "no live in-sync copy to read from"


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

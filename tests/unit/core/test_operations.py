"""Operations as pure steps: they end, in the same state, from wherever they are interrupted."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miroir.core.moves import copying, planning
from miroir.core.moves.cluster_view import ClusterView, Member, MoveLimits
from miroir.core.moves.operation_records import (
    CopyPhase,
    CopyRecord,
    Move,
    OperationKind,
    OperationRecord,
    OperationState,
)
from miroir.core.moves.operations import DropReplicas, Finish, Replan, StartCopy, Wait, next_step
from miroir.core.moves.planning import check_plan, moves_to, stale_moves
from miroir.core.moves.preview import preview
from miroir.core.placement import propose
from miroir.core.records import PlacementRecord
from miroir.core.topology import GroupId, Node, NodeId, NodeLifecycle, ReplicaState

IN_SYNC, STALE, RETIRING = ReplicaState.IN_SYNC, ReplicaState.STALE, ReplicaState.RETIRING
LIMITS = MoveLimits(copies_max=2, shards_per_copy=3)


def placed(members: dict[str, Member], shards: int, factor: int) -> PlacementRecord:
    nodes = [Node(NodeId(m.id), "", GroupId(m.group)) for m in members.values()]
    groups = {node.group for node in nodes}
    owners = propose(nodes, groups, shards, factor)
    table = tuple(
        {str(n): IN_SYNC for group in sorted(groups) for n in owners[group][shard]} for shard in range(shards)
    )
    return PlacementRecord(shards=table, epoch=0)


@dataclass
class World:
    """Everything durable; `step` does one durable write of an operation, as the services would."""

    members: dict[str, Member]
    placement: dict[str, PlacementRecord]
    factor: int
    operation: OperationRecord
    copies: dict[int, CopyRecord] = field(default_factory=dict)
    next_copy: int = 0
    history: list[str] = field(default_factory=list)
    lagging: frozenset[tuple[str, str]] = frozenset()

    def view(self) -> ClusterView:
        return ClusterView(
            members=self.members,
            placement={name: record.shards for name, record in self.placement.items()},
            replication_factor=self.factor,
            lagging=self.lagging,
        )

    def copy(self) -> World:
        return replace(
            self,
            members=dict(self.members),
            placement=dict(self.placement),
            copies=dict(self.copies),
            history=[],
        )

    def change(self, physical: str, after: PlacementRecord) -> None:
        copying.check_change(self.placement[physical], after)
        self.placement[physical] = after

    def step(self) -> bool:
        """One durable write; False when the operation is over and nothing is left to do."""
        for number, copy in sorted(self.copies.items()):
            if self._advance(number, copy):
                return True
        if self._clean():
            return True
        if not self.operation.open:
            return False
        found = next_step(self.operation, self.view(), list(self.copies.values()), LIMITS)
        self.history.append(type(found).__name__)
        match found:
            case StartCopy(moves):
                self.copies[self.next_copy] = CopyRecord(
                    id=self.next_copy,
                    operation=self.operation.id,
                    physical=moves[0].physical,
                    target=moves[0].target or "",
                    shards=tuple(m.shard for m in moves),
                    leaves=tuple(m.leaves for m in moves),
                )
                self.next_copy += 1
            case DropReplicas(moves):
                physical = moves[0].physical
                node = moves[0].leaves or ""
                self.change(physical, copying.drop(self.placement[physical], node, [m.shard for m in moves]))
            case Replan(moves):
                self.operation = msgspec.structs.replace(
                    self.operation, moves=moves, replans=self.operation.replans + 1
                )
            case Finish(state):
                self.operation = msgspec.structs.replace(self.operation, state=state)
            case Wait():
                return False
        return True

    def _advance(self, number: int, copy: CopyRecord) -> bool:
        record = self.placement.get(copy.physical)
        sight = copying.CopySight(
            index_exists=record is not None,
            wanted=self.operation.state is not OperationState.CANCELLING,
            paused=self.operation.state is OperationState.PAUSED,
            target_live=self.members[copy.target].live,
            target_gone=self.members[copy.target].gone,
            cleaning=record is not None and any(r.get(copy.target) is RETIRING for r in record.shards),
            source="some",
        )
        act = copying.next_act(copy, sight)
        after: PlacementRecord | None
        if act is copying.CopyAct.ABANDON:
            after, copy = copying.abandon(record, copy)
        elif record is None or act in (copying.CopyAct.WAIT, copying.CopyAct.NOTHING):
            return False
        elif act is copying.CopyAct.BEGIN:
            after, copy = copying.begin(record, copy, boundary=7)
        elif act is copying.CopyAct.WRITE_PAGES:
            after, copy = record, msgspec.structs.replace(copy, phase=CopyPhase.FOLLOWING)
        else:
            after, copy = copying.flip(record, copy, last_op=9)
        if after is not None:
            self.change(copy.physical, after)
        self.copies[number] = copy
        return True

    def _clean(self) -> bool:
        for physical, record in self.placement.items():
            for node, member in self.members.items():
                gone = [s for s, replicas in enumerate(record.shards) if replicas.get(node) is RETIRING]
                copied_to = any(
                    c.active and (c.physical, c.target) == (physical, node) for c in self.copies.values()
                )
                if gone and member.live and not copied_to:
                    self.change(physical, copying.forget(record, node, gone))
                    return True
        return False

    def run(self) -> None:
        for _ in range(5000):
            if not self.step():
                return
        raise AssertionError(f"does not end: {self.history[-20:]}")

    def shape(self) -> dict[str, list[dict[str, ReplicaState]]]:
        return {name: [dict(r) for r in record.shards] for name, record in self.placement.items()}


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """A settled cluster and one operation that was just asked for."""
    groups = draw(st.integers(1, 2))
    size = draw(st.integers(2, 4))
    factor = draw(st.integers(1, min(2, size)))
    members = {
        f"n{g}-{i}": Member(f"n{g}-{i}", g, NodeLifecycle.ACTIVE) for g in range(groups) for i in range(size)
    }
    shards = draw(st.sampled_from([3, 8, 16]))
    placement = {f"p{i}": placed(members, shards, factor) for i in range(draw(st.integers(1, 2)))}
    kind = draw(st.sampled_from(["add", "drain", "factor", "gone", "stale", "group", "force"]))
    victim = draw(st.sampled_from(sorted(members)))
    operation = OperationKind.REBALANCE
    if kind == "add":
        for number in range(draw(st.integers(1, 2))):
            members[f"x{number}"] = Member(f"x{number}", 0, NodeLifecycle.ACTIVE)
    elif kind == "drain" and size > factor:
        members[victim] = replace(members[victim], lifecycle=NodeLifecycle.DRAINING)
    elif kind == "factor":
        factor = draw(st.integers(1, size))
    elif kind == "gone":
        members[victim] = replace(members[victim], live=False, gone=True)
        operation = OperationKind.RESTORE
    elif kind == "stale" and factor * groups > 1:
        placement = {
            name: PlacementRecord(
                shards=tuple({n: STALE if n == victim else s for n, s in r.items()} for r in record.shards),
                epoch=0,
            )
            for name, record in placement.items()
        }
    elif kind == "group":
        members["g9-0"] = Member("g9-0", 9, NodeLifecycle.ACTIVE)
        members["g9-1"] = Member("g9-1", 9, NodeLifecycle.ACTIVE)
        factor = min(factor, 2)
    elif kind == "force" and factor * groups > 1 and size > factor:
        members[victim] = replace(members[victim], lifecycle=NodeLifecycle.REMOVED)
    world = World(members, placement, factor, OperationRecord(id=1, kind=operation))
    world.operation = msgspec.structs.replace(world.operation, moves=moves_to(world.view()))
    return world


@given(worlds())
@settings(max_examples=150, deadline=None)
def test_plan_is_sound(world: World) -> None:
    assert check_plan(world.operation.moves, world.view()) == []
    assert preview(world.operation.moves, world.view(), LIMITS).replicas == sum(
        move.target is not None for move in world.operation.moves
    )


@given(worlds())
@settings(max_examples=150, deadline=None)
def test_operation_ends_where_the_plan_leads(world: World) -> None:
    readable = {
        (p, s) for p, r in world.placement.items() for s, x in enumerate(r.shards) if IN_SYNC in x.values()
    }
    world.run()
    dead_source = any(member.gone for member in world.members.values()) and world.factor == 1
    if not dead_source:
        assert world.operation.state in (OperationState.DONE, OperationState.CANCELLED), world.history[-5:]
        assert moves_to(world.view()) == ()
    after = {
        (p, s) for p, r in world.placement.items() for s, x in enumerate(r.shards) if IN_SYNC in x.values()
    }
    assert readable <= after


@given(worlds(), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_every_interrupted_state_ends_the_same(world: World, rng: object) -> None:
    """Everything durable is in the world, so a restart after any write goes on from a copy of it."""
    straight = world.copy()
    states = [straight.copy()]
    while straight.step():
        states.append(straight.copy())
    for interrupted in states[:: max(1, len(states) // 25)]:
        again = interrupted.copy()
        again.copies = {
            number: msgspec.msgpack.decode(msgspec.msgpack.encode(copy), type=CopyRecord)
            for number, copy in again.copies.items()
        }
        again.operation = msgspec.msgpack.decode(
            msgspec.msgpack.encode(again.operation), type=OperationRecord
        )
        again.run()
        assert again.shape() == straight.shape()
        assert again.operation.state is straight.operation.state


@given(st.integers(0, 2), st.booleans(), st.sampled_from(["factor", "group"]))
@settings(max_examples=40, deadline=None)
def test_no_copy_goes_while_those_that_stay_are_down_or_behind(away: int, behind: bool, kind: str) -> None:
    """Else the only copy left would be on a node that may never come back, or lacks what clients were told is done."""
    members = {f"n{n}": Member(f"n{n}", n if kind == "group" else 0, NodeLifecycle.ACTIVE) for n in range(3)}
    placement = {"p": placed(members, 6, 1 if kind == "group" else 3)}
    assert all(len(replicas) == 3 for replicas in placement["p"].shards)
    victim = f"n{away}"
    if kind == "group":
        for node in members.keys() - {victim}:
            members[node] = replace(members[node], lifecycle=NodeLifecycle.DRAINING)
    members[victim] = replace(members[victim], live=behind)
    world = World(members, placement, 1, OperationRecord(id=1, kind=OperationKind.REBALANCE))
    world.lagging = frozenset({(victim, "p")}) if behind else frozenset()
    world.operation = msgspec.structs.replace(world.operation, moves=moves_to(world.view()))
    world.run()
    for replicas in world.placement["p"].shards:
        assert any(state is IN_SYNC and node != victim for node, state in replicas.items())
    members[victim], world.lagging = replace(members[victim], live=True), frozenset()
    world.run()
    assert world.operation.state is OperationState.DONE
    assert all(len(replicas) == 1 for replicas in world.placement["p"].shards)


@given(worlds(), st.integers(0, 40))
@settings(max_examples=80, deadline=None)
def test_cancelled_anywhere_leaves_a_readable_cluster(world: World, after: int) -> None:
    for _ in range(after):
        if not world.step():
            break
    if world.operation.open:
        world.operation = msgspec.structs.replace(world.operation, state=OperationState.CANCELLING)
        world.run()
        assert world.operation.state is OperationState.CANCELLED
    states = {s for r in world.placement.values() for x in r.shards for s in x.values()}
    assert ReplicaState.COPYING not in states
    assert all(IN_SYNC in x.values() for r in world.placement.values() for x in r.shards)


@given(worlds(), st.integers(1, 30), st.randoms(use_true_random=False))
@settings(max_examples=80, deadline=None)
def test_ends_although_the_world_changes(world: World, after: int, rng: object) -> None:
    """An index is made, another is dropped, replicas go stale in the middle: the operation still ends well."""
    for _ in range(after):
        if not world.step():
            break
    if not world.operation.open:
        return
    first = sorted(world.placement)[0]
    if len(world.placement) > 1:
        del world.placement[first]
    old = {
        n: m
        for n, m in world.members.items()
        if m.lifecycle is NodeLifecycle.ACTIVE and not n.startswith("x")
    }
    world.placement["late"] = placed(old, 5, min(world.factor, len(old)))
    world.run()
    if world.operation.kind is not OperationKind.RESTORE:
        assert world.operation.state is OperationState.DONE
        assert moves_to(world.view()) == ()


@given(st.integers(2, 8), st.integers(1, 3), st.randoms(use_true_random=False))
@settings(max_examples=1000, deadline=None)
def test_joining_node_gets_its_share_and_no_more(count: int, factor: int, rng: object) -> None:
    """Replicas moved <= copies x total / (N+1) x 1.1, all of them to the newcomer."""
    factor = min(factor, count)
    suffix = rng.randrange(10**9)  # type: ignore[attr-defined]
    members = {f"m{suffix}-{i}": Member(f"m{suffix}-{i}", 0, NodeLifecycle.ACTIVE) for i in range(count)}
    record = placed(members, 64, factor)
    members["new"] = Member("new", 0, NodeLifecycle.ACTIVE)
    view = ClusterView(members=members, placement={"p": record.shards}, replication_factor=factor)
    moves = moves_to(view)
    assert {move.target for move in moves} == {"new"}
    assert len(moves) <= 64 * factor / (count + 1) * 1.1


def test_a_copy_does_not_begin_while_its_target_is_cleaned_whatever_was_seen_before() -> None:
    """The whole index may be on its way out of the node, and what is copied with it."""
    record = PlacementRecord(shards=({"a": IN_SYNC}, {"a": IN_SYNC, "b": RETIRING}), epoch=3)
    copy = CopyRecord(id=1, operation=1, physical="p", target="b", shards=(0,), leaves=(None,))
    assert copying.begin(record, copy, boundary=7) == (record, copy)
    clean = copying.forget(record, "b", [1])
    after, begun = copying.begin(clean, copy, boundary=7)
    assert after.shards[0] == {"a": IN_SYNC, "b": ReplicaState.COPYING}
    assert begun.phase is CopyPhase.COPYING


def test_stale_replica_is_rebuilt_in_place() -> None:
    members = {n: Member(n, 0, NodeLifecycle.ACTIVE) for n in ("a", "b", "c")}
    view = ClusterView(members=members, placement={"p": ({"a": IN_SYNC, "b": STALE},)}, replication_factor=2)
    assert moves_to(view) == (Move(physical="p", shard=0, target="b"),)


def test_stale_replica_is_rebuilt_in_place_where_a_new_plan_would_move_it() -> None:
    """A node joined, and rebalancing was cancelled: nobody moves the replica, so it must not stay stale."""
    members = {n: Member(n, 0, NodeLifecycle.ACTIVE) for n in ("a", "b", "c", "new")}
    shards = tuple({"a": IN_SYNC, "b": STALE, "c": IN_SYNC} for _ in range(8))
    placement = {"p": PlacementRecord(shards=shards, epoch=0)}
    world = World(members, placement, 3, OperationRecord(id=1, kind=OperationKind.RESYNC))
    assert any(move.leaves == "b" for move in moves_to(world.view()))
    rebuilt = stale_moves(world.view())
    assert rebuilt == tuple(Move(physical="p", shard=shard, target="b") for shard in range(8))
    world.operation = msgspec.structs.replace(world.operation, moves=rebuilt)
    world.run()
    assert world.operation.state is OperationState.DONE
    assert world.shape()["p"] == [{"a": IN_SYNC, "b": IN_SYNC, "c": IN_SYNC}] * 8


@given(worlds(), st.data())
@settings(max_examples=100, deadline=None)
def test_no_stale_replica_is_left_by_rebuilding(world: World, data: st.DataObject) -> None:
    """Whatever node list and factor came meanwhile: every stale replica of a node that can be back is rebuilt."""
    for name, record in world.placement.items():
        shards = []
        for replicas in record.shards:
            nodes = sorted(replicas)
            stale = data.draw(st.sets(st.sampled_from(nodes), max_size=len(nodes) - 1))
            shards.append({n: STALE if n in stale else s for n, s in replicas.items()})
        world.placement[name] = PlacementRecord(shards=tuple(shards), epoch=0)
    world.operation = OperationRecord(id=1, kind=OperationKind.RESYNC, moves=stale_moves(world.view()))
    world.run()
    unable = {m.id for m in world.members.values() if m.gone or m.lifecycle is NodeLifecycle.REMOVED}
    for record in world.placement.values():
        for replicas in record.shards:
            if any(s is IN_SYNC and world.members[n].live for n, s in replicas.items()):
                assert {n for n, s in replicas.items() if s is STALE} <= unable


def test_replica_being_rebuilt_is_not_dropped_over_and_over() -> None:
    members = {n: Member(n, 0, NodeLifecycle.ACTIVE) for n in ("a", "b", "c")}
    shards = ({"a": IN_SYNC, "b": IN_SYNC, "c": ReplicaState.COPYING},)
    view = ClusterView(members=members, placement={"p": shards}, replication_factor=2)
    moves = (Move(physical="p", shard=0, leaves="c"),)
    operation = OperationRecord(id=1, kind=OperationKind.SET_REPLICATION_FACTOR, moves=moves)
    copy = CopyRecord(
        id=1, operation=2, physical="p", target="c", shards=(0,), leaves=(None,), phase=CopyPhase.COPYING
    )
    assert not isinstance(next_step(operation, view, [copy], LIMITS), DropReplicas)


def test_a_plan_of_many_indexes_looks_at_each_table_once(monkeypatch: pytest.MonkeyPatch) -> None:
    members = {f"n{n}": Member(f"n{n}", 0, NodeLifecycle.ACTIVE) for n in range(3)}
    shards = placed(members, 8, 2).shards
    looked: list[str] = []
    moves_of = planning._moves_of

    def look(view: ClusterView, takers: list[Member], physical: str) -> object:
        looked.append(physical)
        return moves_of(view, takers, physical)

    monkeypatch.setattr(planning, "_moves_of", look)
    view = ClusterView(members=members, placement={f"p{n}": shards for n in range(50)}, replication_factor=2)
    assert moves_to(view) == moves_to(view) == ()
    assert looked == ["p0"]
    gone = {**members, "n0": replace(members["n0"], live=False, gone=True)}
    moves = moves_to(replace(view, members=gone))
    assert looked == ["p0", "p0"]
    held = sum("n0" in replicas for replicas in shards)
    assert len(moves) == 50 * held
    assert {move.physical for move in moves} == set(view.placement)
    assert {move.leaves for move in moves} == {"n0"}

"""Another number of shards: which parts hold what, and every way that leads to an end."""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miroir.core.hashing import shard_of
from miroir.core.moves.cluster_view import OtherLayout
from miroir.core.moves.operation_records import OperationKind, OperationRecord, OperationState, Reshard
from miroir.core.moves.operations import Finish, Wait
from miroir.core.moves.resharding import Act, ReshardSight, is_building, next_act
from miroir.core.topology import ReplicaState

SECOND = 10**9


@given(st.text(max_size=30), st.integers(1, 300), st.integers(1, 300))
def test_a_document_is_in_a_part_that_is_read_for_its_shard(name: str, there: int, here: int) -> None:
    other = OtherLayout("old", ({"a": ReplicaState.IN_SYNC},) * there)
    parts = list(other.has_part_of(shard_of(name, here), here))
    assert shard_of(name, there) in parts
    assert len(parts) == len(set(parts)) <= there


def test_doubling_reads_one_part_and_halving_two() -> None:
    four, eight = (OtherLayout("old", ({},) * count) for count in (4, 8))
    assert list(four.has_part_of(5, 8)) == [1]
    assert list(eight.has_part_of(1, 4)) == [1, 5]


@dataclass(frozen=True)
class World:
    """What the steps of an operation change."""

    operation: OperationRecord
    read: str | None = "old"
    other: str | None = None
    copied: bool = False
    remains: frozenset[str] = frozenset({"old"})
    now: int = 0

    def sight(self) -> ReshardSight:
        return ReshardSight(self.read, self.other, self.copied, False, True, self.remains, self.now)


def begun() -> World:
    reshard = Reshard(index="i", old="old", retention_s=5.0)
    return World(OperationRecord(id=1, kind=OperationKind.RESHARD, reshard=reshard))


def carried_out(world: World, act: Act) -> World:
    reshard = world.operation.reshard
    assert reshard is not None
    match act:
        case Act.BEGIN:
            known = msgspec.structs.replace(
                world.operation, reshard=msgspec.structs.replace(reshard, new="new")
            )
            return replace(world, operation=known, other="new", remains=world.remains | {"new"})
        case Act.COPY:
            return replace(world, copied=True)
        case Act.SWITCH:
            until = msgspec.structs.replace(reshard, kept_until=world.now + 5 * SECOND)
            kept = msgspec.structs.replace(world.operation, reshard=until)
            return replace(world, operation=kept, read="new", other="old")
        case Act.GO_BACK:
            return replace(world, read="old", other="new")
        case Act.LET_GO_OLD:
            return replace(world, other=None, remains=world.remains - {"old"})
        case Act.LET_GO_NEW:
            return replace(world, other=None, remains=world.remains - {"new"})


def to_the_end(world: World, *, cancel_at: int | None = None) -> tuple[World, Finish, int]:
    """Every step until the end, cancelled after `cancel_at` of them."""
    for step in range(100):
        if step == cancel_at:
            cancelled = msgspec.structs.replace(world.operation, state=OperationState.CANCELLING)
            world = replace(world, operation=cancelled)
        act = next_act(world.operation, world.sight())
        assert act == next_act(world.operation, world.sight()), "asked again, it says the same"
        if isinstance(act, Finish):
            return world, act, step
        world = replace(world, now=world.now + SECOND) if isinstance(act, Wait) else carried_out(world, act)
        assert world.read in world.remains, "what is read exists"
    raise AssertionError("no end")


def test_it_ends_with_the_new_layout_alone() -> None:
    world, end, _ = to_the_end(begun())
    assert (end.state, world.read, world.other, world.remains) == (
        OperationState.DONE, "new", None, {"new"}
    )  # fmt: skip
    assert world.now == 5 * SECOND, "the retention was waited for, and nothing else"


def test_cancelled_at_any_step_it_ends_with_one_layout() -> None:
    _, _, steps = to_the_end(begun())
    ends = []
    for place in range(steps + 1):
        world, end, _ = to_the_end(begun(), cancel_at=place)
        assert world.other is None
        assert world.remains == {world.read}
        assert (end.state is OperationState.CANCELLED) == (world.read == "old")
        ends.append(world.read)
    assert ends == sorted(ends, reverse=True), "once it is too late to go back it stays so"
    assert set(ends) == {"old", "new"}


@pytest.mark.parametrize("state", [OperationState.RUNNING, OperationState.PAUSED, OperationState.CANCELLING])
def test_without_the_index_it_ends(state: OperationState) -> None:
    world = begun()
    gone = replace(
        world, read=None, operation=msgspec.structs.replace(world.operation, state=state), remains=frozenset()
    )
    end = next_act(gone.operation, gone.sight())
    assert isinstance(end, Finish)
    assert end.state is OperationState.CANCELLED


def test_paused_it_waits_and_keeps_what_there_is() -> None:
    world = carried_out(carried_out(carried_out(begun(), Act.BEGIN), Act.COPY), Act.SWITCH)
    paused = msgspec.structs.replace(world.operation, state=OperationState.PAUSED)
    late = replace(world, operation=paused, now=1000 * SECOND)
    assert isinstance(next_act(late.operation, late.sight()), Wait)


def test_others_leave_the_new_layout_alone_until_it_is_read() -> None:
    world = carried_out(begun(), Act.BEGIN)
    assert is_building(world.operation, "old")
    assert not is_building(world.operation, "new")
    assert not is_building(begun().operation, "old")


def test_the_old_layout_is_kept_while_the_new_one_may_need_it() -> None:
    operation = OperationRecord(
        id=1, kind=OperationKind.RESHARD, reshard=Reshard(index="i", old="old", new="new", kept_until=5)
    )
    sight = ReshardSight("new", "old", copied=True, copies=False, whole=False, remains=frozenset(), now_ns=9)
    assert isinstance(next_act(operation, sight), Wait)
    assert next_act(operation, replace(sight, whole=True)) is Act.LET_GO_OLD

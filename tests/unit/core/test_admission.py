"""When a write may be accepted."""

from __future__ import annotations

from miroir.core.topology import ReplicaState
from miroir.core.writes.admission import Admission, admit

IN, STALE, RETIRING = ReplicaState.IN_SYNC, ReplicaState.STALE, ReplicaState.RETIRING
COPYING = ReplicaState.COPYING
PLACEMENT = ({"a": IN, "b": IN}, {"b": IN, "c": IN}, {"c": STALE, "a": IN}, {"a": IN, "c": RETIRING})


def ask(up: str, shards=None, *, least=1, majority=False, groups=None, placement=PLACEMENT, factor=2):
    return admit(
        placement,
        shards,
        writable=lambda node, shard: node in up,
        group_of=lambda node: (groups or {}).get(node, 0),
        min_in_sync=least,
        majority=majority,
        replication_factor=factor,
    )


def test_only_touched_shards_count():
    assert ask("a", {0}) == Admission(degraded=(0,))
    assert ask("a") == Admission(refused=(1,), degraded=(0, 2))
    assert ask("", set()) == Admission()


def test_stale_copies_do_not_carry_a_write_and_retiring_ones_are_not_missed():
    assert ask("abc") == Admission(degraded=(2,))
    assert ask("abc", least=2) == Admission(refused=(2, 3))


def test_a_majority_of_one_group_is_enough():
    assert ask("ab", {0}, majority=True) == Admission()
    assert ask("a", {0}, majority=True) == Admission(refused=(0,))
    assert ask("a", {0}, majority=True, groups={"a": 0, "b": 1}) == Admission(degraded=(0,))


def test_a_plain_move_is_neither_degraded_nor_short_of_a_majority():
    moving = ({"a": IN, "b": IN, "c": COPYING}, {"a": IN, "c": COPYING})
    assert ask("abc", {0}, placement=moving) == Admission()
    assert ask("abc", {1}, placement=moving, factor=1, majority=True) == Admission()
    assert ask("abc", {1}, placement=moving) == Admission(degraded=(1,)), "one more copy is wanted"

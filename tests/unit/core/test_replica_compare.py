"""Which copy is believed when replicas differ."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from miroir.core.moves.replica_compare import differing, is_tainted
from miroir.core.writes.lane_requests import NodeTask

COPIES = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    st.dictionaries(st.sampled_from("1234"), st.sampled_from([b"x", b"y"])),
    min_size=1,
)


@given(COPIES, st.sets(st.sampled_from("1234")))
def test_one_content_is_kept_and_never_none(copies: dict[str, dict[str, bytes]], expected: set[str]) -> None:
    bad = differing(copies, expected)
    kept = [copies[node] for node in copies if node not in bad]
    assert kept
    assert all(copy == kept[0] for copy in kept)
    assert all(copies[node] != kept[0] for node in bad)
    assert len(expected ^ kept[0].keys()) == min(len(expected ^ copy.keys()) for copy in copies.values())


def test_the_copy_that_agrees_with_the_log_is_believed_against_a_majority() -> None:
    good, bad = {"1": b"x", "2": b"x"}, {"1": b"x"}
    assert differing({"a": bad, "b": bad, "c": good}, {"1", "2"}) == ["a", "b"]


def test_among_those_the_content_that_most_have() -> None:
    assert differing({"a": {"1": b"y"}, "b": {"1": b"x"}, "c": {"1": b"x"}}, {"1"}) == ["a"]


def test_a_clean_history_is_believed_against_a_majority() -> None:
    copies = {"a": {"1": b"y"}, "b": {"1": b"y"}, "c": {"1": b"x"}}
    assert differing(copies, {"1"}, {"a", "b"}) == ["a", "b"]
    assert differing({**copies, "c": {}}, {"1"}, {"a", "b"}) == ["c"], "but not against the log"


def _tasks(*said: tuple[str, tuple[int, ...] | None]) -> list[NodeTask]:
    """By letter: (o)p with its step, (c)opy with its shards, (h)and."""
    return [
        NodeTask(
            uid,
            "succeeded",
            "documentAdditionOrUpdate",
            ops=(which[0], which[0]) if what == "o" and which else None,
            shards=which if what == "c" else None,
        )
        for uid, (what, which) in enumerate(said)
    ]


def test_what_taints_a_copy() -> None:
    assert not is_tainted(_tasks(("o", (5,)), ("c", (2, 3)), ("o", (8,))), shard=1, since=-1)
    assert is_tainted(_tasks(("o", (5,)), ("c", (1, 3))), shard=1, since=-1), "it never came by a copy"
    assert is_tainted(_tasks(("o", (5,)), ("h", None)), shard=1, since=-1)
    copied = (("h", None), ("o", (5,)), ("c", (1,)), ("o", (8,)))
    assert not is_tainted(_tasks(*copied), shard=1, since=6), "wiped when it was copied"
    assert is_tainted(_tasks(*copied, ("c", (1,))), shard=1, since=6), "the copy was over"
    assert is_tainted(_tasks(*copied, ("h", None)), shard=1, since=6)

"""Which copy is believed when replicas differ."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from miroir.core.moves.replica_compare import differing

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

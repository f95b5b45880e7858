"""Which half of an index's nodes changes its rules first."""

from hypothesis import given
from hypothesis import strategies as st

from miroir.core.topology import ReplicaState
from miroir.core.writes.rollout import covers, group_count, halves

SYNC, STALE = ReplicaState.IN_SYNC, ReplicaState.STALE
NODES = ["a0", "a1", "b0", "b1", "c0"]


def group_of(node: str) -> int:
    return ord(node[0]) - ord("a")


PLACEMENTS = st.lists(
    st.dictionaries(st.sampled_from(NODES), st.sampled_from([SYNC, STALE]), min_size=1),
    min_size=1,
    max_size=4,
)


@given(PLACEMENTS, st.sets(st.sampled_from(NODES)))
def test_both_halves_answer_alone_and_share_nobody(placement, up) -> None:
    found = halves(placement, group_of, up.__contains__)
    if found is None:
        return
    assert not found.first & found.rest
    assert found.first | found.rest == {node for replicas in placement for node in replicas}
    for half in (found.first, found.rest):
        assert covers(placement, half, up.__contains__)
    assert len({group_of(node) for node in found.first}) == 1


def test_one_group_has_no_halves() -> None:
    assert halves([{"a0": SYNC, "a1": SYNC}], group_of, lambda node: True) is None
    assert group_count([{"a0": SYNC, "a1": SYNC}], group_of) == 1


def test_the_first_group_that_can_be_missed_goes_first() -> None:
    placement = [{"a0": STALE, "b0": SYNC, "c0": SYNC}]
    found = halves(placement, group_of, lambda node: True)
    assert found is not None
    assert found.first == {"b0"}
    assert found.rest == {"a0", "c0"}

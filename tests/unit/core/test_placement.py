"""Placement proposals: even, minimal, stable."""

from __future__ import annotations

import math
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from miroir.core.placement import Owners, propose, quotas
from miroir.core.topology import GroupId, Node, NodeId

GROUP = GroupId(0)


def nodes_named(*names: str) -> list[Node]:
    return [Node(NodeId(name), f"http://{name}") for name in names]


def table(names: list[str], shards: int, copies: int, current: Owners | None = None) -> Owners:
    before = None if current is None else {GROUP: current}
    return propose(nodes_named(*names), [GROUP], shards, copies, before)[GROUP]


def replicas(owners: Owners) -> set[tuple[int, str]]:
    return {(shard, node) for shard, nodes in enumerate(owners) for node in nodes}


def loads(owners: Owners, names: list[str]) -> list[int]:
    return [sum(1 for _, node in replicas(owners) if node == name) for name in names]


names_of_nodes = st.lists(
    st.text("abcdefghij0123456789-", min_size=1, max_size=12), min_size=1, max_size=12, unique=True
)


@settings(max_examples=150, deadline=None)
@given(names_of_nodes, st.sampled_from([1, 3, 16, 64, 100]), st.integers(1, 3))
def test_every_shard_has_distinct_nodes_and_loads_are_even(
    names: list[str], shards: int, copies: int
) -> None:
    owners = table(names, shards, copies)
    wanted = min(copies, len(names))
    assert all(len(nodes) == len(set(nodes)) == wanted for nodes in owners)
    assert max(loads(owners, names)) <= -(-shards * wanted // len(names))
    assert max(loads(owners, names)) - min(loads(owners, names)) <= 1


@settings(max_examples=150, deadline=None)
@given(names_of_nodes, st.integers(1, 3), st.lists(st.tuples(st.booleans(), st.integers(0, 99)), max_size=5))
def test_proposing_twice_changes_nothing(
    names: list[str], copies: int, changes: list[tuple[bool, int]]
) -> None:
    present = list(names)
    owners = table(present, 64, copies)
    for number, (joins, pick) in enumerate(changes):
        if joins:
            present.append(f"new-{number}")
        elif len(present) > 1:
            present.pop(pick % len(present))
        owners = table(present, 64, copies, owners)
        assert table(present, 64, copies, owners) == owners
        assert all(len(set(nodes)) == min(copies, len(present)) for nodes in owners)


def test_a_joining_node_takes_its_share_and_nothing_else_moves() -> None:
    draw = random.Random(20260722)
    for _ in range(1000):
        count, copies = draw.randint(2, 9), draw.randint(1, 2)
        names = [f"node-{draw.getrandbits(40):x}" for _ in range(count)]
        before = table(names, 64, copies)
        joined = f"node-{draw.getrandbits(40):x}"
        after = table([*names, joined], 64, copies, before)
        gained = replicas(after) - replicas(before)
        assert {node for _, node in gained} == {joined}
        assert len(gained) <= 64 * copies / (count + 1) * 1.1
        assert len(gained) == 64 * copies // (count + 1)


def test_a_leaving_node_gives_up_its_shards_and_nothing_else_moves() -> None:
    draw = random.Random(20260723)
    for _ in range(300):
        count, copies = draw.randint(3, 9), draw.randint(1, 2)
        names = [f"node-{draw.getrandbits(40):x}" for _ in range(count)]
        before = table(names, 64, copies)
        gone = draw.choice(names)
        after = table([name for name in names if name != gone], 64, copies, before)
        assert {node for _, node in replicas(before) - replicas(after)} == {gone}
        assert len(replicas(after)) == len(replicas(before))


def test_groups_are_placed_apart() -> None:
    nodes = [
        Node(NodeId("a"), "", GroupId(0)),
        Node(NodeId("b"), "", GroupId(1)),
        Node(NodeId("c"), "", GroupId(1)),
    ]
    owners = propose(nodes, [GroupId(0), GroupId(1), GroupId(2)], 8, 2)
    assert all(each == ("a",) for each in owners[GroupId(0)])
    assert all(set(each) == {"b", "c"} for each in owners[GroupId(1)])
    assert all(each == () for each in owners[GroupId(2)])


def test_fewer_copies_drops_from_the_fullest() -> None:
    names = ["a", "b", "c"]
    wide = table(names, 64, 2)
    narrow = table(names, 64, 1, wide)
    assert replicas(narrow) < replicas(wide)
    assert all(len(nodes) == 1 for nodes in narrow)


def by_weight(weights: dict[str, float], shards: int, copies: int, current: Owners | None = None) -> Owners:
    nodes = [Node(NodeId(name), "", GROUP, weight) for name, weight in weights.items()]
    before = None if current is None else {GROUP: current}
    return propose(nodes, [GROUP], shards, copies, before)[GROUP]


def assert_within_quotas(owners: Owners, weights: dict[str, float], shards: int, copies: int) -> None:
    wanted = min(copies, len(weights))
    assert all(len(nodes) == len(set(nodes)) == wanted for nodes in owners)
    shares = quotas({NodeId(name): weight for name, weight in weights.items()}, shards, wanted)
    for name, held in zip(weights, loads(owners, list(weights)), strict=True):
        share = shares[NodeId(name)]
        assert math.floor(share + 1e-9) <= held <= math.ceil(share - 1e-9), (name, held, share)


weights_of_nodes = st.dictionaries(
    st.text("abcdefghij", min_size=1, max_size=6), st.floats(0.1, 10.0), min_size=1, max_size=10
)


@settings(max_examples=150, deadline=None)
@given(weights_of_nodes, st.sampled_from([1, 3, 16, 64, 100]), st.integers(1, 3))
def test_nodes_hold_shards_by_weight(weights: dict[str, float], shards: int, copies: int) -> None:
    owners = by_weight(weights, shards, copies)
    assert_within_quotas(owners, weights, shards, copies)
    assert by_weight(weights, shards, copies, owners) == owners


@settings(max_examples=150, deadline=None)
@given(weights_of_nodes, weights_of_nodes, st.integers(1, 3))
def test_other_weights_end_at_other_quotas_with_few_moves(
    before: dict[str, float], after: dict[str, float], copies: int
) -> None:
    """From any table to any list of weights: quotas hold, again changes nothing, what stays is what fits."""
    old = by_weight(before, 64, copies)
    new = by_weight(after, 64, copies, old)
    assert_within_quotas(new, after, 64, copies)
    assert by_weight(after, 64, copies, new) == new
    if before == after:
        assert new == old


def test_a_heavier_node_takes_the_difference_and_nothing_else_moves() -> None:
    draw = random.Random(20260724)
    for _ in range(200):
        weights = {f"node-{draw.getrandbits(40):x}": 1.0 for _ in range(draw.randint(3, 8))}
        before = by_weight(weights, 64, 2)
        heavier = draw.choice(list(weights))
        weights[heavier] = 2.0
        after = by_weight(weights, 64, 2, before)
        gained = replicas(after) - replicas(before)
        assert {node for _, node in gained} == {heavier}
        share = quotas({NodeId(name): weight for name, weight in weights.items()}, 64, 2)[NodeId(heavier)]
        held = sum(node == heavier for _, node in replicas(before))
        assert len(gained) == math.floor(share + 1e-9) - held


def test_a_joining_node_takes_no_more_than_its_weight() -> None:
    draw = random.Random(20260725)
    for _ in range(1000):
        weights = {f"node-{draw.getrandbits(40):x}": draw.choice((1.0, 2.0, 0.5)) for _ in range(5)}
        copies = draw.randint(1, 2)
        before = by_weight(weights, 64, copies)
        joined = f"node-{draw.getrandbits(40):x}"
        weights[joined] = draw.choice((0.5, 1.0, 2.0))
        after = by_weight(weights, 64, copies, before)
        gained = replicas(after) - replicas(before)
        assert {node for _, node in gained} == {joined}
        assert len(gained) <= 64 * copies * weights[joined] / sum(weights.values()) * 1.1

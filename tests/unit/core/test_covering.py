"""Every shard is answered exactly once, and by nobody who was not asked to."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from miroir.core.reads.covering import by_health, cover, hopeless
from miroir.core.reads.failover import Trouble, rank_of
from miroir.core.reserved import encode_shard
from miroir.core.topology import IndexView, NodeId, ReplicaState, Snapshot
from tests.unit.core.views import IN_SYNC, index_view, snapshot

NODES = ["n1", "n2", "n3", "n4", "n5"]
placements = st.lists(
    st.dictionaries(st.sampled_from(NODES), st.sampled_from(list(ReplicaState)), min_size=1),
    min_size=1,
    max_size=16,
)


def answered(shards: tuple[int, ...], shard_filter: str | None, held: set[int]) -> set[int]:
    """Which of the shards a node holds pass its filter."""
    if shard_filter is None:
        return held
    named = {shard for shard in held if f'"{encode_shard(shard)}"' in shard_filter}
    return held - named if "NOT IN" in shard_filter else named


@given(
    placements,
    st.integers(0, 50),
    st.sets(st.sampled_from(NODES)),
    st.sets(st.sampled_from(NODES), max_size=2),
)
def test_readable_shards_are_answered_exactly_once(
    placement: list[dict[str, ReplicaState]], rotation: int, second_group: set[str], failed: set[str]
) -> None:
    index = index_view(placement)
    picture = snapshot(index, dict.fromkeys(second_group, 1))
    covering = cover(picture, index, rotation=rotation, rank=lambda node: None if node in failed else 0)
    assigned = [shard for share in covering.shares for shard in share.shards]
    assert sorted([*assigned, *covering.missing]) == list(range(len(placement)))
    for share in covering.shares:
        assert share.node not in failed
        assert all(placement[shard][share.node] is IN_SYNC for shard in share.shards)
        held = {shard for shard, nodes in enumerate(placement) if share.node in nodes}
        assert answered(share.shards, share.shard_filter, held) == set(share.shards)
    for shard in covering.missing:
        assert not [n for n, state in placement[shard].items() if state is IN_SYNC and n not in failed]


@given(placements, st.integers(0, 50))
def test_only_the_shards_asked_for(placement: list[dict[str, ReplicaState]], rotation: int) -> None:
    index = index_view(placement)
    covering = cover(snapshot(index), index, rotation=rotation, shards=[0])
    assert [shard for share in covering.shares for shard in share.shards] + list(covering.missing) == [0]


def a_picture(
    placement: list[dict[str, ReplicaState]], down: set[str], doubted: set[str], suspects: set[str]
) -> tuple[IndexView, Snapshot]:
    """`down` nodes are not live; `doubted` is said of live ones alone, `suspects` of the others."""
    index = index_view(placement)
    picture = replace(
        snapshot(index, down=sorted(down)),
        doubted=frozenset(NodeId(name) for name in doubted - down),
        suspects=frozenset(NodeId(name) for name in suspects & down),
    )
    return index, picture


some_nodes = st.sets(st.sampled_from(NODES))


@given(placements, st.integers(0, 50), some_nodes, some_nodes, some_nodes, some_nodes, some_nodes)
def test_doubt_steers_but_takes_no_replica_away(
    placement: list[dict[str, ReplicaState]],
    rotation: int,
    down: set[str],
    doubted: set[str],
    suspects: set[str],
    failed: set[str],
    late: set[str],
) -> None:
    """A shard is missing only if nobody is left to ask; nobody of a lower rank is passed over."""
    index, picture = a_picture(placement, down, doubted, suspects)
    rank = rank_of(picture, Trouble({NodeId(n) for n in failed}, {NodeId(n) for n in late}), suspects=True)
    covering = cover(picture, index, rotation=rotation, rank=rank)
    for shard, replicas in enumerate(placement):
        whole = [NodeId(node) for node, state in replicas.items() if state is IN_SYNC]
        asked = [share.node for share in covering.shares if shard in share.shards]
        left = [node for node in whole if node not in failed and node in picture.live | picture.suspects]
        assert (shard in covering.missing) == (not left)
        for node in asked:
            assert node in left
            assert rank(node) == min(place for each in left if (place := rank(each)) is not None)


@given(placements, some_nodes, some_nodes, some_nodes)
def test_suspects_are_asked_only_where_that_was_said(
    placement: list[dict[str, ReplicaState]], down: set[str], doubted: set[str], suspects: set[str]
) -> None:
    index, picture = a_picture(placement, down, doubted, suspects)
    assert all(share.node in picture.live for share in cover(picture, index).shares)
    whole = cover(picture, index, rank=by_health(picture, suspects=True))
    assert hopeless(picture, index) == list(whole.missing), "of replicas that do not lag"


@given(placements, some_nodes, st.sets(st.integers(0, 15)))
def test_a_lane_that_is_behind_in_some_shards_answers_for_the_others(
    placement: list[dict[str, ReplicaState]], lagging: set[str], behind: set[int]
) -> None:
    index = index_view(placement)
    lanes = [(NodeId(node), index.physical_uid) for node in sorted(lagging)]
    picture = replace(
        snapshot(index),
        lagging=frozenset(lanes),
        behind={lane: frozenset(behind) for lane in lanes[::2]},  # the others lag as a whole
    )
    partly = {node for node, _ in lanes[::2]}
    for shard, replicas in enumerate(placement):
        assert picture.readable(index, shard) == tuple(
            node
            for node, state in replicas.items()
            if state is IN_SYNC and (node not in lagging or (node in partly and shard not in behind))
        )


def test_one_replica_group_is_preferred_and_turns_with_the_rotation() -> None:
    index = index_view([{"a": IN_SYNC, "b": IN_SYNC}] * 4)
    picture = snapshot(index, {"b": 1})
    asked = [tuple(share.node for share in cover(picture, index, rotation=turn).shares) for turn in range(4)]
    assert asked == [("a",), ("b",), ("a",), ("b",)]


def test_the_shorter_filter_is_sent() -> None:
    stale = ReplicaState.RETIRING
    index = index_view([{"a": IN_SYNC}, {"a": IN_SYNC}, {"a": stale, "b": IN_SYNC}])
    shares = cover(snapshot(index), index).shares
    assert [share.shard_filter for share in shares] == [
        f'_miroir_shard NOT IN ["{encode_shard(2)}"]',
        None,
    ]


def test_ghosts_of_exact_indexes_are_left_out() -> None:
    index = replace(index_view([{"a": IN_SYNC}, {"a": IN_SYNC, "b": IN_SYNC}]), exact=True)
    whole = cover(snapshot(index), index).shares
    part = cover(snapshot(index), index, shards=[0]).shares
    assert [share.shard_filter for share in whole] == ['NOT _miroir_ghost = "\u0700"']
    assert [share.shard_filter for share in part] == [
        f'_miroir_shard IN ["{encode_shard(0)}"] AND NOT _miroir_ghost = "\u0700"'
    ]


def test_load_is_spread_over_the_nodes_that_are_asked_anyway() -> None:
    index = index_view([{"a": IN_SYNC}, {"b": IN_SYNC}, *[{"a": IN_SYNC, "b": IN_SYNC}] * 6])
    shares = cover(snapshot(index), index).shares
    assert [len(share.shards) for share in shares] == [4, 4]

"""Coverage reports against a count made the slow way."""

from hypothesis import given
from hypothesis import strategies as st

from miroir.core.coverage import coverage, ready, shard_table
from miroir.core.topology import GroupId, IndexView, Node, NodeId, PhysicalUid, ReplicaState, Snapshot

NODES = [NodeId(name) for name in ("a", "b", "c")]
placements = st.lists(
    st.dictionaries(st.sampled_from(NODES), st.sampled_from(ReplicaState), max_size=3), min_size=1, max_size=6
).map(tuple)


def snapshot_of(placement: tuple[dict[NodeId, ReplicaState], ...], live: frozenset[NodeId]) -> Snapshot:
    view = IndexView("books", PhysicalUid("p"), "id", placement, {}, 0, 0)
    nodes = {node: Node(node, f"http://{node}") for node in NODES}
    return Snapshot(epoch=1, nodes=nodes, live=live, indexes={"books": view})


@given(placements, st.frozensets(st.sampled_from(NODES)))
def test_coverage_counts_what_the_snapshot_says(
    placement: tuple[dict[NodeId, ReplicaState], ...], live: frozenset[NodeId]
) -> None:
    snapshot = snapshot_of(placement, live)
    seen = coverage(snapshot, 2)
    (index,) = seen.indexes
    readable = [bool(snapshot.readable(snapshot.indexes["books"], shard)) for shard in range(len(placement))]
    assert index.readable == sum(readable)
    assert seen.full == all(readable)
    assert seen.ratio == sum(readable) / len(placement)
    assert sum(sum(counts.values()) for counts in seen.replicas.values()) == sum(map(len, placement))


def test_no_index_means_full_coverage() -> None:
    assert coverage(Snapshot(epoch=0), 1).full
    assert coverage(Snapshot(epoch=0), 1).ratio == 1.0


def test_ready_needs_a_group_that_can_hold_every_shard() -> None:
    nodes = {node: Node(node, "http://x") for node in NODES}
    for away, expected in ((0, True), (1, True), (2, False), (3, False)):
        snapshot = Snapshot(epoch=0, nodes=nodes, live=frozenset(NODES[away:]))
        assert ready(snapshot, 2) is expected
    other = Node(NodeId("d"), "http://x", GroupId(1))
    assert ready(Snapshot(epoch=0, nodes={**nodes, other.id: other}, live=frozenset([other.id])), 1)


def test_shard_table_names_every_replica() -> None:
    snapshot = snapshot_of(
        ({NODES[0]: ReplicaState.IN_SYNC, NODES[1]: ReplicaState.STALE},), frozenset(NODES[:2])
    )
    assert shard_table(snapshot, snapshot.indexes["books"]) == [
        {
            "shard": 0,
            "replicas": [
                {"node": "a", "group": 0, "state": "in_sync", "readable": True},
                {"node": "b", "group": 0, "state": "stale", "readable": False},
            ],
        }
    ]


def test_a_copy_on_its_way_is_no_copy_that_is_missed() -> None:
    a, b, c = NODES
    moving = {a: ReplicaState.IN_SYNC, b: ReplicaState.IN_SYNC, c: ReplicaState.COPYING}
    growing = {a: ReplicaState.IN_SYNC, c: ReplicaState.COPYING}
    everybody = frozenset(NODES)
    assert coverage(snapshot_of((moving,), everybody), 2).degraded_shards == 0
    assert coverage(snapshot_of((growing,), everybody), 2).degraded_shards == 1
    assert coverage(snapshot_of((growing,), everybody), 1).degraded_shards == 0
    assert coverage(snapshot_of((moving,), everybody - {b}), 2).degraded_shards == 1

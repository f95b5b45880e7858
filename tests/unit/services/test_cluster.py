"""Every snapshot shows exactly what the catalogue, the placement and the lanes say, however little it looked at."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from miroir.core.records import (
    CatalogueChange,
    IndexChange,
    IndexState,
    LaneRecord,
    NodeRecord,
    PlacementRecord,
)
from miroir.core.topology import ReplicaState
from miroir.services.cluster import Cluster

NAMES = st.sampled_from("abcd")
NODES = st.sampled_from(["n1", "n2"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("create"), NAMES),
        st.tuples(st.just("drop"), NAMES),
        st.tuples(st.just("swap"), NAMES, NAMES),
        st.tuples(st.just("change"), NAMES),
        st.tuples(st.just("move"), NAMES, NODES),
        st.tuples(st.just("lane"), NAMES, NODES, st.booleans()),
        st.tuples(st.just("live"), NODES, st.booleans()),
        st.tuples(st.just("publish")),
    ),
    max_size=30,
)


def placed(node: str) -> PlacementRecord:
    return PlacementRecord(shards=({node: ReplicaState.IN_SYNC},) * 2, epoch=0)


def check(cluster: Cluster) -> None:
    before = cluster.snapshot()
    cluster.publish()
    snapshot, visible = cluster.snapshot(), cluster.visible
    assert {uid: view.physical_uid for uid, view in snapshot.indexes.items()} == visible.names
    for uid, view in snapshot.indexes.items():
        state = visible.indexes[view.physical_uid]
        assert view.uid == uid
        assert view.placement is cluster.placement[view.physical_uid].shards
        assert (view.updated_at, view.primary_key) == (state.updated_at, state.primary_key)
    lagging = {(node, physical) for (physical, node), lane in cluster.lanes.items() if lane.lagging}
    assert snapshot.lagging == lagging | {(node, physical) for physical, node in cluster.rolling}
    assert snapshot.live == cluster.live
    assert snapshot.nodes.keys() == cluster.nodes.keys()
    for part in ("nodes", "live", "lagging", "indexes"):
        old, new = getattr(before, part), getattr(snapshot, part)
        assert old is new or old != new or part == "indexes"


@given(STEPS)
def test_snapshots_follow(steps: list[Any]) -> None:
    cluster = Cluster(cast(Any, None), cast(Any, None))
    cluster.nodes = {name: NodeRecord(id=name, address=name) for name in ("n1", "n2")}
    visible = cluster.visible
    for clock, step in enumerate(steps, start=1):
        match step:
            case ("create", name) if name not in visible.names:
                physical = f"p{clock}"
                cluster.placement[physical] = placed("n1")
                created = IndexState(physical=physical, created_at=clock, updated_at=clock)
                change = CatalogueChange(
                    names={name: physical}, indexes={physical: IndexChange(created=created)}
                )
                visible.apply(change, now_ns=clock)
            case ("drop", name):
                visible.apply(CatalogueChange(names={name: None}), now_ns=clock)
            case ("swap", one, other) if one in visible.names and other in visible.names:
                names = {one: visible.names[other], other: visible.names[one]}
                visible.apply(CatalogueChange(names=names), now_ns=clock)  # type: ignore[arg-type]
            case ("change", name) if name in visible.names:
                patch = IndexChange(primary_key=f"k{clock}")
                visible.apply(CatalogueChange(indexes={visible.names[name]: patch}), now_ns=clock)
            case ("move", name, node) if name in visible.names:
                cluster.placement[visible.names[name]] = placed(node)
            case ("lane", name, node, lagging):
                cluster.lanes[visible.names.get(name, "gone"), node] = LaneRecord(lagging=lagging)
            case ("live", node, up):
                cluster.live = cluster.live | {node} if up else cluster.live - {node}
            case ("publish",):
                check(cluster)
    check(cluster)

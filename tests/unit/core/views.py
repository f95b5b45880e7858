"""Small pictures of a cluster for tests of the read path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from miroir.core.topology import GroupId, IndexView, Node, NodeId, PhysicalUid, ReplicaState, Snapshot

IN_SYNC = ReplicaState.IN_SYNC


def index_view(
    placement: Sequence[Mapping[str, ReplicaState]] = ({"n1": IN_SYNC},),
    *,
    field_order: tuple[str, ...] = ("id", "title"),
    **settings: Any,
) -> IndexView:
    """An index `books` whose documents are keyed by `id`."""
    return IndexView(
        uid="books",
        physical_uid=PhysicalUid("miroir-000001"),
        primary_key="id",
        placement=tuple({NodeId(node): state for node, state in shard.items()} for shard in placement),
        settings=settings,
        created_at=0,
        updated_at=0,
        field_order=field_order,
    )


def snapshot(index: IndexView, groups: Mapping[str, int] | None = None, down: Sequence[str] = ()) -> Snapshot:
    """Everything live but `down`; `groups` names the replica group of nodes that are not in group 0."""
    names = {node for shard in index.placement for node in shard}
    nodes = {
        name: Node(name, f"http://{name}", GroupId((groups or {}).get(name, 0))) for name in sorted(names)
    }
    return Snapshot(
        epoch=1,
        nodes=nodes,
        live=frozenset(names - {NodeId(name) for name in down}),
        indexes={index.uid: index},
    )

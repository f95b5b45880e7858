"""Which node a copy reads."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from miroir.core.records import PlacementRecord
from miroir.core.topology import NodeId, ReplicaState
from miroir.services.moves.standing import Standing

IN_SYNC = ReplicaState.IN_SYNC


@pytest.mark.parametrize(
    ("live", "doubted", "wanted"),
    [("abc", "", "a"), ("abc", "a", "b"), ("ac", "a", "c"), ("a", "a", "a"), ("", "", None)],
)
def test_a_copy_reads_from_a_late_node_only_where_no_other_can_answer(
    live: str, doubted: str, wanted: str | None
) -> None:
    cluster = SimpleNamespace(
        placement={"p": PlacementRecord(shards=(dict.fromkeys("abc", IN_SYNC),), epoch=0)},
        live=set(map(NodeId, live)),
        doubted=set(map(NodeId, doubted)),
        lanes={},
    )
    delivery = SimpleNamespace(lane=lambda layout, node: None)
    found = Standing(cast(Any, cluster), cast(Any, delivery), cast(Any, None)).one_node("p", [0], 7)
    assert (None if found is None else found.nodes) == (None if wanted is None else [wanted])

"""An index gets another number of shards while clients write and read: nobody notices, and it can be taken back."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from miroir.core.moves.operation_records import OperationRecord, OperationState
from tests.simulation.test_moves import Shelf, under_load
from tests.support.moving import assert_consistent, moving_cluster, operations, settle
from tests.support.sim_cluster import Shape, SimCluster
from tests.support.virtual_time import run_virtual


def shards_of(cluster: SimCluster, uid: str = "films") -> int:
    """How many shards readers see."""
    return cluster.orchestrator.writes.cluster.snapshot().indexes[uid].shard_count


async def held(cluster: SimCluster) -> dict[str, set[str]]:
    """Node -> indexes of ours that it holds."""
    return {
        name: {
            index["uid"]
            for index in (await node.ask("GET", "/indexes?limit=1000"))["results"]
            if index["uid"].startswith("miroir-0")
        }
        for name, node in cluster.nodes.items()
        if node.up
    }


async def reshard(cluster: SimCluster, shards: int, *, retention_s: float = 0.0) -> OperationRecord:
    return await operations(cluster).reshard("films", shards, retention_s)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("before", "after"), [(4, 6), (4, 8), (8, 2)])
def test_the_number_of_shards_changes_under_load(seed: int, before: int, after: int) -> None:
    async def main() -> None:
        rng = random.Random(seed)
        async with moving_cluster(Shape(nodes=3, replication_factor=2, shards=before), rng) as cluster:
            shelf = Shelf(cluster, rng)
            await shelf.load(150)
            await under_load(cluster, shelf, lambda: reshard(cluster, after))
            assert operations(cluster).all[1].state is OperationState.DONE
            assert shards_of(cluster) == after
            await assert_consistent(cluster, {"films": shelf.documents})
            (layout,) = cluster.orchestrator.writes.cluster.sequenced.find("films").layouts
            assert all(found <= {layout} for found in (await held(cluster)).values())

    run_virtual(main())

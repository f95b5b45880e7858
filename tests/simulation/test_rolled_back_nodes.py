"""A node comes back on an older copy of its disk: it has the right name, and has forgotten what was acknowledged."""

from __future__ import annotations

import asyncio
import random

import pytest

from miroir.core.moves.operation_records import OperationKind
from tests.simulation.test_moves import Shelf
from tests.support.moving import add_node, assert_consistent, moving_cluster, operations, settle
from tests.support.sim_cluster import Shape, SimCluster
from tests.support.virtual_time import run_virtual

SHAPE = Shape(nodes=3, replication_factor=2, shards=8)


async def _rebuilt(cluster: SimCluster, shelf: Shelf) -> None:
    await cluster.until(
        "it is rebuilt", lambda: any(o.kind is OperationKind.RESYNC for o in operations(cluster).all.values())
    )
    await settle(cluster)
    await cluster.until("quiet", cluster.is_quiet)
    await assert_consistent(cluster, {"films": shelf.documents})


@pytest.mark.parametrize("away_s", [0.0, 6.0])
@pytest.mark.parametrize("quiet", [True, False])
def test_what_it_has_forgotten_is_brought_back(away_s: float, quiet: bool) -> None:
    """At once, between two probes, or after it was seen to be down; with and without writes meanwhile."""

    async def main() -> None:
        rng = random.Random(3)
        async with moving_cluster(SHAPE, rng) as cluster:
            shelf = Shelf(cluster, rng)
            await shelf.load(60)
            node = cluster.nodes["n0-1"]
            await cluster.until("quiet", cluster.is_quiet)
            copy = node.disk()
            for _ in range(12):
                await shelf.write_something()
            await cluster.until("quiet", cluster.is_quiet)
            await node.roll_back(copy)
            await asyncio.sleep(away_s)
            await node.start()
            if not quiet:
                for _ in range(30):
                    await shelf.write_something()
            await _rebuilt(cluster, shelf)

    run_virtual(main())


def test_a_node_that_stands_where_it_stood_is_left_alone() -> None:
    async def main() -> None:
        rng = random.Random(4)
        async with moving_cluster(SHAPE, rng) as cluster:
            shelf = Shelf(cluster, rng)
            await shelf.load(60)
            await cluster.until("quiet", cluster.is_quiet)
            node = cluster.nodes["n0-1"]
            copy = node.disk()
            await node.roll_back(copy)
            await node.start()
            for _ in range(10):
                await shelf.write_something()
            await asyncio.sleep(20.0)
            assert operations(cluster).all == {}
            await assert_consistent(cluster, {"films": shelf.documents})

    run_virtual(main())


@pytest.mark.parametrize("moved", [False, True])
def test_a_node_that_was_rolled_back_while_no_orchestrator_ran(moved: bool) -> None:
    """What came by copies is in no log: that they are gone is known by the number of the node's newest task."""

    async def main() -> None:
        rng = random.Random(5)
        async with moving_cluster(SHAPE, rng) as cluster:
            shelf = Shelf(cluster, rng)
            await shelf.load(60)
            if moved:
                await add_node(cluster, "x0")
                await cluster.until("copying", lambda: any(c.documents for c in operations(cluster).copies()))
            node = cluster.nodes["x0" if moved else "n0-1"]
            copy = node.disk()
            await settle(cluster)
            if not moved:
                for _ in range(6):
                    await shelf.write_something()
            await cluster.until("quiet", cluster.is_quiet)
            await cluster.crash_orchestrator()
            await node.roll_back(copy)
            await node.start()
            await cluster.start_orchestrator()
            await cluster.until("it is back", cluster.all_live)
            await asyncio.sleep(5.0)
            await settle(cluster)
            await cluster.until("quiet", cluster.is_quiet)
            await assert_consistent(cluster, {"films": shelf.documents})

    run_virtual(main())

"""What a copy has the log keep never stops the writes of clients: a copy that holds up too much begins anew."""

from __future__ import annotations

import dataclasses
import random

from miroir.core.moves.operation_records import OperationState
from tests.simulation.test_moves import Shelf
from tests.support.moving import add_node, assert_consistent, moving_cluster, operations, settle
from tests.support.sim_cluster import Shape
from tests.support.virtual_time import run_virtual


def test_writes_go_on_however_long_a_copy_is_paused() -> None:
    async def main() -> None:
        rng = random.Random(15)
        shape = Shape(nodes=3, replication_factor=2, shards=8)
        async with moving_cluster(shape, rng, documents_per_s=20.0) as cluster:
            shelf = Shelf(cluster, rng)
            await shelf.load(60)
            log = cluster.orchestrator.writes.log
            limits = dataclasses.replace(log._limits, log_bytes_max=100_000, keep_done_s=1.0)
            log._limits = cluster.orchestrator.writes.retention._limits = limits
            begun = await add_node(cluster, "x0")
            ops = operations(cluster)
            await cluster.until("documents are copied", lambda: any(c.documents for c in ops.copies()))
            await ops.control(begun.id, OperationState.PAUSED)
            for number in range(60):
                await shelf.add([{**shelf.document(1000 + number), "text": "x" * 4000}])
                if log.is_nearly_full:
                    await cluster.until("there is room again", lambda: not log.is_nearly_full, within_s=30)
            assert ops.all[begun.id].state is OperationState.PAUSED
            await ops.control(begun.id, OperationState.RUNNING)
            await settle(cluster)
            await cluster.until("quiet", cluster.is_quiet)
            assert ops.all[begun.id].state is OperationState.DONE
            await assert_consistent(cluster, {"films": shelf.documents})

    run_virtual(main())

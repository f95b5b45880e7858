"""Each safety of moving data switched off in turn: small simulations must notice (docs/mutations.md)."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from miroir.core.moves.operation_records import CopyRecord, OperationKind, OperationState
from miroir.core.reads import covering
from miroir.services.cluster import Cluster
from miroir.services.moves.copier import Copier
from miroir.services.moves.held_ops import HeldOps
from miroir.services.moves.shard_calls import ShardCalls
from miroir.services.moves.sources import Source
from miroir.services.prober import Prober
from tests.simulation.mutations import Mutation, Patch, Story, losing_pages, must_be_noticed
from tests.simulation.test_moves import Shelf, under_load
from tests.support.moving import add_node, assert_consistent, moving_cluster, operations, placement_of, settle
from tests.support.sim_cluster import Shape
from tests.support.virtual_time import run_virtual


async def _join(seed: int) -> None:
    """A node joins under load; afterwards everything must be right."""
    rng = random.Random(seed)
    async with moving_cluster(Shape(nodes=3, replication_factor=2, shards=8), rng) as cluster:
        shelf = Shelf(cluster, rng)
        await shelf.load(120)
        await under_load(cluster, shelf, lambda: add_node(cluster, "x0"))
        await assert_consistent(cluster, {"films": shelf.documents})


async def _slow_join(seed: int) -> None:
    """A node joins so slowly that many writes come while its shards are copied."""
    rng = random.Random(seed)
    shape = Shape(nodes=3, replication_factor=2, shards=8)
    async with moving_cluster(shape, rng, documents_per_s=40.0) as cluster:
        shelf = Shelf(cluster, rng)
        await shelf.load(120)
        await under_load(cluster, shelf, lambda: add_node(cluster, "x0"))
        await assert_consistent(cluster, {"films": shelf.documents})


async def _stale(seed: int) -> None:
    """A node misses deletions while it is stale, and is rebuilt."""
    rng = random.Random(seed)
    async with moving_cluster(Shape(nodes=3, replication_factor=2, shards=8), rng) as cluster:
        shelf = Shelf(cluster, rng)
        await shelf.load(120)
        completion = cluster.orchestrator.writes.completion
        await cluster.nodes["n0-1"].crash()
        await cluster.until("it is down", lambda: "n0-1" not in cluster.orchestrator.writes.cluster.live)
        await completion.lose_node("n0-1")
        gone = [one for one in sorted(shelf.documents) if int(one) >= 5][:40]
        await shelf.send("POST", "/documents/delete-batch", [int(one) for one in gone])
        for one in gone:
            del shelf.documents[one]
        await cluster.nodes["n0-1"].start()
        await cluster.until("rebuilding", lambda: bool(operations(cluster).all))
        await settle(cluster)
        await assert_consistent(cluster, {"films": shelf.documents})


async def _wiped_source(seed: int) -> None:
    """A source loses its disk just before the switch: nobody has probed it since."""
    rng = random.Random(seed)
    async with moving_cluster(Shape(nodes=2, replication_factor=1, shards=4), rng) as cluster:
        shelf = Shelf(cluster, rng)
        await shelf.load(60)
        before = Copier._settle

        async def settle_wiped(self: Copier, copy: CopyRecord, source: Source) -> bool:
            (held_by,) = source.nodes
            await cluster.nodes[held_by].wipe()
            await cluster.nodes[held_by].start()
            for node in {held_by, copy.target}:
                await cluster.nodes[node].ask("GET", "/health")
            self._calls.digests = _empty  # type: ignore[method-assign]
            self._calls.count = _none  # type: ignore[method-assign]
            return await before(self, copy, source)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Copier, "_settle", settle_wiped)
            begun = await add_node(cluster, "x0")
            end = asyncio.get_running_loop().time() + 20
            await cluster.until("some time passes", lambda: asyncio.get_running_loop().time() > end)
            assert operations(cluster).all[begun.id].state is not OperationState.DONE
            states = {s for r in placement_of(cluster).values() for x in r for n, s in x.items() if n == "x0"}
            assert "in_sync" not in states, "an empty node was agreed with"


async def _empty(*_: Any) -> dict[str, bytes]:
    return {}


async def _none(*_: Any) -> int:
    return 0


async def _undrain(seed: int) -> None:
    """A drain is taken back in the middle: no shard may be short of copies afterwards."""
    rng = random.Random(seed)
    async with moving_cluster(
        Shape(nodes=3, replication_factor=2, shards=8), rng, documents_per_s=60.0
    ) as cluster:
        shelf = Shelf(cluster, rng)
        await shelf.load(120)
        ops = operations(cluster)
        await ops.request(OperationKind.DRAIN, {"node": "n0-2"})
        await cluster.until("copying", lambda: any(copy.active for copy in ops.copies()))
        undrain = await ops.request(OperationKind.UNDRAIN, {"node": "n0-2"})
        await cluster.until(
            "planned", lambda: ops.all[undrain.id].replans > 0 or not ops.all[undrain.id].open
        )
        if ops.all[undrain.id].open:
            await ops.control(undrain.id, OperationState.CANCELLING)
        await settle(cluster)
        assert {len(r) for shards in placement_of(cluster).values() for r in shards} == {2}


def no_held_ops(patch: Patch) -> None:
    patch.setattr(HeldOps, "next_batch", lambda self, copy: None)
    patch.setattr(Copier, "_equal", _agree)


def no_comparison(patch: Patch) -> None:
    """... while a page in three is lost."""
    patch.setattr(Copier, "_equal", _agree)
    losing_pages(patch)


def no_shard_filter(patch: Patch) -> None:
    patch.setattr(covering, "_shard_filter", lambda answers_for, holds: None)


def no_id_snapshot(patch: Patch) -> None:
    """The list of ids is read in pages while documents are deleted; and nothing compares."""
    whole = ShardCalls.ids

    async def paged(self: ShardCalls, *args: Any) -> list[str]:
        found = await whole(self, *args)
        return [one for place, one in enumerate(found) if place % 7 != 6]

    patch.setattr(ShardCalls, "ids", paged)
    patch.setattr(Copier, "_equal", _agree)


def no_wiping(patch: Patch) -> None:
    async def nothing_there(self: ShardCalls, *args: Any) -> int:
        return 0

    patch.setattr(ShardCalls, "count", nothing_there)
    patch.setattr(Copier, "_equal", _agree)


def no_identity(patch: Patch) -> None:
    async def always(self: Prober, node: str) -> bool:
        return True

    patch.setattr(Prober, "is_itself", always)


async def _agree(self: Copier, copy: CopyRecord, source: Source) -> bool:
    return True


MUTATIONS: list[tuple[Mutation, Story]] = [
    (no_held_ops, _slow_join),
    (no_comparison, _join),
    (no_shard_filter, _join),
    (no_id_snapshot, _join),
    (no_wiping, _stale),
    (no_identity, _wiped_source),
]


@pytest.mark.parametrize(("mutation", "story"), MUTATIONS, ids=[m.__name__ for m, _ in MUTATIONS])
def test_a_safety_that_is_switched_off_is_missed(mutation: Mutation, story: Story) -> None:
    must_be_noticed(mutation, story)


@pytest.mark.parametrize(
    "story", [_join, _slow_join, _stale, _wiped_source, _undrain], ids=lambda story: story.__name__
)
def test_with_every_safety_on_the_stories_end_well(story: Story) -> None:
    run_virtual(story(0))


def test_the_last_in_sync_copy_cannot_be_dropped() -> None:
    """The check of the placement stands between any mistake and the table."""

    async def main() -> None:
        async with moving_cluster(
            Shape(nodes=2, replication_factor=1, shards=2), random.Random(1)
        ) as cluster:
            shelf = Shelf(cluster, random.Random(2))
            await shelf.load(5)
            placed: Cluster = cluster.orchestrator.writes.cluster
            physical, record = next(iter(placed.placement.items()))
            from miroir.core.moves.copying import UnsafeChangeError
            from miroir.core.records import PlacementRecord

            emptied = PlacementRecord(shards=tuple({} for _ in record.shards), epoch=record.epoch)
            async with placed.changing:
                with pytest.raises(UnsafeChangeError):
                    await placed.change_placement(physical, emptied)

    run_virtual(main())

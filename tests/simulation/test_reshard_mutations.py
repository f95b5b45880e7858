"""Each safety of a second layout switched off in turn: small simulations must notice (docs/mutations.md)."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import msgspec
import pytest

from miroir.core.moves.operation_records import CopyRecord, OperationState
from miroir.services.moves.copier import Copier
from miroir.services.moves.layout_check import LayoutCheck
from miroir.services.moves.sources import Source
from miroir.services.writes import resolver
from tests.simulation.mutations import Mutation, Patch, Story, losing_pages, must_be_noticed
from tests.simulation.test_moves import Shelf, under_load
from tests.simulation.test_reshard import LONG_S, SHAPE, reshard, until_read
from tests.support.moving import assert_consistent, moving_cluster, operations, settle, task_end
from tests.support.virtual_time import run_virtual


async def _there(seed: int) -> None:
    """Another number of shards under load."""
    rng = random.Random(seed)
    async with moving_cluster(SHAPE, rng, documents_per_s=60.0) as cluster:
        shelf = Shelf(cluster, rng)
        await shelf.load(80)
        await under_load(cluster, shelf, lambda: reshard(cluster, 6))
        await assert_consistent(cluster, {"films": shelf.documents})


async def _and_back(seed: int) -> None:
    """... and back, after writes."""
    rng = random.Random(seed)
    async with moving_cluster(SHAPE, rng) as cluster:
        shelf = Shelf(cluster, rng)
        await shelf.load(40)
        begun = await reshard(cluster, 6, LONG_S)
        await until_read(cluster, 6)
        for _ in range(6):
            await shelf.write_something()
        await operations(cluster).control(begun.id, OperationState.CANCELLING)
        await settle(cluster)
        await assert_consistent(cluster, {"films": shelf.documents})


async def _and_back_after_a_refusal(seed: int) -> None:
    """... and back, after nodes refused parts of a payload that were not the same parts in both layouts."""
    rng = random.Random(seed)
    async with moving_cluster(SHAPE, rng) as cluster:
        shelf = Shelf(cluster, rng)
        await shelf.load(20)
        await shelf.send("PATCH", "/settings", {"filterableAttributes": ["genre", "_geo"]})
        begun = await reshard(cluster, 6, LONG_S)
        await until_read(cluster, 6)
        batch = [shelf.document(20_000 + n) for n in range(12)]
        batch[7]["_geo"] = "nowhere"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(resolver, "check_documents", lambda *args: None)
            reply = await cluster.ask("POST", "/indexes/films/documents", batch)
            await task_end(cluster, reply.body["taskUid"])
        end = asyncio.get_running_loop().time() + 20
        await cluster.until("it is settled", lambda: asyncio.get_running_loop().time() > end)
        listed = (await cluster.ask("GET", "/indexes/films/documents?limit=1000")).body["results"]
        shelf.documents = {str(one["id"]): one for one in listed}
        await operations(cluster).control(begun.id, OperationState.CANCELLING)
        await settle(cluster)
        await assert_consistent(cluster, {"films": shelf.documents})


def no_verification(patch: Patch) -> None:
    """... while a page in three is lost."""

    async def agree(self: LayoutCheck, *args: Any) -> bool:
        return True

    async def equal(self: Copier, copy: CopyRecord, source: Source) -> bool:
        return True

    patch.setattr(LayoutCheck, "_verify", agree)
    patch.setattr(Copier, "_equal", equal)
    losing_pages(patch)


def no_second_layout_fed(patch: Patch) -> None:
    whole = resolver.Resolver._with_layouts

    def one_only(self: resolver.Resolver, resolution: Any) -> Any:
        return msgspec.structs.replace(whole(self, resolution), other_layout=None, other_shards=())

    patch.setattr(resolver.Resolver, "_with_layouts", one_only)


def no_refusal_noted(patch: Patch) -> None:
    patch.setattr(LayoutCheck, "refused", lambda self, op, resolution: None)


MUTATIONS: list[tuple[Mutation, Story]] = [
    (no_verification, _there),
    (no_second_layout_fed, _and_back),
    (no_refusal_noted, _and_back_after_a_refusal),
]


@pytest.mark.parametrize(("mutation", "story"), MUTATIONS, ids=[m.__name__ for m, _ in MUTATIONS])
def test_a_safety_that_is_switched_off_is_missed(mutation: Mutation, story: Story) -> None:
    must_be_noticed(mutation, story)


@pytest.mark.parametrize("story", [_and_back, _and_back_after_a_refusal], ids=lambda story: story.__name__)
def test_with_every_safety_on_the_stories_end_well(story: Story) -> None:
    run_virtual(story(0))

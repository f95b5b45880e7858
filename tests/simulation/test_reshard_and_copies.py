"""A layout is verified as it will be read: also the replicas that are being made of it meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from miroir.core.hashing import shard_of
from miroir.core.moves.operation_records import CopyPhase, OperationState
from miroir.meili.http import HttpRequest
from miroir.services.moves.copier import Copier
from tests.simulation.test_moves import STILL, Shelf
from tests.simulation.test_reshard import LONG_S, reshard, shards_of, story, until_read
from tests.support.moving import operations
from tests.support.sim_cluster import NODE_KEY, SimCluster


def test_a_replica_that_is_made_while_its_layout_is_verified_is_verified_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its source is set right after both were compared: what it got before must not be read."""

    async def tell(cluster: SimCluster, shelf: Shelf) -> None:
        begun = await reshard(cluster, 6, LONG_S)
        await until_read(cluster, 6)
        await cluster.until("quiet", cluster.is_quiet)
        writes, loop = cluster.orchestrator.writes, asyncio.get_running_loop()
        index = writes.cluster.sequenced.find("films")
        assert index is not None
        assert index.other_layout is not None
        old, number = index.other_layout, STILL + 1
        shard = shard_of(str(number), 4)
        holders = sorted(writes.cluster.placement[old].shards[shard])
        path = f"/indexes/{old}/documents"
        for node in holders:  # as after an op that nodes of this layout took, and others refused
            found = await cluster.nodes[node].ask("POST", f"{path}/fetch", {"ids": [number]})
            body = orjson.dumps([{**found["results"][0], "title": "refused elsewhere"}])
            headers = {"authorization": f"Bearer {NODE_KEY}", "content-type": "application/json"}
            await cluster.nodes[node].engine.edge.respond(HttpRequest("POST", path, "", headers, body))
            await cluster.nodes[node].engine.drain()
        cluster.orchestrator.moving.check.suspect(old, {shard})
        before, until = Copier._try_flip, loop.time() + 40.0

        async def late(self: Copier, copy: Any) -> bool:
            if copy.physical == old and loop.time() < until:
                return False
            return await before(self, copy)

        monkeypatch.setattr(Copier, "_try_flip", late)
        writes.completion.sights.spoil(old, holders[1], {shard})
        writes.completion.lane_moved(old, holders[1])
        await cluster.until(
            "it is copied", lambda: any(c.phase is CopyPhase.FOLLOWING for c in operations(cluster).copies())
        )
        await asyncio.sleep(2.0)  # both are compared
        await operations(cluster).control(begun.id, OperationState.CANCELLING)
        await cluster.until("the old layout is read", lambda: shards_of(cluster) == 4, within_s=200)

    story(tell, 21)

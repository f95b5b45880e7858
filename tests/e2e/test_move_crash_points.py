"""The orchestrator is killed -9 right after a chosen durable write of an operation: the end is the planned one.

Real processes, a sample of points; `tests/simulation/test_move_crashes.py` takes every point of every kind. What an
operation comes to without a crash is what it says before it begins: each end is compared with the plan.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.test_moves import settled
from tests.support.growing import operation_end, start_node
from tests.support.library import Library
from tests.support.mortal import start_mortal
from tests.support.processes import RealCluster, eventually, real_cluster

Placed = list[dict[str, str]]  #: of each shard: node -> state

#: (method, path, body, after which durable write of the operation to die); 0: not at all
JOIN = ("POST", "/_miroir/nodes", {"id": "node-4", "replica_group": 0})
DRAIN, UNDRAIN = (("POST", f"/_miroir/nodes/node-4/{verb}", None) for verb in ("drain", "undrain"))
THREE, TWO = (("PUT", "/_miroir/replication_factor", {"replication_factor": n}) for n in (3, 2))
MORE, LESS = (("POST", "/_miroir/indexes/films/reshard", {"shards": n, "retention_s": 0}) for n in (12, 8))
STORY: list[tuple[tuple[str, str, Any], int]] = [
    (JOIN, 3), (DRAIN, 1), (UNDRAIN, 0), (DRAIN, 5), (UNDRAIN, 6), (THREE, 4), (TWO, 2), (MORE, 2), (LESS, 7),
]  # fmt: skip


async def _placement(cluster: RealCluster) -> Placed:
    _, shards = await cluster.admin("GET", "/_miroir/shards")
    (films,) = (index for index in shards["indexes"] if index["index"] == "films")
    return [{one["node"]: one["state"] for one in row["replicas"]} for row in films["shards"]]


def _planned(before: Placed, plan: dict[str, Any]) -> Placed:
    """The placement once every move of a plan is made."""
    count = plan["args"].get("shards")
    after: Placed = [{} for _ in range(count)] if count else [dict(replicas) for replicas in before]
    for move in plan["moves"]:
        if move["from"] is not None:
            del after[move["shard"]][move["from"]]
        if move["to"] is not None:
            after[move["shard"]][move["to"]] = "in_sync"
    return after


async def _until_dead(process: subprocess.Popen[bytes], asking: asyncio.Task[Any]) -> None:
    async def dead() -> bool:
        return process.poll() is not None

    await eventually("the chosen write was made", dead, within_s=30)
    await asyncio.wait({asking})


async def _step(cluster: RealCluster, request: tuple[str, str, Any], after: int) -> None:
    method, path, body = request
    before = await _placement(cluster)
    status, plan = await cluster.admin(method, f"{path}?dry_run=true", body)
    assert status == 200, plan
    _, known = await cluster.admin("GET", "/_miroir/operations")
    newest = max((one["id"] for one in known["results"]), default=0)
    if after:
        process = start_mortal(cluster, after)
        await _ready(cluster)
        asking = asyncio.ensure_future(_ask(cluster, method, path, body))
        await _until_dead(process, asking)
        cluster.restart("orchestrator")
        await _ready(cluster)
    else:
        await _ask(cluster, method, path, body)
    ended = await operation_end(cluster, newest + 1)
    assert ended["state"] == "done", ended
    await settled(cluster)
    assert await _placement(cluster) == _planned(before, plan), (request, after)


async def _ask(cluster: RealCluster, method: str, path: str, body: Any) -> None:
    try:
        status, answer = await cluster.admin(method, path, body)
    except aiohttp.ClientError:
        return  # it died with the request in its hands
    assert status == 202, answer


async def _ready(cluster: RealCluster) -> None:
    async def ready() -> bool:
        try:
            return (await cluster.ask("GET", "/_miroir/ready"))[0] == 200
        except aiohttp.ClientError:
            return False

    await eventually("the orchestrator is ready", ready)


async def _story(directory: Path) -> None:
    async with real_cluster(directory, "--replication-factor", "2", "--shards", "8") as cluster:
        library = Library(cluster, random.Random(5), kills=True)
        await library.load(400)
        address = await start_node(cluster, "node-4")
        async with asyncio.TaskGroup() as group:
            group.create_task(library.write())
            group.create_task(library.read())
            for (method, path, body), after in STORY:
                wanted = {**body, "address": address} if path == "/_miroir/nodes" else body
                await _step(cluster, (method, path, wanted), after)
            library.stop.set()
        assert library.problems == [], library.problems[:3]
        await settled(cluster)
        await library.check(copies=2)


@pytest.mark.slow
def test_a_crash_after_a_durable_write_of_an_operation_leads_to_its_plan(tmp_path: Path) -> None:
    asyncio.run(_story(tmp_path))

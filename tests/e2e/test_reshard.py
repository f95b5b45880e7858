"""An index gets another number of shards with real processes, under reads and writes, and goes back."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.test_moves import settled
from tests.support.growing import operation_end
from tests.support.library import Library
from tests.support.processes import RealCluster, engines, eventually, real_cluster

ROUTE = "/_miroir/indexes/films/reshard"


async def _shards(cluster: RealCluster) -> int:
    _, index = await cluster.admin("GET", "/_miroir/indexes/films")
    return int(index["shards"])


async def _until_read(cluster: RealCluster, shards: int) -> None:
    async def read() -> bool:
        try:
            return await _shards(cluster) == shards
        except (aiohttp.ClientError, KeyError):
            return False  # the orchestrator is being started again

    await eventually("readers use the new layout", read, within_s=120)


async def _there_and_back(directory: Path, engine: tuple[str, ...]) -> None:
    options = (*engine, "--replication-factor", "2", "--shards", "8")
    async with real_cluster(directory, *options) as cluster:
        library = Library(cluster, random.Random(3), kills=True)
        await library.load(1000)
        status, plan = await cluster.admin("POST", f"{ROUTE}?dry_run=true", {"shards": 12})
        assert status == 200, plan
        assert plan["planned"]["documents"] == 2000
        async with asyncio.TaskGroup() as group:
            group.create_task(library.write())
            group.create_task(library.read())
            status, begun = await cluster.admin("POST", ROUTE, {"shards": 12, "retention_s": 3600})
            assert status == 202, begun
            cluster.kill("orchestrator")
            cluster.restart("orchestrator")
            await _until_read(cluster, 12)
            writes = library.writes
            await eventually("writes go on", lambda: _passed(library, writes + 6))
            status, cancelled = await cluster.admin(
                "POST", f"/_miroir/operations/{begun['operation']}/cancel"
            )
            assert status == 202, cancelled
            ended = await operation_end(cluster, begun["operation"])
            assert ended["state"] == "cancelled", ended
            library.stop.set()
        assert library.problems == [], library.problems[:3]
        assert await _shards(cluster) == 8
        await settled(cluster)
        await library.check(copies=2)


async def _passed(library: Library, writes: int) -> bool:
    return library.writes >= writes


@pytest.mark.slow
@pytest.mark.parametrize("engine", engines(), ids=lambda options: options[1])
def test_the_number_of_shards_changes_under_reads_and_writes_and_back(
    tmp_path: Path, engine: tuple[str, ...]
) -> None:
    asyncio.run(_there_and_back(tmp_path, engine))

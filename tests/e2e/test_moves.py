"""The founding acceptance with real processes: a cluster grows under reads and writes, and nobody notices.

`MIROIR_KILL_ROUNDS=50` kills sources, targets and the orchestrator at random moments of that many moves.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
from pathlib import Path

import aiohttp
import pytest

from miroir.core.reserved import SHARD_FIELD, decode_shard
from tests.support.growing import operation_end, start_node
from tests.support.library import STILL, Library
from tests.support.processes import RealCluster, engines, eventually, real_cluster
from tests.support.replicas import shards_on

DOCUMENTS = 10_000
ROUNDS = int(os.environ.get("MIROIR_KILL_ROUNDS") or 2)


async def settled(cluster: RealCluster) -> None:
    """Every node answers, nothing is to be moved, deleted or caught up."""

    async def nothing_open() -> bool:
        try:
            _, status = await cluster.admin("GET", "/_miroir/rebalance/status")
        except aiohttp.ClientError:
            return False
        return not status["in_progress"]

    async def all_answer() -> bool:
        """Before the prober has noticed that a killed node is not back yet, it still counts as live."""
        try:
            return all([(await cluster.ask_node(n, "GET", "/health"))[0] == 200 for n in cluster.node_ids()])
        except aiohttp.ClientError:
            return False

    await eventually("every node answers", all_answer, within_s=60)
    await cluster.caught_up(within_s=120)
    await eventually("nothing moves", nothing_open, within_s=120)

    async def old_copies_gone() -> bool:
        _, shards = await cluster.admin("GET", "/_miroir/shards")
        return "retiring" not in str(shards)

    await eventually("old copies are deleted", old_copies_gone, within_s=120)
    await cluster.caught_up(within_s=120)


async def _grow(directory: Path) -> None:
    async with real_cluster(directory, "--replication-factor", "2") as cluster:
        library = Library(cluster, random.Random(1))
        await library.load(DOCUMENTS)
        address = await start_node(cluster, "node-4")
        wanted = {"id": "node-4", "address": address, "replica_group": 0}
        status, plan = await cluster.admin("POST", "/_miroir/nodes?dry_run=true", wanted)
        assert status == 200, plan
        assert {move["to"] for move in plan["moves"]} == {"node-4"}
        bound = 2 * DOCUMENTS / 4 * 1.1
        assert plan["planned"]["documents"] <= bound
        async with asyncio.TaskGroup() as group:
            group.create_task(library.write())
            group.create_task(library.read())
            group.create_task(library.read())
            status, begun = await cluster.admin("POST", "/_miroir/nodes", wanted)
            assert status == 202, begun
            status, refused = await cluster.admin("POST", "/_miroir/rebalance")
            assert (status, refused["code"]) == (409, "miroir_conflict"), refused
            ended = await operation_end(cluster, begun["operation"])
            library.stop.set()
        assert ended["state"] == "done", ended
        assert library.problems == []
        assert library.reads > 20
        moved = ended["actual"]["documents"]  # type: ignore[index]
        assert 0 < moved <= bound * 1.05, moved  # writes meanwhile add to it
        await settled(cluster)
        await library.check(copies=2)
        await _old_owners_are_not_asked(cluster)
        assert any((await shards_on(cluster, "node-4")).values())


def _served(cluster: RealCluster) -> dict[str, list[str]]:
    """What each node was asked of documents, by its access log, in order."""
    found = {}
    for node in cluster.node_ids():
        logs = [path for path in cluster.directory.rglob(f"*{node}.log") if path.is_file()]
        assert logs, node
        lines = [line for path in logs for line in path.read_text("utf-8", "replace").splitlines()]
        found[node] = [line for line in lines if line.split()[1:2] and _READ.fullmatch(line.split()[1])]
    return found


_READ = re.compile(r"/multi-search|/indexes/miroir-0\d+/(search|facet-search|similar|documents/.+)")
_SHARDS = re.compile(rf"{SHARD_FIELD} (NOT )?IN \[([^\]]*)\]")


def _asked_shards(line: str) -> set[int]:
    """Shards that a line of an access log says the node was to answer for, where it names them."""
    found: set[int] = set()
    for excluded, listed in _SHARDS.findall(
        json.dumps(json.loads(line[line.index("[") :]), ensure_ascii=False)
    ):
        if not excluded:
            found.update(decode_shard(one.strip(' "\\')) for one in listed.split(","))
    return found


async def _old_owners_are_not_asked(cluster: RealCluster) -> None:
    """Every kind of read goes only to nodes that hold the shard now, as their access logs say.

    What a node does not name it is asked of all that it holds: which is nothing of what it gave up.
    """
    before = _served(cluster)
    for number in list(range(STILL)) * 2:
        assert (await cluster.ask("GET", f"/indexes/films/documents/{number}"))[0] == 200
    for number in range(30):
        search = {"q": f"film {number}", "filter": "genre = kept", "limit": 5}
        for path, body in (
            ("/indexes/films/search", search),
            ("/multi-search", {"queries": [{"indexUid": "films", **search}]}),
            ("/indexes/films/facet-search", {"facetName": "genre", "facetQuery": "k"}),
            ("/indexes/films/documents/fetch", {"filter": "genre = kept", "limit": 3, "offset": number}),
            ("/indexes/films/documents/fetch", {"ids": [str(number), str(number + 1)]}),
        ):
            assert (await cluster.ask("POST", path, body))[0] == 200
    held = {node: await shards_on(cluster, node) for node in cluster.node_ids()}
    asked = {node: lines[len(before[node]) :] for node, lines in _served(cluster).items()}
    named = 0
    for node, lines in asked.items():
        assert lines, f"{node} answers for what it holds"
        shards = {shard for (_, shard), documents in held[node].items() if documents}
        keys = {key for documents in held[node].values() for key in documents}
        for line in lines:
            if "[" in line:
                mine = _asked_shards(line)
                named += SHARD_FIELD in line
                assert mine <= shards, f"{node} was asked for shards {sorted(mine - shards)}: {line}"
            else:
                key = line.split()[1].rpartition("/")[2]
                assert key in keys, f"{node} was asked for what it gave up: {line}"
    assert named > 100, "filters were seen"


def test_a_cluster_grows_under_reads_and_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIROIR_NODE_ACCESS_LOG", "1")
    asyncio.run(_grow(tmp_path))


#: who dies at once, as seen from node-4, to which and from which the shards move
_VICTIMS = (("other",), ("node-4",), ("other", "node-4"), ("orchestrator",), ("orchestrator", "node-4"))


async def _kill_rounds(directory: Path, engine: tuple[str, ...], rounds: int, rng: random.Random) -> None:
    options = (*engine, "--replication-factor", "2", "--shards", "16")
    async with real_cluster(directory, *options) as cluster:
        library = Library(cluster, rng, kills=True)
        await library.load(1000)
        wanted = {"id": "node-4", "address": await start_node(cluster, "node-4"), "replica_group": 0}
        for turn in range(rounds):
            library.stop.clear()
            async with asyncio.TaskGroup() as group:
                group.create_task(library.read())
                group.create_task(library.write())
                path, body = ("/_miroir/nodes", wanted) if turn == 0 else _next(turn)
                status, begun = await cluster.admin("POST", path, body)
                assert status == 202, begun
                for victims in rng.sample(_VICTIMS, rng.randint(1, 2)):
                    await asyncio.wait_for(_moment(library, rng), 60)
                    names = [rng.choice(cluster.node_ids()[:3]) if v == "other" else v for v in victims]
                    for name in names:
                        cluster.kill(name)
                    for name in names:
                        cluster.restart(name)
                ended = await operation_end(cluster, begun["operation"], within_s=180)
                assert ended["state"] == "done", ended
                library.stop.set()
            await settled(cluster)
            assert library.problems == [], library.problems[:3]
            await library.check(copies=2)
            print(f"round {turn + 1}: {library.writes} writes, {library.reads} reads")  # noqa: T201
        assert library.writes > 5 * rounds


def _next(turn: int) -> tuple[str, None]:
    return (f"/_miroir/nodes/node-4/{'drain' if turn % 2 else 'undrain'}", None)


async def _moment(library: Library, rng: random.Random) -> None:
    """A random moment: after a few more reads."""
    until = library.reads + rng.randint(1, 15)

    async def passed() -> bool:
        return library.reads >= until

    await eventually("a moment passes", passed, within_s=60)


@pytest.mark.slow
@pytest.mark.parametrize("engine", engines(), ids=lambda options: options[1])
def test_kills_during_moves_lose_nothing(tmp_path: Path, engine: tuple[str, ...]) -> None:
    """Source, target, both, the orchestrator die under reads and writes: nothing lost, doubled or resurrected."""
    asyncio.run(_kill_rounds(tmp_path, engine, ROUNDS, random.Random(7)))

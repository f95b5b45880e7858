"""What must hold when a simulated cluster is quiet: equal replicas, and one engine's answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import orjson

from miroir.core.reserved import GHOST_FIELD, SHARD_FIELD, decode_shard
from miroir.core.topology import ReplicaState
from miroir.engine.embedded import Engine, Options, open_engine
from miroir.meili.http import HttpRequest
from tests.support.replicas import digest
from tests.support.sim_cluster import Reply, SimCluster

#: keys whose values differ from run to run, and never mean anything
_VOLATILE = frozenset(
    {
        "processingTimeMs", "requestUid", "queryUid", "createdAt", "updatedAt", "lastUpdate", "enqueuedAt",
        "startedAt", "finishedAt", "duration", "uid", "taskUid", "batchUid", "canceledBy",
        "databaseSize", "usedDatabaseSize", "rawDocumentDbSize", "avgDocumentSize",
    }
)  # fmt: skip


def stable(value: Any) -> Any:
    """An answer without what differs from run to run."""
    if isinstance(value, dict):
        return {
            key: stable(item)
            for key, item in value.items()
            if key not in _VOLATILE or (key == "uid" and isinstance(item, str))
        }
    if isinstance(value, list):
        return [stable(item) for item in value]
    return value


class Oracle:
    """One engine that gets the same requests, one after another."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @staticmethod
    async def open(now_ns: Callable[[], int]) -> Oracle:
        return Oracle(await open_engine(None, Options(now_ns=now_ns)))

    async def ask(self, method: str, path: str, body: Any = None) -> Reply:
        """One request; a write is finished when this returns."""
        path, _, query = path.partition("?")
        raw = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        headers = {"content-type": "application/json"} if raw else {}
        reply = await self._engine.edge.respond(HttpRequest(method, path, query, headers, raw))
        if reply.status == 202:
            await self._engine.drain()
        return Reply(reply.status, orjson.loads(reply.body) if reply.body else None)

    def close(self) -> None:
        self._engine.close()


async def assert_replicas_equal(cluster: SimCluster) -> int:
    """Every in-sync replica of a shard holds the same documents, none stands where it does not belong.

    Read from the nodes themselves. Returns the number of documents.
    """
    held = {node: await _shards_on(sim) for node, sim in cluster.nodes.items()}
    writes = cluster.orchestrator.writes
    count = 0
    layouts = {index.layout for index in writes.cluster.visible.indexes.values()}
    for physical in layouts:
        record = writes.cluster.placement[physical]
        for shard, replicas in enumerate(record.shards):
            in_sync = sorted(n for n, state in replicas.items() if state is ReplicaState.IN_SYNC)
            assert in_sync, f"shard {shard} of {physical} has no replica left: {replicas}"
            first = held[in_sync[0]].get((physical, shard), {})
            count += len(first)
            for node in in_sync[1:]:
                other = held[node].get((physical, shard), {})
                only = first.keys() ^ other.keys()
                assert not only, f"{physical}/{shard}: {in_sync[0]} and {node} differ in {sorted(only)}"
                unequal = [key for key in first if first[key] != other[key]]
                assert not unequal, f"{physical}/{shard}: {in_sync[0]} and {node} unequal: {unequal}"
    for node, places in held.items():
        for (physical, shard), documents in places.items():
            assert physical in layouts, f"{node} still has {physical}"
            known = node in writes.cluster.placement[physical].shards[shard]
            assert known or not documents, f"{node} holds {physical}/{shard}: {sorted(documents)}"
    return count


async def _shards_on(node: Any) -> dict[tuple[str, int], dict[str, str]]:
    held: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
    for index in (await node.ask("GET", "/indexes?limit=10000"))["results"]:
        if index["uid"] == "miroir-node":
            continue
        held[index["uid"], 0]
        body = {"limit": 1_000_000, "retrieveVectors": True}
        listed = await node.ask("POST", f"/indexes/{index['uid']}/documents/fetch", body)
        for document in listed["results"]:
            if document.get(GHOST_FIELD):
                continue
            shard = decode_shard(document[SHARD_FIELD])
            held[index["uid"], shard][str(document[index["primaryKey"]])] = digest(document)
    return held


async def all_tasks(ask: Callable[..., Any]) -> list[dict[str, Any]]:
    """Every task, oldest first."""
    reply = await ask("GET", "/tasks?limit=100000")
    assert reply.status == 200, reply
    return list(reversed(reply.body["results"]))


async def assert_same_answers(
    cluster: SimCluster, oracle: Oracle, requests: Iterable[tuple[str, str, Any]]
) -> None:
    """The cluster answers each request as the oracle does."""
    for method, path, body in requests:
        ours = await cluster.ask(method, path, body)
        theirs = await oracle.ask(method, path, body)
        assert_same(f"{method} {path} {body}", [ours.status, ours.body], [theirs.status, theirs.body])


def assert_same(what: str, ours: Any, theirs: Any) -> None:
    """Equal but for what differs from run to run; the failure shows the first difference."""
    ours, theirs = stable(ours), stable(theirs)
    assert ours == theirs, f"{what}: {_difference('', ours, theirs)}; whole answer: {ours!r:.600}"


def _difference(place: str, ours: Any, theirs: Any) -> str:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in [*ours, *theirs]:
            if key not in ours or key not in theirs or ours[key] != theirs[key]:
                absent = "(absent)"
                return _difference(f"{place}.{key}", ours.get(key, absent), theirs.get(key, absent))
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for position, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
            if mine != other:
                return _difference(f"{place}[{position}]", mine, other)
    return f"at {place or 'the top'}: cluster {ours!r}, one engine {theirs!r}"

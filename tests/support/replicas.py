"""Are all replicas of every shard equal? Read from the nodes themselves, not from the orchestrator's word."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import Any

import orjson

from miroir.core.reserved import GHOST_FIELD, SHARD_FIELD, decode_shard
from tests.support.processes import RealCluster


def digest(document: dict[str, Any]) -> str:
    """Content of a document, independent of the order of its keys."""
    return hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).hexdigest()


async def shards_on(cluster: RealCluster, node: str) -> dict[tuple[str, int], dict[str, str]]:
    """(physical index, shard) -> document key -> content digest, on one node."""
    held: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
    status, indexes = await cluster.ask_node(node, "GET", "/indexes?limit=100000")
    assert status == 200, indexes
    for index in indexes["results"]:
        if index["primaryKey"] is None:
            continue
        status, listed = await cluster.ask_node(
            node,
            "POST",
            f"/indexes/{index['uid']}/documents/fetch",
            {"limit": 1_000_000, "retrieveVectors": True},
        )
        assert status == 200, listed
        for document in listed["results"]:
            if SHARD_FIELD not in document or document.get(GHOST_FIELD):
                continue
            shard = decode_shard(document[SHARD_FIELD])
            key = str(document[index["primaryKey"]])
            assert key not in held[index["uid"], shard], f"{key} twice on {node}"
            held[index["uid"], shard][key] = digest(document)
    return held


async def assert_replicas_equal(cluster: RealCluster, *, copies: int) -> int:
    """Every shard that any node holds stands on exactly `copies` nodes, equal by key and content.

    Returns the number of different documents seen.
    """
    replicas: dict[tuple[str, int], dict[str, dict[str, str]]] = defaultdict(dict)
    for node in cluster.node_ids():
        for place, documents in (await shards_on(cluster, node)).items():
            if documents:
                replicas[place][node] = documents
    count = 0
    for place, by_node in replicas.items():
        assert len(by_node) == copies, f"shard {place} is on {sorted(by_node)}"
        first, *others = by_node.values()
        for other in others:
            missing = first.keys() ^ other.keys()
            assert not missing, f"shard {place}: keys on one replica only: {sorted(missing)[:5]}"
            different = [key for key in first if first[key] != other[key]]
            assert not different, f"shard {place}: contents differ: {different[:5]}"
        count += len(first)
    return count

"""Nodes that are about to join: they must answer before anything is planned for them."""

from __future__ import annotations

from collections.abc import Mapping

from miroir.core.moves.node_list import RefusedError
from miroir.core.records import NodeRecord
from miroir.ports.nodes import NodeError
from miroir.services.cluster import Cluster
from miroir.services.moves.shard_calls import ShardCalls


async def check_reachable(cluster: Cluster, calls: ShardCalls, nodes: Mapping[str, NodeRecord]) -> None:
    """Raise RefusedError unless every one of these nodes says it is healthy."""
    for node in nodes.values():
        cluster.introduce(node)
        try:
            healthy = await calls.healthy(node.id)
        except NodeError as error:
            raise RefusedError(
                f"Node `{node.id}` cannot be reached at {node.address}: {error.reason}. Start it, then try again."
            ) from error
        if not healthy:
            raise RefusedError(f"Node `{node.id}` at {node.address} does not say it is healthy.")

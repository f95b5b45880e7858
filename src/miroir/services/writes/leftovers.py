"""Indexes that nodes still hold though the cluster has none of that name: swept away, again and again.

A request that was late, or sent twice, may make an index anew after its last op; a node may be down when an index is
dropped. A physical uid is never used twice, so what is in no catalogue now will never be again.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from urllib.parse import quote

import structlog

from miroir.core.topology import NodeId
from miroir.core.writes.node_answers import index_uids
from miroir.core.writes.write_limits import WriteLimits
from miroir.ports.nodes import NodeError, NodeRequest, NodeTransport
from miroir.services.cluster import Cluster

log = structlog.get_logger()

_OURS = re.compile(r"miroir-\d{6,}")
_PAGE = 1000
_PAGES_MAX = 100


async def _trust(node: NodeId) -> bool:
    return True


class Leftovers:
    """One loop over all nodes."""

    def __init__(self, transport: NodeTransport, cluster: Cluster, limits: WriteLimits) -> None:
        self._transport = transport
        self._cluster = cluster
        self._limits = limits
        self.trusted: Callable[[NodeId], Awaitable[bool]] = (
            _trust  #: whether a node has the disk it is known by
        )

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self._limits.sweep_interval_s)
            for node in sorted(self._cluster.live):
                await self.sweep(node)

    async def sweep(self, node: NodeId) -> None:
        """Remove from one node what belongs to no index."""
        try:
            strangers = [physical for physical in await self._held(node) if not self._is_known(physical)]
            # Another cluster's node may have come to this address: what is none of ours here may be its own.
            if not strangers or not await self.trusted(node):
                return
            for physical in strangers:
                if not self._is_known(physical):
                    log.warning("leftover_index_removed", node=node, index=physical)
                    await self._ask(
                        NodeRequest(node, "DELETE", f"/indexes/{quote(physical)}", content_type=None)
                    )
        except (NodeError, ValueError):
            return  # next time

    async def _held(self, node: NodeId) -> list[str]:
        found: list[str] = []
        for page in range(_PAGES_MAX):
            query = f"limit={_PAGE}&offset={page * _PAGE}"
            listed = index_uids(
                await self._ask(NodeRequest(node, "GET", "/indexes", query, content_type=None))
            )
            found.extend(uid for uid in listed if _OURS.fullmatch(uid))
            if len(listed) < _PAGE:
                break
        return found

    async def _ask(self, request: NodeRequest) -> bytes:
        deadline = asyncio.get_running_loop().time() + self._limits.request_timeout_s
        answer = await self._transport.send(request, deadline=deadline)
        return answer.body

    def _is_known(self, physical: str) -> bool:
        """A layout of an index in the catalogue of the sequencer, or in the snapshot: what is in neither is durably gone."""
        cluster, owner = self._cluster, self._cluster.owner(physical)
        if owner in cluster.sequenced.indexes:
            return physical in cluster.placement  # a layout that was let go is, until it has been deleted
        return any(index.physical_uid == physical for index in cluster.snapshot().indexes.values())

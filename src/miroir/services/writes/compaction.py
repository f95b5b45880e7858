"""Compaction of an index: every live node that holds a part of it gives unused space back, one op's turn long."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

from miroir.core.records import OpRecord
from miroir.core.topology import NodeId
from miroir.core.writes.write_limits import WriteLimits
from miroir.meili.codes import ApiError
from miroir.meili.stats import human_size, parse_size
from miroir.ports.nodes import NodeRequest, NodeTransport
from miroir.services.cluster import Cluster
from miroir.services.writes.asking import ask

_LONGEST_S = 3600.0
_FINISHED = ("succeeded", "failed", "canceled")


class Compaction:
    """Carries out compaction ops."""

    def __init__(self, transport: NodeTransport, cluster: Cluster, limits: WriteLimits) -> None:
        self._transport = transport
        self._cluster = cluster
        self._limits = limits

    async def run(self, op: OpRecord) -> dict[str, Any]:
        """Sizes before and after, all nodes together. Raises ApiError when no node did it."""
        view = self._cluster.snapshot().indexes.get(op.index_uid or "")
        if view is None:
            return {}
        members = self._cluster.members(view.physical_uid)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._compact(NodeId(node), view.physical_uid))
                for node in sorted(members)
                if node in self._cluster.live
            ]
        sizes = [sizes for task in tasks if (sizes := task.result()) is not None]
        if not sizes:
            raise ApiError("miroir_index_incomplete", f"No node could compact its part of `{view.uid}`.")
        return {
            "preCompactionSize": human_size(sum(before for before, _ in sizes)),
            "postCompactionSize": human_size(sum(after for _, after in sizes)),
        }

    async def _compact(self, node: NodeId, physical: str) -> tuple[int, int] | None:
        """Bytes before and after on one node, None when it did not do it."""
        summary = await self._ask(NodeRequest(node, "POST", f"/indexes/{quote(physical)}/compact"))
        uid = (summary or {}).get("taskUid")
        if not isinstance(uid, int):
            return None
        loop = asyncio.get_running_loop()
        end, pause = loop.time() + _LONGEST_S, self._limits.poll_fast_s
        while loop.time() < end:
            task = await self._ask(NodeRequest(node, "GET", f"/tasks/{uid}", content_type=None))
            if task is None and node not in self._cluster.live:
                return None
            if task is not None and task.get("status") in _FINISHED:
                return _sizes(task.get("details") or {})
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, self._limits.poll_slow_s)
        return None

    async def _ask(self, request: NodeRequest) -> dict[str, Any] | None:
        return await ask(self._transport, request, self._limits.request_timeout_s)


def _sizes(details: dict[str, Any]) -> tuple[int, int] | None:
    try:
        return parse_size(details["preCompactionSize"]), parse_size(details["postCompactionSize"])
    except (KeyError, ValueError, AttributeError):
        return None

"""Statistics: documents and fields from our own books, counted once; sizes from the nodes, divided by the copies."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import orjson

from miroir.core.topology import NodeId
from miroir.meili.stats import PAGE_BYTES, IndexStats, in_pages
from miroir.ports.nodes import NodeError, NodeRequest, NodeTransport
from miroir.services.cluster import Cluster
from miroir.services.writes.oplog import OpLog

_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class ClusterStats:
    indexes: dict[str, IndexStats]
    database_size: int
    used_database_size: int
    last_update: int | None


class Stats:
    """Answers GET /stats."""

    def __init__(self, transport: NodeTransport, cluster: Cluster, log: OpLog) -> None:
        self._transport = transport
        self._cluster = cluster
        self._log = log

    async def read(self, wanted: list[str]) -> ClusterStats:
        """Numbers of the visible indexes named; nodes that do not answer leave their sizes out."""
        # Names as readers see them: those of the visible catalogue move before its change is stored and published.
        views = self._cluster.snapshot().indexes
        states = {uid: self._cluster.visible.indexes.get(views[uid].key) for uid in wanted if uid in views}
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._of_node(node)) for node in sorted(self._cluster.live)]
        answers = [answer for task in tasks if (answer := task.result()) is not None]
        busy = {task.index_uid for task in self._log.tasks.with_status("processing")}
        indexes = {}
        updates = []
        for uid, state in states.items():
            if state is None:
                continue
            updates.append(state.updated_at)
            copies = _copies(self._cluster, state.layout)
            parts = [a["indexes"].get(state.layout, {}) for a in answers]
            indexes[uid] = IndexStats(
                documents=state.document_count,
                raw_size=_raw_size(parts, copies),
                is_indexing=uid in busy,
                embeddings=_share(parts, "numberOfEmbeddings", copies),
                embedded_documents=_share(parts, "numberOfEmbeddedDocuments", copies),
                field_distribution=state.field_distribution,
                internal_sizes=_internal_sizes(parts, copies),
            )
        return ClusterStats(
            indexes,
            sum(int(a.get("databaseSize", 0)) for a in answers),
            sum(int(a.get("usedDatabaseSize", 0)) for a in answers),
            max(updates, default=None),
        )

    async def _of_node(self, node: NodeId) -> dict[str, Any] | None:
        deadline = asyncio.get_running_loop().time() + _TIMEOUT_S
        try:
            answer = await self._transport.send(
                NodeRequest(node, "GET", "/stats", "showInternalDatabaseSizes=true", content_type=None),
                deadline=deadline,
            )
            value = orjson.loads(answer.body) if answer.status == 200 else None
        except (NodeError, ValueError):
            return None
        return value if isinstance(value, dict) and isinstance(value.get("indexes"), dict) else None


def _copies(cluster: Cluster, physical: str) -> float:
    """Copies of each shard that answered, on average; at least one."""
    record = cluster.placement.get(physical)
    shards = () if record is None else record.shards
    held = sum(node in cluster.live for replicas in shards for node in replicas)
    return max(1.0, held / max(1, len(shards)))


def _internal_sizes(parts: list[dict[str, Any]], copies: float) -> dict[str, int]:
    sizes = [part.get("internalDatabaseSizes") or {} for part in parts]
    return {name: _share(sizes, name, copies) for name in set().union(*sizes)}


def _raw_size(parts: list[dict[str, Any]], copies: float) -> int:
    """What one node would need for all documents: the last page of each of ours is half empty, on average."""
    sizes = [size for part in parts if (size := int(part.get("rawDocumentDbSize", 0))) > 0]
    return in_pages(max(1, sum(sizes) - len(sizes) * PAGE_BYTES / 2) / copies) if sizes else 0


def _share(parts: list[dict[str, Any]], name: str, copies: float) -> int:

    return int(sum(int(part.get(name, 0)) for part in parts) / copies)

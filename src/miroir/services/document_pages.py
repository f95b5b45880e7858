"""Documents of an index as nodes hold them, in pages by id, while nothing changes them: for editions and dumps."""

from __future__ import annotations

import asyncio
import random
from typing import Any
from urllib.parse import quote

import orjson

from miroir.core.hashing import shard_of
from miroir.core.reads.covering import cover
from miroir.core.topology import IndexView, NodeId
from miroir.core.writes.node_answers import error_of
from miroir.core.writes.write_limits import WriteLimits
from miroir.meili.codes import CODES, ApiError
from miroir.ports.nodes import NodeError, NodeRequest, NodeTransport
from miroir.services.cluster import Cluster

#: documents read at once, all nodes together
PAGE = 1000


class DocumentPages:
    """Reads whole documents from the nodes of a covering set."""

    def __init__(
        self, transport: NodeTransport, cluster: Cluster, limits: WriteLimits, rng: random.Random
    ) -> None:
        self._transport = transport
        self._cluster = cluster
        self._limits = limits
        self._rng = rng

    async def page(
        self, view: IndexView, ids: list[str], *, vectors: bool = False
    ) -> list[dict[str, Any]] | None:
        """These documents, in no special order; None when one of them cannot be had now."""
        covering = cover(self._cluster.snapshot(), view, rotation=self._rng.randrange(64))
        if covering.missing:
            return None
        holder = {shard: share.node for share in covering.shares for shard in share.shards}
        wanted: dict[NodeId, list[str]] = {}
        for document_id in ids:
            wanted.setdefault(holder[shard_of(document_id, view.shard_count)], []).append(document_id)
        extra = {"retrieveVectors": True} if vectors else {}
        async with asyncio.TaskGroup() as group:
            tasks = [
                (
                    len(mine),
                    group.create_task(self.fetch(view, node, {"ids": mine, "limit": len(mine), **extra})),
                )
                for node, mine in sorted(wanted.items())
            ]
        found: list[dict[str, Any]] = []
        for count, task in tasks:
            answer = task.result()
            if not isinstance(answer, list) or len(answer) != count:
                return None
            found.extend(answer)
        return found

    async def fetch(
        self, view: IndexView, node: NodeId, body: dict[str, Any]
    ) -> list[dict[str, Any]] | ApiError | None:
        """One list of documents; the node's refusal of the request; None when it did not answer."""
        path = f"/indexes/{quote(view.physical_uid)}/documents/fetch"
        deadline = asyncio.get_running_loop().time() + self._limits.request_timeout_s
        try:
            answer = await self._transport.send(
                NodeRequest(node, "POST", path, body=orjson.dumps(body)), deadline=deadline
            )
        except NodeError:
            return None
        if answer.status == 400:
            error = error_of(answer.body)
            code = error["code"] if error["code"] in CODES else "internal"  # of a newer server
            return ApiError(code, error["message"])
        if answer.status != 200:
            return None
        try:
            results = orjson.loads(answer.body)["results"]
        except (ValueError, KeyError, TypeError):
            return None
        return results if isinstance(results, list) else None

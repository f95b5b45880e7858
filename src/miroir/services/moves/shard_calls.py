"""Requests about whole shards to one node: list, fetch, write, delete, compare. Each waits for the node's task."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from miroir.core.reads.covering import ghosts_only, not_in_shards, shard_filter
from miroir.core.reserved import GHOST_FIELD, SHARD_FIELD, decode_shard
from miroir.core.topology import NodeId
from miroir.core.writes.document_ids import document_ids
from miroir.core.writes.lane_requests import NodeTask
from miroir.core.writes.node_answers import error_of, task_page, task_uid
from miroir.core.writes.ops import parse_shards_tag, parse_tag
from miroir.errors import MiroirError
from miroir.meili.codes import ApiError
from miroir.ports.nodes import NodeRequest, NodeResponse, NodeTransport
from miroir.services.writes.node_requests import op_of

_ALL = 2**31 - 1
#: tasks of an index that are looked at before readers go to a copy, and tasks of ours that are remembered of a node
_LOOKED_BACK = 1000
#: pages of so many tasks that are read when replicas differ
_HISTORY_PAGES = 20
_OWN_MAX = 10_000
#: documents that are looked at to find shards that a node should not have
_BESIDES_MAX = 10_000
_PASSING = frozenset({401, 403, 408, 429})
_POLL_FIRST_S = 0.01
_POLL_LAST_S = 0.5


class NodeRefusedError(MiroirError):
    """The node answered, but not what was needed; `code` is its error code.

    `passing`: it says nothing about what was asked, and may answer otherwise in a moment.
    """

    def __init__(self, node: str, what: str, code: str, *, passing: bool = False) -> None:
        super().__init__(f"node {node}: {what}: {code}")
        self.code = code
        self.passing = passing


@dataclass(frozen=True, slots=True)
class NodeSizes:
    """`indexes`: physical -> (documents, bytes of them)."""

    disk_bytes: int
    indexes: dict[str, tuple[int, int]]


class ShardCalls:
    """Raises NodeError when a node cannot be reached, NodeRefusedError when it says no."""

    def __init__(self, transport: NodeTransport, *, timeout_s: float, fetch_documents: int = 1000) -> None:
        self._transport = transport
        self._timeout_s = self.timeout_s = timeout_s
        self.fetch_documents = fetch_documents
        self.newest: Callable[[NodeId], int] = lambda node: -1  #: of a node's tasks, as far as is known
        self.took: Callable[[NodeId, int, int], None] = lambda node, task, newest: None
        self._own: dict[str, dict[int, None]] = {}  #: node -> newest tasks that we asked for and heard of

    def forget(self, node: str) -> None:
        """The node begins anew: its tasks are numbered from the start."""
        self._own.pop(node, None)

    def is_own(self, node: str, task: int) -> bool:
        """Whether this process asked for the task and heard that the node took it."""
        return task in self._own.get(node, {})

    async def healthy(self, node: str) -> bool:
        """Whether the node answers its health route with 200."""
        answer = await self._send(node, "GET", "/health", timeout_s=min(5.0, self._timeout_s))
        return answer.status == 200

    async def ids(self, node: str, physical: str, primary_key: str, shards: Collection[int]) -> list[str]:
        """Ids of all documents of the shards, sorted as texts; one request, so one state of the node."""
        body = {"filter": shard_filter(shards), "fields": [primary_key], "limit": _ALL}
        results = await self._fetch(node, physical, body)
        return sorted(ids_of(node, results, primary_key))

    async def count(self, node: str, physical: str, shards: Collection[int]) -> int:
        """Documents of the shards; an index that is not there has none."""
        path = f"{_index(physical)}/documents/fetch"
        body = {"filter": shard_filter(shards), "limit": 0}
        answer = await self._send(node, "POST", path, body)
        if answer.status != 200:
            code = error_of(answer.body)["code"]
            if code == "index_not_found":
                return 0
            raise _refused(node, "counting documents", answer)
        with _understood(node, "counting documents"):
            return int(orjson.loads(answer.body)["total"])

    async def primary_key(self, node: str, physical: str) -> str | None:
        """The index's primary key on the node; None when it has none, or is not there."""
        answer = await self._send(node, "GET", _index(physical))
        with _understood(node, "reading an index"):
            body = orjson.loads(answer.body)
            if answer.status == 200:
                found = body["primaryKey"]
                return None if found is None else str(found)
            code = error_of(answer.body)["code"]
        if code == "index_not_found":
            return None
        raise _refused(node, "reading an index", answer)

    async def newest_task(self, node: str, physical: str) -> int:
        """Number of the newest task of the index, -1 without one."""
        tasks = await self._tasks(node, physical, 1)
        return -1 if not tasks else int(tasks[0]["uid"])

    async def only_ours_since(self, node: str, physical: str, task: int, boundary: int) -> bool | None:
        """Whether all writes of shards after `task` are ours, answered and ended; None when some have not ended.

        Writes of lanes up to the op `boundary` are not ours to be there: a copy of that time holds what they bring.
        """
        tasks = [one for one in await self._tasks(node, physical, _LOOKED_BACK) if one["uid"] > task]
        if any(one["status"] in ("enqueued", "processing") for one in tasks):
            return None
        known = self._own.get(node, {})

        def is_foreign(one: dict[str, Any]) -> bool:
            metadata = one.get("customMetadata")
            ops = parse_tag(metadata)
            if ops is not None:
                return op_of(ops[0]) <= boundary
            return one["uid"] not in known and parse_shards_tag(metadata) is not None

        return len(tasks) < _LOOKED_BACK and not any(map(is_foreign, tasks))

    async def history(self, node: str, physical: str) -> list[NodeTask]:
        """The newest tasks of the index, a bounded number of them, oldest first."""
        found: list[NodeTask] = []
        start: dict[str, int] = {}
        for _ in range(_HISTORY_PAGES):
            query = urlencode({"indexUids": physical, "limit": _LOOKED_BACK, **start})
            request = NodeRequest(NodeId(node), "GET", "/tasks", query, content_type=None)
            answer = await self._transport.send(request, deadline=self._deadline())
            if answer.status != 200:
                raise _refused(node, "listing tasks", answer)
            with _understood(node, "listing tasks"):
                page = task_page(answer.body)
            found.extend(task for _, task in page.tasks)
            if len(page.uids) < _LOOKED_BACK or not page.uids[-1]:
                break
            start = {"from": page.uids[-1] - 1}
        return found[::-1]

    async def _tasks(self, node: str, physical: str, limit: int) -> list[dict[str, Any]]:
        query = urlencode({"indexUids": physical, "limit": limit})
        request = NodeRequest(NodeId(node), "GET", "/tasks", query, content_type=None)
        answer = await self._transport.send(request, deadline=self._deadline())
        if answer.status != 200:
            raise _refused(node, "listing tasks", answer)
        with _understood(node, "listing tasks"):
            tasks: list[dict[str, Any]] = orjson.loads(answer.body)["results"]
            return [{**one, "uid": int(one["uid"]), "status": str(one["status"])} for one in tasks]

    async def sizes(self, node: str) -> NodeSizes:
        """How much the node holds."""
        answer = await self._send(node, "GET", "/stats")
        if answer.status != 200:
            raise _refused(node, "statistics", answer)
        with _understood(node, "statistics"):
            stats = orjson.loads(answer.body)
            indexes = {
                str(uid): (int(one["numberOfDocuments"]), int(one.get("rawDocumentDbSize", 0)))
                for uid, one in stats["indexes"].items()
            }
            return NodeSizes(int(stats["databaseSize"]), indexes)

    async def documents(self, node: str, physical: str, ids: Sequence[str]) -> list[dict[str, Any]]:
        """Documents by id, as they are stored, vectors included; ids that are gone are left out."""
        body = {"ids": list(ids), "limit": len(ids), "retrieveVectors": True}
        return await self._fetch(node, physical, body)

    async def digests(
        self,
        node: str,
        physical: str,
        primary_key: str,
        shards: Collection[int],
        *,
        documents_per_s: float = 0.0,
    ) -> dict[str, bytes]:
        """Id -> digest of the content of every document of the shards. Only meaningful while nothing is written.

        `documents_per_s` 0: as fast as it goes.
        """
        ids = await self.ids(node, physical, primary_key, shards)
        found: dict[str, bytes] = {}
        for first in range(0, len(ids), self.fetch_documents):
            page = await self.documents(node, physical, ids[first : first + self.fetch_documents])
            names = ids_of(node, page, primary_key)
            found.update({name: digest(body) for name, body in zip(names, page, strict=True)})
            if documents_per_s:
                await asyncio.sleep(len(page) / documents_per_s)
        return found

    async def shards_besides(self, node: str, physical: str, known: Collection[int]) -> set[int]:
        """Other shards than `known` of which the node holds documents; some of them when there are many."""
        body = {"filter": not_in_shards(known), "fields": [SHARD_FIELD, GHOST_FIELD], "limit": _BESIDES_MAX}
        found = await self._fetch(node, physical, body)
        with _understood(node, "shards of documents"):
            return {
                decode_shard(one[SHARD_FIELD])
                for one in found
                if SHARD_FIELD in one and GHOST_FIELD not in one
            }

    async def ghosts(self, node: str, physical: str, primary_key: str) -> dict[str, dict[str, Any]]:
        """Hidden documents of an exact index by id."""
        body = {"filter": ghosts_only(), "limit": _ALL, "retrieveVectors": True}
        found = await self._fetch(node, physical, body)
        return dict(zip(ids_of(node, found, primary_key), found, strict=True))

    async def write(
        self,
        node: str,
        physical: str,
        primary_key: str | None,
        lines: bytes,
        tag: str,
        *,
        merge: bool = False,
    ) -> dict[str, Any] | None:
        """Write NDJSON documents; returns the error of the node's task, None when it succeeded."""
        fields = {"customMetadata": tag} | ({} if primary_key is None else {"primaryKey": primary_key})
        return await self._run(
            node,
            NodeRequest(
                NodeId(node),
                "PUT" if merge else "POST",
                f"{_index(physical)}/documents",
                urlencode(fields),
                lines,
                "application/x-ndjson",
            ),
        )

    async def delete_ids(
        self, node: str, physical: str, ids: Sequence[str], tag: str
    ) -> dict[str, Any] | None:
        """Delete documents by id; returns the task's error."""
        path = f"{_index(physical)}/documents/delete-batch"
        query = urlencode({"customMetadata": tag})
        return await self._run(node, NodeRequest(NodeId(node), "POST", path, query, orjson.dumps(list(ids))))

    async def delete_shards(
        self, node: str, physical: str, shards: Collection[int], tag: str
    ) -> dict[str, Any] | None:
        """Delete every document of the shards; returns the task's error."""
        path = f"{_index(physical)}/documents/delete"
        body = orjson.dumps({"filter": shard_filter(shards)})
        return await self._run(
            node, NodeRequest(NodeId(node), "POST", path, urlencode({"customMetadata": tag}), body)
        )

    async def configure(self, node: str, physical: str, settings: dict[str, Any]) -> dict[str, Any] | None:
        """Give the index these settings, making it when it is not there; returns the task's error."""
        path = f"{_index(physical)}/settings"
        return await self._run(node, NodeRequest(NodeId(node), "PATCH", path, body=orjson.dumps(settings)))

    async def drop_index(self, node: str, physical: str) -> None:
        """Delete the index; one that is not there is fine."""
        await self._run(node, NodeRequest(NodeId(node), "DELETE", _index(physical), content_type=None))

    # --- inside -------------------------------------------------------------------------------

    async def _fetch(self, node: str, physical: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        answer = await self._send(node, "POST", f"{_index(physical)}/documents/fetch", body)
        if answer.status != 200:
            raise _refused(node, "fetching documents", answer)
        with _understood(node, "fetching documents"):
            results: list[dict[str, Any]] = orjson.loads(answer.body)["results"]
            for document in results:
                if document.get("_vectors") == {}:
                    del document["_vectors"]
            return results

    async def _run(self, node: str, request: NodeRequest) -> dict[str, Any] | None:
        """Send a write and follow its task to the end."""
        newest = self.newest(request.node)
        answer = await self._transport.send(request, deadline=self._deadline())
        if answer.status not in (200, 202):
            raise _refused(node, f"{request.method} {request.path}", answer)
        try:
            uid = task_uid(answer.body)
        except ValueError:
            raise NodeRefusedError(node, request.path, "no_task_uid") from None
        self.took(request.node, uid, newest)
        own = self._own.setdefault(node, {})
        own[uid] = None
        if len(own) > _OWN_MAX:
            del own[next(iter(own))]
        wait_s = _POLL_FIRST_S
        while True:
            answer = await self._send(node, "GET", f"/tasks/{uid}")
            if _is_passing(answer):
                raise _refused(node, f"task {uid}", answer)
            with _understood(node, f"task {uid}"):
                task = orjson.loads(answer.body) if answer.status == 200 else {}
                status = task.get("status")
            if status == "succeeded":
                return None
            if status == "failed":
                error: dict[str, Any] = task.get("error") or {"code": "internal", "message": ""}
                return error
            if status not in ("enqueued", "processing"):
                raise NodeRefusedError(node, f"task {uid}", str(status or "task_not_found"))
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 1.5, _POLL_LAST_S)

    async def _send(
        self, node: str, method: str, path: str, body: Any = None, *, timeout_s: float | None = None
    ) -> NodeResponse:
        raw = b"" if body is None else orjson.dumps(body)
        kind = None if body is None else "application/json"
        deadline = self._deadline() if timeout_s is None else asyncio.get_running_loop().time() + timeout_s
        request = NodeRequest(NodeId(node), method, path, body=raw, content_type=kind)
        return await self._transport.send(request, deadline=deadline)

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._timeout_s


@contextmanager
def _understood(node: str, what: str) -> Iterator[None]:
    """Whoever answers at a node's address may say anything: what cannot be read is a refusal."""
    try:
        yield
    except (ApiError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise NodeRefusedError(node, what, "not_understood", passing=True) from error


def _refused(node: str, what: str, answer: NodeResponse) -> NodeRefusedError:
    return NodeRefusedError(node, what, error_of(answer.body)["code"], passing=_is_passing(answer))


def _is_passing(answer: NodeResponse) -> bool:
    """Whether a status is about the moment, or whoever stands before the node, and not about the request."""
    return answer.status >= 500 or answer.status in _PASSING


def ids_of(node: str, documents: Sequence[Mapping[str, Any]], primary_key: str) -> list[str]:
    """Ids of documents that a node showed. It may be a moment behind a change of the primary key: that is a refusal."""
    with _understood(node, "ids of documents"):
        return document_ids(documents, primary_key)


def digest(document: dict[str, Any]) -> bytes:
    """Content of a document, independent of the order of its keys. Vectors a node makes itself are left out."""
    vectors = document.get("_vectors")
    if isinstance(vectors, dict):
        given = {
            name: value
            for name, value in vectors.items()
            if not (isinstance(value, dict) and value.get("regenerate"))
        }
        document = {**document, "_vectors": given}
    return hashlib.blake2b(orjson.dumps(document, option=orjson.OPT_SORT_KEYS), digest_size=16).digest()


def _index(physical: str) -> str:
    return f"/indexes/{quote(physical)}"

"""What a lane says to its node: requests rendered from the log."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import replace
from urllib.parse import quote, urlencode

import orjson

from miroir.core.reads.covering import ghosts_only, shard_filter
from miroir.core.records import OpRecord, Resolution
from miroir.core.topology import NodeId
from miroir.core.writes.document_ids import document_ids
from miroir.core.writes.lane_requests import LaneOp, Request
from miroir.core.writes.ops import Action
from miroir.core.writes.rendering import Lines, in_sequence, render_documents, split_ids
from miroir.core.writes.task_state import touched
from miroir.ports.nodes import NodeRequest
from miroir.services.cluster import Cluster
from miroir.services.writes.large_requests import LargeLines, LineStream
from miroir.services.writes.oplog import OpLog
from miroir.services.writes.stored_documents import StoredDocuments

#: A lane counts up to three steps per op: making the index, or an edition's deletions; ghosts; the op itself.
#: The last step of an op always has the last number: its end is the end of the op.
STEPS = 3


def last_step(op: int) -> int:
    """The step whose end is the end of an op."""
    return op * STEPS + STEPS - 1


def op_of(step: int) -> int:
    """The op a lane's step belongs to."""
    return step // STEPS


def lane_ops(op: OpRecord, resolution: Resolution, layout: str, mine: frozenset[int]) -> list[LaneOp]:
    """The steps of an op for a node that feeds the shards `mine` of a layout; empty when there is nothing for it."""
    steps = _steps(op, resolution, frozenset(resolution.shards_in(layout)), mine)
    first = last_step(op.id) - len(steps) + 1
    return [replace(step, id=first + place) for place, step in enumerate(steps)]


def _steps(
    op: OpRecord, resolution: Resolution, touches: frozenset[int], mine: frozenset[int]
) -> list[LaneOp]:
    """The steps in their order, not numbered yet."""
    action = Action(resolution.action)
    shards = mine if resolution.everywhere else mine & touches
    has_work = action is not Action.NONE and (resolution.everywhere or bool(shards))
    steps: list[LaneOp] = []
    if resolution.node_settings is not None and (action is not Action.SETTINGS or not has_work):
        steps.append(LaneOp(0, Action.SETTINGS))
    ghosts = _ghost_steps(resolution)
    if not has_work:
        return steps + ghosts
    part = 1.0 if resolution.everywhere else len(shards) / len(touches)
    if action is Action.ADD and resolution.ids:  # an edition that also deletes
        steps.append(LaneOp(0, Action.DELETE, documents=int(len(resolution.ids) * part) + 1))
    count = len(resolution.seqs) or len(resolution.ids)
    work = LaneOp(
        0,
        action,
        merge=resolution.merge,
        primary_key=resolution.primary_key,
        documents=int(count * part) + 1,
        size_bytes=int(op.payload_bytes * part),
    )
    if not ghosts:
        return [*steps, work]
    if (
        action is Action.PRIMARY_KEY
    ):  # only an index without documents may change it, and ghosts are documents
        return [LaneOp(0, Action.CLEAR), work, *ghosts]
    if action is Action.CLEAR:
        return [work, *ghosts]
    return [*steps, *ghosts, work]


def _ghost_steps(resolution: Resolution) -> list[LaneOp]:
    if not resolution.ghosts:
        return []
    size = len(resolution.ghosts)
    return [
        LaneOp(0, Action.GHOSTS, primary_key=resolution.ghosts_key, documents=1, size_bytes=size),
    ]


class RequestWriter:
    """Renders lane requests; keeps the rendered documents of recent ops, within a bound."""

    def __init__(self, log: OpLog, cluster: Cluster, bytes_max: int) -> None:
        self._log = log
        self._cluster = cluster
        self._bytes_max = bytes_max
        self._rendered: OrderedDict[tuple[int, str], tuple[Lines, int]] = OrderedDict()
        self._size = 0

    def write(self, node: NodeId, physical: str, request: Request) -> NodeRequest | None:
        """The request as bytes; None when the node feeds none of its shards any more."""
        index = f"/indexes/{quote(physical)}"
        match request.action:
            case Action.SETTINGS:
                body = orjson.dumps(self._resolution(request.ops[0]).node_settings)
                return NodeRequest(node, "PATCH", f"{index}/settings", body=body)
            case Action.PRIMARY_KEY:
                body = orjson.dumps({"primaryKey": request.ops[0].primary_key})
                return NodeRequest(node, "PATCH", index, body=body)
            case Action.DROP:
                return NodeRequest(node, "DELETE", index, content_type=None)
            case Action.CLEAR:
                return self._clear(node, physical, request)
            case Action.DELETE:
                return self._deletion(node, physical, request)
            case Action.ADD | Action.GHOSTS:
                return self._addition(node, physical, request)
            case Action.UNGHOST:
                query = urlencode({"customMetadata": request.tag})
                body = orjson.dumps({"filter": ghosts_only()})
                return NodeRequest(node, "POST", f"{index}/documents/delete", query, body)
            case Action.NONE:
                return None

    def _clear(self, node: NodeId, physical: str, request: Request) -> NodeRequest | None:
        """Everything, or only what this lane carried at the time: other shards came later, by copies."""
        path = f"/indexes/{quote(physical)}/documents"
        query = urlencode({"customMetadata": request.tag})
        mine = self._carried(node, physical, request.ops[0])
        if mine == self._cluster.members(physical).get(node, frozenset()):
            return NodeRequest(node, "DELETE", path, query, content_type=None)
        parts = [shard_filter(mine)] if mine else []
        if self._cluster.keeps_ghosts(physical):
            parts.append(ghosts_only())
        if not parts:
            return None
        body = orjson.dumps({"filter": " OR ".join(parts)})
        return NodeRequest(node, "POST", f"{path}/delete", query, body)

    def _resolution(self, step: LaneOp) -> Resolution:
        return self._log.resolutions[op_of(step.id)]

    def _addition(self, node: NodeId, physical: str, request: Request) -> NodeRequest | None:
        parts: list[LargeLines | list[bytes]] = []
        for step in request.ops:
            if step.action is Action.GHOSTS:
                parts.append([self._resolution(step).ghosts])
                continue
            parts.append(self._parts_of(op_of(step.id), physical, self._carried(node, physical, step)))
        stream = LineStream(parts)
        if not stream.size:
            return None
        large = any(isinstance(part, LargeLines) for part in parts)
        first = request.ops[0]
        query = urlencode({"primaryKey": first.primary_key, "customMetadata": request.tag})
        return NodeRequest(
            node,
            "PUT" if first.merge else "POST",
            f"/indexes/{quote(physical)}/documents",
            query,
            b"" if large else b"".join(stream.chunks()),
            "application/x-ndjson",
            stream=stream if large else None,
        )

    def _deletion(self, node: NodeId, physical: str, request: Request) -> NodeRequest | None:
        ids: list[str] = []
        for step in request.ops:
            ids.extend(self.ids_of(op_of(step.id), physical, self._carried(node, physical, step)))
        if not ids:
            return None
        query = urlencode({"customMetadata": request.tag})
        path = f"/indexes/{quote(physical)}/documents/delete-batch"
        return NodeRequest(node, "POST", path, query, orjson.dumps(ids))

    def _carried(self, node: NodeId, physical: str, step: LaneOp) -> frozenset[int]:
        return self._cluster.carried(physical, op_of(step.id)).get(node, frozenset())

    def lines_of(self, op: int, physical: str, shards: Collection[int]) -> list[bytes]:
        """The documents of an op that belong to the shards of a layout, as lines."""
        return list(self._parts_of(op, physical, shards))

    def _parts_of(self, op: int, physical: str, shards: Collection[int]) -> LargeLines | list[bytes]:
        documents = None if (op, physical) in self._rendered else self._log.payload(op)
        if isinstance(documents, StoredDocuments):
            resolution = self._log.resolutions[op]
            assert resolution.primary_key is not None
            ids = document_ids(documents, resolution.primary_key)
            shard_count = len(self._cluster.placement[physical].shards)
            return LargeLines(documents, ids, resolution.seqs, shard_count, shards)
        lines = self._lines(op, physical)
        return in_sequence([line for shard in sorted(lines.keys() & set(shards)) for line in lines[shard]])

    def ids_of(self, op: int, physical: str, shards: Collection[int]) -> list[str]:
        """The ids that an op deletes in the shards."""
        parts = split_ids(self._log.resolutions[op].ids, len(self._cluster.placement[physical].shards))
        return [one for shard in sorted(parts.keys() & set(shards)) for one in parts[shard]]

    def _lines(self, op: int, physical: str) -> Lines:
        found = self._rendered.get((op, physical))
        if found is not None:
            self._rendered.move_to_end((op, physical))
            return found[0]
        resolution = self._log.resolutions[op]
        assert resolution.physical is not None
        assert resolution.primary_key is not None
        documents = self._log.payload(op)
        assert documents is not None, f"payload of op {op} is gone"
        shard_count = len(self._cluster.placement[physical].shards)
        ids = document_ids(documents, resolution.primary_key)
        lines = render_documents(documents, ids, resolution.seqs, shard_count)
        self._log.uncache(op)
        size = sum(len(line) for part in lines.values() for line in part)
        self._rendered[op, physical] = (lines, size)
        self._size += size
        while self._size > self._bytes_max and len(self._rendered) > 1:
            self._size -= self._rendered.popitem(last=False)[1][1]
        return lines

    def forget(self, op: int) -> None:
        """The op's bytes are not needed soon."""
        for key in [key for key in self._rendered if key[0] == op]:
            self._size -= self._rendered.pop(key)[1]

    def concerned(self, op: int, layout: str | None = None) -> dict[str, frozenset[int]]:
        """Nodes with replicas that the op changes -> those shards (for an op everywhere: all of theirs).

        `layout` None: the one that was read at the time.
        """
        resolution = self._log.resolutions[op]
        if layout is None:
            layout = next(iter(resolution.layouts), "")
        if resolution.action == Action.DROP or layout not in self._cluster.placement:
            return {}
        carried = self._cluster.carried(layout, op)
        if resolution.everywhere or resolution.node_settings is not None or resolution.ghosts:
            return {node: mine for node, mine in carried.items() if mine}
        return touched(carried, resolution.shards_in(layout))

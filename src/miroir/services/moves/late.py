"""Requests of copies and deletions that reach a node after everything they belong to is over.

A request whose answer never came may lie in a stopped process or a slow network, and act when its shards have long been
read. It cannot be called back, but it is seen: every such request is tagged with its shards, and a copy is switched to
only when the node has nothing of the kind left to do. What comes after that, with shards that are in sync by then, was
late: those replicas are rebuilt.

So are those that came by a copy when a write of their lane arrives that is older than the copy: the lane gave it up long
ago, and what it would send again to make it good is no longer that shard's.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from miroir.core.topology import NodeId, ReplicaState
from miroir.core.writes.lane_requests import NodeTask
from miroir.services.cluster import Cluster
from miroir.services.writes.node_requests import op_of

log = structlog.get_logger()


class LateArrivals:
    """Judges the tasks that watchers of nodes see."""

    def __init__(
        self,
        cluster: Cluster,
        spoil: Callable[[str, str, set[int]], None],
        is_own: Callable[[str, int], bool] = lambda node, task: False,
        give_up: Callable[[str, str, set[int]], None] = lambda physical, node, shards: None,
        is_known: Callable[[str, str, NodeTask], bool] = lambda physical, node, task: False,
    ) -> None:
        """`spoil` (physical, node, shards): these replicas must be rebuilt. `is_own` (node, task): answered in time.
        `give_up` (physical, node, shards): they are not the node's, and must go. `is_known` (physical, node, task): the lane
        waits for it, or may yet find it to be its own."""
        self._cluster = cluster
        self._give_up = give_up
        self._is_own = is_own
        self._is_known = is_known
        self._spoil = spoil
        #: (physical, node) -> shard -> newest task of the node when reads went to it
        self._fences: dict[tuple[str, str], dict[int, int]] = {}
        #: (physical, node) -> shard -> the last op that its pages may have held
        self._boundaries: dict[tuple[str, str], dict[int, int]] = {}

    def fence(self, physical: str, node: str, shards: tuple[int, ...], task: int, boundary: int) -> None:
        """The shards, copied up to an op, are in sync now; tasks up to `task` are known."""
        self._fences.setdefault((physical, node), {}).update(dict.fromkeys(shards, task))
        self._boundaries.setdefault((physical, node), {}).update(dict.fromkeys(shards, boundary))

    def forget(self, node: str) -> None:
        """The node begins anew, and so do the numbers of its tasks."""
        self._fences = {key: fence for key, fence in self._fences.items() if key[1] != node}
        self._boundaries = {key: ops for key, ops in self._boundaries.items() if key[1] != node}

    def look(self, physical: str, node: NodeId, task: NodeTask, first: int) -> None:
        """A task of the node; `first` is the newest it had when this process began to look."""
        self._look_at_write(physical, node, task, first)
        touched = self._touched(physical, task)
        if not touched:
            return
        fences = self._fences.get((physical, node), {})
        placed = self._cluster.placement[physical].shards
        late = {
            shard
            for shard in touched
            if placed[shard].get(node) is ReplicaState.IN_SYNC and task.uid > fences.get(shard, first)
        }
        if late and not self._is_own(node, task.uid):
            log.error("request_arrived_late", node=node, index=physical, task=task.uid, shards=len(late))
            self._spoil(physical, node, late)
        astray = {shard for shard in touched if node not in placed[shard]}
        written = task.kind == "documentAdditionOrUpdate" and task.uid > first
        if astray and written and not self._is_own(node, task.uid):
            log.error("request_arrived_late", node=node, index=physical, task=task.uid, astray=len(astray))
            self._give_up(physical, node, astray)

    def _look_at_write(self, physical: str, node: NodeId, task: NodeTask, first: int) -> None:
        """A write of a lane that the copies on the node held already: it undoes what they brought."""
        record = self._cluster.placement.get(physical)
        since = {} if record is None or task.ops is None else record.since.get(node, {})
        if not since or task.ops is None or self._cluster.index_of(physical) is None:
            return
        op = op_of(task.ops[0])
        fences = self._fences.get((physical, node), {})
        boundaries = self._boundaries.get((physical, node), {})
        undone = {
            shard
            for shard, copied in since.items()
            if op <= boundaries.get(shard, copied) and task.uid > fences.get(shard, first)
        }
        if undone and not self._is_known(physical, node, task):
            log.error("write_arrived_late", node=node, index=physical, task=task.uid, shards=len(undone))
            self._spoil(physical, node, undone)

    def _touched(self, physical: str, task: NodeTask) -> set[int]:
        """Shards that a task of a copy, of a deletion, or of a whole index changes."""
        if task.shards is None and task.kind != "indexDeletion":
            return set()
        if self._cluster.index_of(physical) is None:
            return set()  # the index is being deleted, or is
        count = len(self._cluster.placement[physical].shards)
        if not task.shards:
            return set(range(count))
        return {shard for shard in task.shards if shard < count}

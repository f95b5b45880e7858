"""Watches: the task list of each node, read again and again by one task per node; lanes are told what it shows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import structlog

from miroir.core.topology import NodeId
from miroir.core.writes.lane_requests import NodeTask, Outcome
from miroir.core.writes.node_answers import TaskPage, task_page
from miroir.core.writes.write_limits import WriteLimits
from miroir.ports.nodes import NodeError, NodeRequest, NodeTransport
from miroir.ports.store import Store, Table, Tx
from miroir.services.cluster import Cluster
from miroir.services.writes.tracks import Track, Tracks

log = structlog.get_logger()

_NEWEST = "newest_task"
#: each wait is so much longer than the last: what a node ends is seen an eighth of its time later, on average
_SLOWER = 1.25


def forget_newest(tx: Tx, node: str) -> None:
    """Part of the transaction in which a node begins anew."""
    tx.delete(Table.META, (_NEWEST, node))


@dataclass(slots=True)
class Watch:
    """What the watcher of one node knows: tasks below `start` hold nothing new."""

    node: NodeId
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    start: int | None = None
    first: int = 0  #: the newest task when watching began
    running: bool = False
    settled: set[int] = field(default_factory=set)
    newest: int = -1  #: the newest task that the node said it has


class Watches:
    """All watchers. `report` (track, outcomes) hears of every task of a lane that ended or turned up.

    `begin_lane` makes the lane of an index that was at rest, if the node takes part in it.
    """

    def __init__(
        self,
        transport: NodeTransport,
        cluster: Cluster,
        tracks: Tracks,
        limits: WriteLimits,
        *,
        report: Callable[[Track, list[Outcome]], None],
        begin_lane: Callable[[str, NodeId], Track | None],
    ) -> None:
        self._transport = transport
        self._cluster = cluster
        self._tracks = tracks
        self._limits = limits
        self._report = report
        self._begin_lane = begin_lane
        #: hears of every task a node shows: physical, node, task, the newest task when watching began
        self.look: Callable[[str, NodeId, NodeTask, int], None] = lambda physical, node, task, first: None
        self.on_rolled_back: Callable[[NodeId], None] = lambda node: None  #: it has forgotten tasks it had
        self._watches: dict[NodeId, Watch] = {}
        self._group: asyncio.TaskGroup | None = None

    def begin(self, group: asyncio.TaskGroup) -> None:
        """Watchers are children of `group` from now on, until `end`."""
        self._group = group
        for node in self._cluster.nodes:
            self.add(NodeId(node))

    def end(self) -> None:
        """No further watcher begins."""
        self._group = None

    def add(self, node: NodeId) -> None:
        """Watch this node too, if nobody does."""
        self._watch(node)

    def wake(self, node: NodeId) -> None:
        """Something may be new on the node."""
        self._watch(node).wake.set()

    def reset(self, node: NodeId) -> None:
        """The node begins anew on an empty disk: its task list too."""
        watch = self._watch(node)
        watch.start = None
        watch.newest = -1
        watch.settled.clear()
        watch.wake.set()

    def look_again(self, node: NodeId, tasks: Collection[int]) -> None:
        """A lane has just learned that these tasks are its own."""
        watch = self._watch(node)
        if tasks and watch.start is not None:
            watch.start = min(watch.start, *tasks)
        watch.settled.difference_update(tasks)
        watch.wake.set()

    def newest(self, node: NodeId) -> int:
        """The newest task that the node said it has: whatever is sent to it from now on becomes a newer one."""
        return self._known(node).newest

    def open(self, store: Store) -> None:
        """Take up what is stored (`note_newest`)."""
        rows = store.read(lambda reader: list(reader.scan(Table.META, (_NEWEST,))))
        for key, row in rows:
            watch = self._known(NodeId(str(key[1])))
            watch.newest = max(watch.newest, int(row))

    def note_newest(self, tx: Tx, node: str) -> None:
        """Part of a transaction that relies on what came to the node beside the log, or was deleted there."""
        tx.put(Table.META, (_NEWEST, node), str(self.newest(NodeId(node))).encode())

    def took(self, node: NodeId, task: int, *, newest: int) -> None:
        """The node took a request as this task; when it was sent, `newest` was the newest."""
        watch = self._known(node)
        if task <= newest:
            log.error("node_numbers_tasks_anew", node=node, task=task, newest=newest)
            self.on_rolled_back(node)
        watch.newest = max(watch.newest, task)

    async def is_rolled_back(self, node: NodeId) -> bool | None:
        """Whether the node no longer has tasks that it had: an older copy of its disk. None when it does not say."""
        known = self.newest(node)
        page = await self.page(node, "limit=1")
        return None if page is None else max(page.uids, default=-1) < known

    async def page(self, node: NodeId, query: str) -> TaskPage | None:
        """A page of the node's task list; None when it did not show one."""
        deadline = asyncio.get_running_loop().time() + self._limits.request_timeout_s
        try:
            request = NodeRequest(node, "GET", "/tasks", query, content_type=None)
            answer = await self._transport.send(request, deadline=deadline)
            return task_page(answer.body) if answer.status == 200 else None
        except (NodeError, ValueError):
            return None

    def _known(self, node: NodeId) -> Watch:
        found = self._watches.get(node)
        if found is None:
            found = self._watches[node] = Watch(node)
        return found

    def _watch(self, node: NodeId) -> Watch:
        found = self._known(node)
        if self._group is not None and not found.running:
            found.running = True
            self._group.create_task(self._run(found), name=f"watch {node}")
        return found

    async def _run(self, watch: Watch) -> None:
        """Read the node's task list: often while something is unfinished, rarely for strays."""
        limits = self._limits
        wait_s = limits.poll_fast_s
        while True:
            watch.wake.clear()
            moved = False
            if watch.node in self._cluster.live:
                moved = await self._poll(watch)
            busy = bool(self._tracks.busy(watch.node))
            wait_s = limits.poll_fast_s if moved else min(wait_s * _SLOWER, limits.poll_slow_s)
            if not busy:
                wait_s = limits.poll_slow_s
            try:
                async with asyncio.timeout(wait_s):
                    await watch.wake.wait()
                wait_s = limits.poll_fast_s
                await asyncio.sleep(limits.poll_fast_s)
            except TimeoutError:
                continue

    async def _poll(self, watch: Watch) -> bool:
        """One page of the task list, oldest first; True when something ended."""
        if watch.start is None:
            newest = await self.page(watch.node, "limit=1")
            if newest is None:
                return False
            watch.start = watch.first = min(newest.uids, default=0)
            watch.newest = max([watch.newest, *newest.uids])
        self._look_back(watch)
        limit = self._limits.poll_tasks_max
        asked_from = watch.start
        page = await self.page(watch.node, f"from={asked_from}&reverse=true&limit={limit}")
        if page is None:
            return False
        if not page.uids and asked_from <= watch.newest:
            self.on_rolled_back(watch.node)  # whoever hears of it looks more closely
        watch.newest = max([watch.newest, *page.uids])
        moved = False
        first_open: int | None = None
        for physical, task in page.tasks:
            if task.uid in watch.settled:
                continue
            self.look(physical, watch.node, task, watch.first)
            track = self._tracks.get((physical, watch.node))
            if track is None and task.ops is not None:
                track = self._begin_lane(
                    physical, watch.node
                )  # nothing was sent since the start: an old request
            done, outcomes = (True, []) if track is None else track.lane.observe(task)
            if done:
                watch.settled.add(task.uid)
            elif first_open is None:
                first_open = task.uid
            if track is not None and (outcomes or done):
                moved = moved or bool(outcomes)
                self._report(track, outcomes)
        self._look_for_missing(watch.node, page, asked_from)
        if first_open is not None:
            watch.start = first_open
        elif page.uids:
            watch.start = page.uids[-1]
        self._look_back(watch)
        start = watch.start
        watch.settled = {uid for uid in watch.settled if uid >= start}
        return moved

    def _look_back(self, watch: Watch) -> None:
        """A lane may have heard of its task after the watcher had passed it."""
        assert watch.start is not None
        open_uids = [uid for track in self._tracks.busy(watch.node) for _, uid in track.lane.accepted]
        watch.start = min([watch.start, *open_uids])
        watch.settled.difference_update(open_uids)

    def _look_for_missing(self, node: NodeId, page: TaskPage, asked_from: int) -> None:
        """Tasks a lane waits for that the node no longer knows, though it knows later ones."""
        shown = set(page.uids)
        newest = max(shown, default=-1)
        for track in self._tracks.busy(node):
            for _, uid in list(track.lane.accepted):
                if asked_from <= uid < newest and uid not in shown:
                    log.warning("node_lost_task", node=node, task=uid)
                    track.lane.on_missing(uid)
                    self._report(track, [])

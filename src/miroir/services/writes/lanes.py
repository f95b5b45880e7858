"""Delivery: one task per lane that sends its requests in order, one watcher per node that reads its task list.

All decisions are the lane machine's (`core/writes/lanes.py`). What is noticed here - the end of an op on a node, a lane
that caught up, fell behind for good, or must not be read - is told to the completion.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import structlog

from miroir.core.records import LaneRecord, OpRecord, Resolution
from miroir.core.topology import NodeId
from miroir.core.writes.lanes import Lane, NodeTask, Outcome, Phase, Request
from miroir.core.writes.ops import Action
from miroir.core.writes.write_limits import WriteLimits
from miroir.ports.nodes import NodeError, NodeRequest, NodeResponse, NodeTransport
from miroir.services.cluster import Cluster
from miroir.services.writes.node_requests import (
    RequestWriter,
    error_of,
    lane_ops,
    last_step,
    op_of,
    parse_tasks,
    task_uid,
)
from miroir.services.writes.tracks import Bell, Track, Tracks

log = structlog.get_logger()

#: Refusals of content; anything else a node says may be different next time.
_REJECTED = frozenset({400, 413, 415})
_RECOVERY_PAGES_MAX = 100


@dataclass(slots=True)
class Watch:
    """What the watcher of one node knows: tasks below `start` hold nothing new."""

    node: NodeId
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    start: int | None = None
    first: int = 0  #: the newest task when watching began
    running: bool = False
    settled: set[int] = field(default_factory=set)


Ended = Callable[[str, str, int, dict[str, Any] | None], None]


class Delivery:
    """All lanes. `ended(physical, node, op, error)` is called for every op that ends on a node."""

    def __init__(
        self,
        transport: NodeTransport,
        cluster: Cluster,
        writer: RequestWriter,
        limits: WriteLimits,
        rng: random.Random,
        *,
        ended: Ended,
        changed: Callable[[str, str], None],
        hold_from: Callable[[str, str], int | None] = lambda physical, node: None,
    ) -> None:
        """`hold_from` (physical, node): the first op that the lane must not send yet."""
        self._hold_from = hold_from
        self._transport = transport
        self._cluster = cluster
        self._writer = writer
        self._limits, self._rng = limits, rng
        self._ended, self._changed = ended, changed
        #: hears of every task a node shows: physical, node, task, the newest task when watching began
        self.look: Callable[[str, NodeId, NodeTask, int], None] = lambda physical, node, task, first: None
        self.tracks = Tracks()
        self._watches: dict[NodeId, Watch] = {}
        self._group: asyncio.TaskGroup | None = None

    # --- from the other services --------------------------------------------------------------

    def add(self, op: OpRecord, resolution: Resolution) -> None:
        """Queue a resolved op on every lane it concerns; lanes of a new index come into being."""
        for layout in resolution.layouts:
            if layout not in self._cluster.placement:
                continue
            for node, mine in self._cluster.carried(layout, op.id).items():
                steps = lane_ops(op, resolution, layout, mine)
                if steps:
                    track = self.track(layout, node)
                    for step in steps:
                        track.lane.add(step)
                    track.wake.set()

    def track(self, physical: str, node: str) -> Track:
        """The lane to `node` of an index, made when it is new."""
        found = self.tracks.get((physical, node))
        if found is None:
            record = self._cluster.lanes.get((physical, node), LaneRecord())
            lane = Lane(
                applied=max(record.applied, record.forgotten),
                forgotten=record.forgotten,
                floor=last_step(self._cluster.floor(physical, node)),
            )
            found = Track(NodeId(node), physical, lane, Bell(lambda: self._start(physical, node)))
            self.tracks.add(found)
        return found

    def renew(self, physical: str, node: str) -> None:
        """The node takes part in the index (again), as its stored lane says; what it missed comes by a copy."""
        old = self.tracks.get((physical, node))
        if old is None:
            self.track(physical, node).wake.set()
            return
        record = self._cluster.lanes[physical, node]
        old.lane = Lane(applied=record.applied, forgotten=record.forgotten)
        self._after(old)

    def raise_floor(self, physical: str, node: str) -> None:
        """A copy has ended there."""
        track = self.tracks.get((physical, node))
        if track is not None:
            track.lane.floor = last_step(self._cluster.floor(physical, node))

    def end(self, physical: str, node: str) -> None:
        """The node holds nothing of the index any more."""
        track = self.tracks.pop((physical, node))
        if track is not None:
            track.dropped = True
            track.wake.set()

    def reset_node(self, node: NodeId) -> None:
        """The node begins anew on an empty disk: its task list too."""
        watch = self._watch(node)
        watch.start = None
        watch.settled.clear()
        watch.wake.set()

    def retire_strangers(self, physicals: Iterable[str]) -> None:
        """Empty the lanes of nodes that no longer take part in an index: nothing is kept for them."""
        for physical in physicals:
            members = self._cluster.members(physical)
            for track in self.tracks.of_index(physical):
                if track.node not in members:
                    done = max([track.lane.applied, *(op.id for op in track.lane.log)])
                    track.lane = Lane(applied=done, forgotten=done)
                    self._after(track)

    def wake_index(self, physical: str) -> None:
        """Lanes of the index may go on."""
        for track in self.tracks.of_index(physical):
            track.wake.set()

    def wake_node(self, node: NodeId) -> None:
        """The node is reachable again."""
        for track in self.tracks.of_node(node):
            track.wake.set()
        self._watch(node).wake.set()

    def stuck(self, physical: str, node: str, now_s: float) -> bool:
        """Whether a lane's node has refused or lost everything for too long."""
        track = self.tracks.get((physical, node))
        since = None if track is None else track.stuck_since
        return since is not None and now_s - since > self._limits.lag_after_s

    def lane(self, physical: str, node: str) -> Lane | None:
        track = self.tracks.get((physical, node))
        return None if track is None else track.lane

    # --- running ------------------------------------------------------------------------------

    async def run(self) -> None:
        """All lanes and watchers, until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for node in self._cluster.nodes:
                self._watch(NodeId(node))
            for (physical, node), track in self.tracks.items():
                if track.wake.rung:
                    self._start(physical, node)
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self._group = None  # what still ends rings nobody any more

    def _start(self, physical: str, node: str) -> None:
        """Serve a lane, unless somebody does."""
        track = self.tracks.get((physical, node))
        if self._group is not None and track is not None and not track.running:
            track.running = True
            self._group.create_task(self._run_lane(track), name=f"lane {node} {physical}")
            self._watch(track.node)

    def _watch(self, node: NodeId) -> Watch:
        found = self._watches.get(node)
        if found is None:
            found = self._watches[node] = Watch(node)
        if self._group is not None and not found.running:
            found.running = True
            self._group.create_task(self._run_watch(found), name=f"watch {node}")
        return found

    async def _run_lane(self, track: Track) -> None:
        """Send what is to be sent, until there is nothing."""
        failures = 0
        while track.wake.rung and not track.dropped:
            track.wake.clear()
            while track.node in self._cluster.live and (ready := self._next(track)) is not None:
                if await ready:
                    failures = 0
                    track.stuck_since = None
                    track.wake.set()
                    break
                failures += 1
                if track.stuck_since is None:
                    track.stuck_since = asyncio.get_running_loop().time()
                await asyncio.sleep(self._pause(failures))
        track.running = False
        if track.dropped and self.tracks.get((track.physical, track.node)) is track:
            self.tracks.pop((track.physical, track.node))

    def _next(self, track: Track) -> Any:
        """The awaitable step of a lane that can be done now, None when there is none."""
        lane = track.lane
        if lane.phase is Phase.RECOVERING:
            return self._recover(track)
        if lane.phase is Phase.UNSURE:
            return self._look_up(track)
        hold = self._hold_from(track.physical, track.node)
        if hold is not None and lane.cursor < len(lane.log) and op_of(lane.log[lane.cursor].id) >= hold:
            return None
        limits = self._limits
        request = lane.next_request(
            window=limits.window,
            documents_max=limits.merge_documents_max,
            bytes_max=limits.merge_bytes_max,
        )
        return None if request is None else self._send(track, request)

    def _pause(self, failures: int) -> float:
        limits = self._limits
        longest = min(limits.retry_last_s, limits.retry_first_s * 2.0 ** min(failures - 1, 20))
        return longest * (0.5 + self._rng.random() / 2)

    async def _send(self, track: Track, request: Request) -> bool:
        """One request; False when the node is to be left alone for a while."""
        lane = track.lane
        rendered = self._writer.write(track.node, track.physical, request)
        if rendered is None:
            self._report(track, lane.on_nothing())
            return True
        try:
            answer = await self._call(rendered)
        except NodeError as error:
            if error.refused:
                lane.on_refused()
            else:
                lane.on_unsure()
            return False
        if answer.status in (200, 202):
            try:
                uid = task_uid(answer.body)
            except ValueError:
                lane.on_unsure()
                return False
            lane.on_accepted(uid)
            self._watch(track.node).wake.set()
            self._after(track)
            return True
        if answer.status in _REJECTED:
            self._report(track, lane.on_rejected(error_of(answer.body)))
            return True
        log.warning("node_refused_write", node=track.node, status=answer.status)
        lane.on_unsure()
        return False

    async def _call(self, request: NodeRequest) -> NodeResponse:
        deadline = asyncio.get_running_loop().time() + self._limits.request_timeout_s
        return await self._transport.send(request, deadline=deadline)

    async def _list(self, node: NodeId, query: str) -> list[tuple[str, NodeTask]] | None:
        try:
            answer = await self._call(NodeRequest(node, "GET", "/tasks", query, content_type=None))
            return parse_tasks(answer.body) if answer.status == 200 else None
        except (NodeError, ValueError):
            return None

    async def _look_up(self, track: Track) -> bool:
        """Whether the request whose answer was lost is among the node's tasks."""
        limit = self._limits.poll_tasks_max
        listed = await self._list(track.node, f"indexUids={track.physical}&limit={limit}")
        if listed is None or track.lane.phase is not Phase.UNSURE:
            return listed is not None
        track.lane.on_listed(task for _, task in listed)
        self._after(track)
        self._watch(track.node).wake.set()
        return True

    async def _recover(self, track: Track) -> bool:
        """Read the node's tasks of the index, newest first, back to what is known to be applied."""
        tasks: list[NodeTask] = []
        start = ""
        for _ in range(_RECOVERY_PAGES_MAX):
            listed = await self._list(track.node, f"indexUids={track.physical}&limit=100{start}")
            if listed is None:
                return False
            tasks.extend(task for _, task in listed)
            tagged = [task.ops for task in tasks if task.ops is not None]
            if len(listed) < 100 or (tagged and tagged[-1][1] <= track.lane.applied):
                break
            start = f"&from={tasks[-1].uid - 1}"
        tasks.reverse()
        track.lane.recover(tasks)
        watch = self._watch(track.node)
        open_uids = [uid for _, uid in track.lane.accepted]
        if open_uids and watch.start is not None:
            watch.start = min(watch.start, *open_uids)
        watch.settled.difference_update(open_uids)
        watch.wake.set()
        self._after(track)
        return True

    async def _run_watch(self, watch: Watch) -> None:
        """Read the node's task list: often while something is unfinished, rarely for strays."""
        limits = self._limits
        wait_s = limits.poll_fast_s
        while True:
            watch.wake.clear()
            moved = False
            if watch.node in self._cluster.live:
                moved = await self._poll(watch)
            busy = bool(self.tracks.busy(watch.node))
            wait_s = limits.poll_fast_s if moved else min(wait_s * 1.5, limits.poll_slow_s)
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
            newest = await self._list(watch.node, "limit=1")
            if newest is None:
                return False
            watch.start = watch.first = min((task.uid for _, task in newest), default=0)
        self._look_back(watch)
        limit = self._limits.poll_tasks_max
        asked_from = watch.start
        listed = await self._list(watch.node, f"from={asked_from}&reverse=true&limit={limit}")
        if listed is None:
            return False
        moved = False
        first_open: int | None = None
        for physical, task in listed:
            if task.uid in watch.settled:
                continue
            self.look(physical, watch.node, task, watch.first)
            track = self.tracks.get((physical, watch.node))
            done, outcomes = (True, []) if track is None else track.lane.observe(task)
            if done:
                watch.settled.add(task.uid)
            elif first_open is None:
                first_open = task.uid
            if track is not None and (outcomes or done):
                moved = moved or bool(outcomes)
                self._report(track, outcomes)
        self._missing(watch.node, listed, asked_from)
        if first_open is not None:
            watch.start = first_open
        elif listed:
            watch.start = listed[-1][1].uid
        self._look_back(watch)
        start = watch.start
        watch.settled = {uid for uid in watch.settled if uid >= start}
        return moved

    def _look_back(self, watch: Watch) -> None:
        """A lane may have heard of its task after the watcher had passed it."""
        assert watch.start is not None
        open_uids = [uid for track in self.tracks.busy(watch.node) for _, uid in track.lane.accepted]
        watch.start = min([watch.start, *open_uids])
        watch.settled.difference_update(open_uids)

    def _missing(self, node: NodeId, listed: list[tuple[str, NodeTask]], asked_from: int) -> None:
        """Tasks a lane waits for that the node no longer knows, though it knows later ones."""
        if not listed:
            return
        shown = {task.uid for _, task in listed}
        newest = max(shown)
        for track in self.tracks.busy(node):
            for _, uid in list(track.lane.accepted):
                if asked_from <= uid < newest and uid not in shown:
                    log.warning("node_lost_task", node=node, task=uid)
                    track.lane.on_missing(uid)
                    self._after(track)

    def _report(self, track: Track, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            if outcome.op == last_step(op_of(outcome.op)) or outcome.error is not None:
                self._ended(track.physical, track.node, op_of(outcome.op), outcome.error)
        self._after(track)

    def _after(self, track: Track) -> None:
        """A lane moved: it may go on, and others may have waited for that."""
        lane = track.lane
        if lane.idle and lane.log and lane.log[-1].action is Action.DROP:
            track.dropped = True
        track.wake.set()
        self.tracks.note(track)
        self._changed(track.physical, track.node)

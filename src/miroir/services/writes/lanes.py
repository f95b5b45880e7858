"""Delivery: one task per lane that sends its requests in order; watchers tell how they ended (`watches.py`).

All decisions are the lane machine's (`core/writes/lanes.py`). What is noticed here - the end of an op on a node, a lane
that caught up, fell behind for good, or must not be read - is told to the completion.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from typing import Any

import structlog

from miroir.core.records import LaneRecord, OpRecord, Resolution
from miroir.core.topology import NodeId
from miroir.core.writes.lane_requests import NodeTask, Outcome, Request
from miroir.core.writes.lanes import Lane, Phase
from miroir.core.writes.node_answers import error_of, task_uid
from miroir.core.writes.ops import Action
from miroir.core.writes.write_limits import WriteLimits
from miroir.ports.nodes import NodeError, NodeTransport
from miroir.services.cluster import Cluster
from miroir.services.writes.node_requests import RequestWriter, lane_ops, last_step, op_of
from miroir.services.writes.tracks import Bell, Track, Tracks
from miroir.services.writes.watches import Watches

log = structlog.get_logger()

#: Refusals of content; anything else a node says may be different next time.
_REJECTED = frozenset({400, 413, 415})
_RECOVERY_PAGE = 100
_RECOVERY_PAGES_MAX = 100


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
        self.tracks = Tracks()
        self.watches = Watches(
            transport, cluster, self.tracks, limits, report=self._report, begin_lane=self._begin
        )
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
                tagged=record.tagged if record.applied >= 0 else -1,
                floor=last_step(self._cluster.floor(physical, node)),
            )
            found = Track(NodeId(node), physical, lane, Bell(lambda: self._start(physical, node)))
            self.tracks.add(found)
        return found

    def _begin(self, physical: str, node: NodeId) -> Track | None:
        if physical not in self._cluster.placement or node not in self._cluster.members(physical):
            return None
        track = self.track(physical, node)
        track.wake.set()
        return track

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
        self.watches.reset(node)

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

    def suspect(self, physical: str) -> None:
        """Nodes may have other settings of the index than they should."""
        for track in self.tracks.of_index(physical):
            self.tracks.suspects[physical, track.node] = track

    def wake_node(self, node: NodeId) -> None:
        """The node is reachable again."""
        for track in self.tracks.of_node(node):
            track.wake.set()
        self.watches.wake(node)

    def stuck(self, physical: str, node: str, now_s: float) -> bool:
        """Whether a lane's node has refused or lost everything for too long."""
        track = self.tracks.get((physical, node))
        since = None if track is None else track.stuck_since
        return since is not None and now_s - since > self._limits.lag_after_s

    def lane(self, physical: str, node: str) -> Lane | None:
        track = self.tracks.get((physical, node))
        return None if track is None else track.lane

    def may_know(self, physical: str, node: str, task: NodeTask) -> bool:
        """Whether a lane waits for this task, did, or may yet find that it is its own."""
        lane = self.lane(physical, node)
        if lane is None:
            return False
        is_out = lane.out is not None and task.ops == (lane.out.first, lane.out.last)
        return (
            is_out
            or lane.phase is Phase.RECOVERING
            or any(task.uid == uid for uid, _ in reversed(lane.history))
        )

    # --- running ------------------------------------------------------------------------------

    async def run(self) -> None:
        """All lanes and watchers, until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            self.watches.begin(group)
            for (physical, node), track in self.tracks.items():
                if track.wake.rung:
                    self._start(physical, node)
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self._group = None  # what still ends rings nobody any more
                self.watches.end()

    def _start(self, physical: str, node: str) -> None:
        """Serve a lane, unless somebody does."""
        track = self.tracks.get((physical, node))
        if self._group is not None and track is not None and not track.running:
            track.running = True
            self._group.create_task(self._run_lane(track), name=f"lane {node} {physical}")
            self.watches.add(track.node)

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
            deadline = asyncio.get_running_loop().time() + self._limits.request_timeout_s
            newest = self.watches.newest(track.node)
            answer = await self._transport.send(rendered, deadline=deadline)
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
            self.watches.took(track.node, uid, newest=newest)
            self.watches.wake(track.node)
            self._after(track)
            return True
        if answer.status in _REJECTED:
            self._report(track, lane.on_rejected(error_of(answer.body)))
            return True
        log.warning("node_refused_write", node=track.node, status=answer.status)
        lane.on_unsure()
        return False

    async def _look_up(self, track: Track) -> bool:
        """Whether the request whose answer was lost is among the node's tasks."""
        limit = self._limits.poll_tasks_max
        page = await self.watches.page(track.node, f"indexUids={track.physical}&limit={limit}")
        if page is None or track.lane.phase is not Phase.UNSURE:
            return page is not None
        track.lane.on_listed(task for _, task in page.tasks)
        self._after(track)
        self.watches.wake(track.node)
        return True

    async def _recover(self, track: Track) -> bool:
        """Read the node's tasks of the index, newest first, back to what is known to be applied."""
        tasks: list[NodeTask] = []
        start = ""
        for _ in range(_RECOVERY_PAGES_MAX):
            query = f"indexUids={track.physical}&limit={_RECOVERY_PAGE}{start}"
            page = await self.watches.page(track.node, query)
            if page is None:
                return False
            tasks.extend(task for _, task in page.tasks)
            tagged = [task.ops for task in tasks if task.ops is not None]
            if len(page.uids) < _RECOVERY_PAGE or (tagged and tagged[-1][1] <= track.lane.applied):
                break
            start = f"&from={page.uids[-1] - 1}"
        tasks.reverse()
        track.lane.recover(tasks)
        self.watches.look_again(track.node, [uid for _, uid in track.lane.accepted])
        self._after(track)
        return True

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

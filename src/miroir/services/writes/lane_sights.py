"""What is seen of lanes beside the ends of ops: that one caught up, is replayed, fell behind for good, lost its node.

Only lanes that moved are looked at, and all that lag once a second, or when a node came or went.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator

import msgspec
import structlog

from miroir.core.records import LaneRecord, PlacementRecord
from miroir.core.topology import ReplicaState
from miroir.core.writes.task_state import shards_behind
from miroir.core.writes.write_limits import WriteLimits
from miroir.services.cluster import Cluster
from miroir.services.writes.lanes import Delivery
from miroir.services.writes.node_requests import STEPS, last_step
from miroir.services.writes.oplog import OpLog
from miroir.services.writes.rounds import Round
from miroir.services.writes.tracks import Key, Track

log = structlog.get_logger()


class LaneSights:
    """Adds to a round what lanes show."""

    def __init__(
        self,
        oplog: OpLog,
        cluster: Cluster,
        delivery: Callable[[], Delivery],
        limits: WriteLimits,
        now_ns: Callable[[], int],
    ) -> None:
        self._log = oplog
        self._cluster = cluster
        self._delivery = delivery
        self._limits = limits
        self._now_ns = now_ns
        self._moved: dict[Key, None] = {}
        self._last_done: dict[str, int] = {}
        self._spoilt: dict[Key, set[int]] = {}
        self._lost_nodes: dict[str, asyncio.Future[None]] = {}

    def moved(self, physical: str, node: str) -> None:
        """The lane is not what it was."""
        self._moved[physical, node] = None

    def spoil(self, physical: str, node: str, shards: Collection[int]) -> None:
        """Something changed these replicas that is in no log."""
        self._spoilt.setdefault((physical, node), set()).update(shards)

    def note_done(self, op: int) -> None:
        """An op has ended."""
        resolution = self._log.resolutions.get(op)
        for layout in () if resolution is None else resolution.layouts:
            self._last_done[layout] = max(self._last_done.get(layout, -1), op)

    def lose_node(self, node: str) -> asyncio.Future[None]:
        """The node has lost its data; done once its replicas are stale."""
        return self._lost_nodes.setdefault(node, asyncio.get_running_loop().create_future())

    def absent(self, physical: str, node: str, op: int) -> bool:
        """Whether nobody waits for this lane to end `op`.

        One that lags is waited for again when it is nearly there: else it would stay a moment behind for as long as
        writes are steady, and every other node be the only copy.
        """
        now_s = asyncio.get_running_loop().time()
        if node not in self._cluster.live or self._delivery().stuck(physical, node, now_s):
            return True
        record = self._cluster.lanes.get((physical, node))
        if record is None or not record.lagging:
            return False
        lane = self._delivery().lane(physical, node)
        return lane is None or not lane.is_near(last_step(op))

    def record(
        self,
        physical: str,
        node: str,
        done: int,
        *,
        lagging: bool | None = None,
        behind: frozenset[int] | None = None,
        old: LaneRecord | None = None,
    ) -> LaneRecord:
        """What is stored of a lane. Never beyond `done`, the last op that ended: what a node did with later
        ones must be found out again after a crash.

        `behind`: shards of an op that ended without this lane, which lags by that; None: all. `old`: the record before, where it
        is not stored yet.
        """
        if old is None:
            old = self._cluster.lanes.get((physical, node), LaneRecord())
        lane = self._delivery().lane(physical, node)
        reached = old.applied if lane is None else min(lane.applied, last_step(done))
        applied = max(old.applied, reached)
        named = None if lane is None else lane.last_named(applied)
        old = msgspec.structs.replace(old, applied=applied, tagged=old.tagged if named is None else named)
        if lagging is None:
            return old
        return msgspec.structs.replace(
            old, lagging=lagging, behind=shards_behind(old, behind) if lagging else None
        )

    def look(self, found: Round, *, at_all: bool) -> None:
        """Lanes that caught up, that are being replayed, that are lost; nodes that lost everything."""
        keys, self._moved = self._moved, {}
        if at_all:
            keys.update(dict.fromkeys((str(p), str(n)) for n, p in self._cluster.snapshot().lagging))
            keys.update(dict.fromkeys(self._unread()))
        for key in keys:
            track = self._delivery().tracks.get(key)
            if track is not None:
                self._look_at(found, key, track)
        for (physical, node), shards in self._spoilt.items():
            if not self._lose(found, physical, node, shards):
                log.error("only_copy_spoilt", node=node, index=physical, shards=len(shards))
        self._spoilt.clear()
        self._look_at_lost_nodes(found)

    def _unread(self) -> Iterator[Key]:
        """Lanes of layouts that nobody reads: no task waits for them, but the log keeps what they need."""
        for index in self._cluster.sequenced.indexes.values():
            if index.other_layout is not None:
                for track in self._delivery().tracks.of_index(index.other_layout):
                    yield track.physical, str(track.node)

    def _is_unread(self, layout: str) -> bool:
        index = self._cluster.index_of(layout)
        return index is not None and index.layout != layout

    def _look_at(self, found: Round, key: Key, track: Track) -> None:
        physical, node = key
        lane = track.lane
        last = self._last_done.get(physical, -1)
        record = found.lanes.get(key) or self._cluster.lanes.get(key)
        lagging = record is not None and record.lagging
        if lane.lost or ((lagging or self._is_unread(physical)) and self._too_far_behind(track)):
            if not self._lose(found, physical, node) and lane.lost:
                log.error("lane_cannot_replay", node=node, index=physical)
                lane.lost = False  # the only copy: what it holds is all there is
                track.wake.set()
        elif lane.replaying and (record is None or not lagging or record.behind is not None):
            log.warning("lane_replays", node=node, index=physical)
            found.lanes[key] = self.record(physical, node, last, lagging=True)
        elif lagging and key not in found.lanes and self._caught_up(physical, node):
            log.info("lane_caught_up", node=node, index=physical)
            found.lanes[key] = self.record(physical, node, last, lagging=False)

    def _caught_up(self, physical: str, node: str) -> bool:
        lane = self._delivery().lane(physical, node)
        if lane is None or lane.phase == "recovering" or lane.replaying:
            return False
        if node not in self._cluster.live:
            return False
        undone = lane.undone
        return undone is None or undone // STEPS > self._last_done.get(physical, -1)

    def _too_far_behind(self, track: Track) -> bool:
        """Whether the log would grow beyond its bounds by waiting for a lane."""
        undone = track.lane.undone
        op = None if undone is None else self._log.ops.get(undone // STEPS)
        if op is None:
            return False
        too_old = self._now_ns() - op.accepted_at > self._limits.log_age_s * 1e9
        return too_old or self._log.is_nearly_full

    def _lose(self, found: Round, physical: str, node: str, only: Collection[int] | None = None) -> bool:
        """The node's replicas (of `only` these shards) are stale, but for those that are the only ones to be read."""
        record = self._cluster.placement.get(physical)
        unread = self._is_unread(physical)
        before = len(found.stale.get(physical, {}).get(node, ()))
        going = found.stale.get(physical, {})
        for shard, replicas in enumerate(record.shards if record is not None else ()):
            others = unread or any(
                s is ReplicaState.IN_SYNC and shard not in going.get(n, ())
                for n, s in replicas.items()
                if n != node
            )
            if replicas.get(node) is ReplicaState.IN_SYNC and others and (only is None or shard in only):
                found.stale.setdefault(physical, {}).setdefault(node, set()).add(shard)
        return len(found.stale.get(physical, {}).get(node, ())) > before

    def _look_at_lost_nodes(self, found: Round) -> None:
        for node in self._lost_nodes:
            for physical, record in self._cluster.placement.items():
                mine = {
                    shard
                    for shard, replicas in enumerate(record.shards)
                    if replicas.get(node) is ReplicaState.IN_SYNC
                }
                if mine:
                    found.stale.setdefault(physical, {}).setdefault(node, set()).update(mine)
        if self._lost_nodes and not found.stale:
            for future in self._lost_nodes.values():
                if not future.done():
                    future.set_result(None)
            self._lost_nodes.clear()

    def stale_placements(self, found: Round) -> tuple[dict[str, PlacementRecord], int]:
        """Placements with the round's stale replicas, and the epoch they bring."""
        epoch = self._cluster.epoch
        placements = {}
        for physical, nodes in found.stale.items():
            record = self._cluster.placement.get(physical)
            if record is None:
                continue
            epoch += 1
            placements[physical] = msgspec.structs.replace(
                record,
                shards=tuple(
                    {
                        node: ReplicaState.STALE
                        if state is ReplicaState.IN_SYNC and shard in nodes.get(node, ())
                        else state
                        for node, state in replicas.items()
                    }
                    for shard, replicas in enumerate(record.shards)
                ),
                epoch=epoch,
            )
        return placements, epoch

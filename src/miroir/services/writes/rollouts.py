"""Settings of an index with several replica groups, rolled out in two halves (core/writes/rollout.py).

The lanes stop before the op; the first half is taken out of reading, and once nobody reads there any more its lanes go
on. When it has the op, the task ends: in one step the first half answers again, by the new rules, and the second half
is behind, like any node that missed an op. Its lanes go on when its last reader has left.

Nothing here is stored. After a crash an op that has not ended is rolled out again from the beginning: the first half,
wherever it stands, is not read until it has the op.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from miroir.core.records import OpRecord, Resolution
from miroir.core.writes.ops import OpKind
from miroir.core.writes.rollout import Halves, covers, group_count, halves
from miroir.core.writes.write_limits import WriteLimits
from miroir.services.cluster import Cluster
from miroir.services.readers import Readers

log = structlog.get_logger()

_LOOK_S = 0.5


@dataclass(slots=True)
class Rollout:
    """One op on its way. Lanes of `held` nodes (None: of all) send nothing from the op on."""

    op: int
    physical: str
    held: frozenset[str] | None = None
    halves: Halves | None = None  #: once planned, until given up
    unread: frozenset[tuple[str, str]] = frozenset()  #: (physical, node) taken out of reading
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Rollouts:
    """All of them; one task each."""

    def __init__(
        self,
        cluster: Cluster,
        readers: Readers,
        limits: WriteLimits,
        *,
        wake_lanes: Callable[[str], None],
        wake_completion: Callable[[], None],
    ) -> None:
        self._cluster = cluster
        self._readers = readers
        self._limits = limits
        self._wake_lanes = wake_lanes
        self._wake_completion = wake_completion
        self._running: list[Rollout] = []
        self._fresh: list[Rollout] = []
        self._wake = asyncio.Event()

    # --- from the other services --------------------------------------------------------------

    def begin(self, op: OpRecord, resolution: Resolution) -> None:
        """Take an op over before any lane gets it, when it changes rules and there are several groups."""
        physical = next(iter(resolution.layouts), None)  # nobody reads the other one
        if op.kind != OpKind.SETTINGS or physical is None or resolution.node_settings is None:
            return
        if resolution.change is not None and any(c.created for c in resolution.change.indexes.values()):
            return
        record = self._cluster.placement.get(physical)
        if record is None or group_count(record.shards, self._group_of) < 2:
            return
        rollout = Rollout(op.id, physical)
        self._running.append(rollout)
        self._fresh.append(rollout)
        self._wake.set()

    def hold_from(self, physical: str, node: str) -> int | None:
        """The first op that the lane must not send yet."""
        return min(
            (
                rollout.op
                for rollout in self._running
                if rollout.physical == physical and (rollout.held is None or node in rollout.held)
            ),
            default=None,
        )

    def is_changing(self, physical: str) -> bool:
        """Whether the index's settings are on their way."""
        return any(rollout.physical == physical for rollout in self._running)

    def is_second(self, op: int, node: str) -> bool:
        """Whether the task of this op does not wait for the node."""
        return any(
            rollout.op == op and rollout.halves is not None and node in rollout.halves.rest
            for rollout in self._running
        )

    def end(self, op: int) -> None:
        """The op's task is ending: in this very step its first half answers again."""
        for rollout in self._running:
            if rollout.op == op:
                self._unmark(rollout)
                rollout.ended.set()

    # --- running ------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                fresh, self._fresh = self._fresh, []
                for rollout in fresh:
                    group.create_task(self._roll_out(rollout), name=f"rollout {rollout.op}")
                self._wake.clear()
                await self._wake.wait()

    async def _roll_out(self, rollout: Rollout) -> None:
        try:
            rollout.halves = await self._plan(rollout)
            if rollout.halves is None:
                log.info("settings_change_everywhere_at_once", op=rollout.op)
                return
            self._mark(rollout, rollout.halves)
            await self._readers.drained(self._limits.reader_timeout_s)
            self._hold(rollout, rollout.halves.rest)
            await self._first_half(rollout, rollout.halves)
            await self._readers.drained(self._limits.reader_timeout_s)
        finally:
            self._unmark(rollout)
            self._running.remove(rollout)
            self._cluster.publish()
            self._wake_lanes(rollout.physical)
            self._wake_completion()

    async def _plan(self, rollout: Rollout) -> Halves | None:
        """Both halves, once an earlier rollout is over and everybody has caught up; not for ever."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._limits.lag_after_s
        while True:
            first = next(other for other in self._running if other.physical == rollout.physical)
            record = self._cluster.placement.get(rollout.physical)
            if record is None:
                return None
            if first is rollout:
                found = halves(record.shards, self._group_of, self._readable(rollout.physical))
                if found is not None or loop.time() > end:
                    return found
            await asyncio.sleep(self._limits.poll_fast_s)

    async def _first_half(self, rollout: Rollout, planned: Halves) -> None:
        """Until the task has ended, or the first half cannot end it: then nobody is held back any longer."""
        while not rollout.ended.is_set():
            record = self._cluster.placement.get(rollout.physical)
            alive = record is not None and covers(
                record.shards, planned.first, lambda node: node in self._cluster.live
            )
            if not alive:
                log.warning("rollout_given_up", op=rollout.op)
                rollout.halves = None
                return
            try:
                async with asyncio.timeout(_LOOK_S):
                    await rollout.ended.wait()
            except TimeoutError:
                continue

    def _mark(self, rollout: Rollout, planned: Halves) -> None:
        rollout.unread = frozenset((rollout.physical, node) for node in planned.first)
        self._cluster.rolling |= rollout.unread
        self._cluster.publish()

    def _unmark(self, rollout: Rollout) -> None:
        self._cluster.rolling -= rollout.unread
        rollout.unread = frozenset()

    def _hold(self, rollout: Rollout, nodes: frozenset[str]) -> None:
        rollout.held = nodes
        self._wake_lanes(rollout.physical)
        self._wake_completion()

    def _group_of(self, node: str) -> int:
        return self._cluster.nodes[node].group

    def _readable(self, physical: str) -> Callable[[str], bool]:
        lanes, live = self._cluster.lanes, self._cluster.live

        def readable(node: str) -> bool:
            record = lanes.get((physical, node))
            return node in live and not (record is not None and record.lagging)

        return readable

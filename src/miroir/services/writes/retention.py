"""What the log may forget: ops every lane is done with, after a while; the oldest finished tasks above a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import islice, takewhile

import structlog

from miroir.core.records import forgetting
from miroir.core.topology import ReplicaState
from miroir.core.writes.write_limits import WriteLimits
from miroir.meili.tasks import FINISHED
from miroir.ports.store import Store, StoreError, Table, Tx
from miroir.services.cluster import Cluster
from miroir.services.tasks import Tasks
from miroir.services.writes.lanes import Delivery
from miroir.services.writes.node_requests import STEPS, RequestWriter, op_of
from miroir.services.writes.oplog import OpLog

log = structlog.get_logger()

_INTERVAL_S = 1.0
_DROP_MAX = 5000
_INDEXES_MAX = 100
#: states of replicas that no move is about
_AT_REST = (ReplicaState.IN_SYNC, ReplicaState.STALE)
#: part of the tasks that goes at once when there are too many, as Meilisearch does
_TASKS_CUT = 10
#: tasks removed in one transaction
_TASKS_PAGE = 500


class Retention:
    """Drops what nobody needs, once a second."""

    def __init__(
        self,
        store: Store,
        log: OpLog,
        cluster: Cluster,
        delivery: Delivery,
        writer: RequestWriter,
        tasks: Tasks,
        limits: WriteLimits,
        now_ns: Callable[[], int],
    ) -> None:
        self._store = store
        self._log = log
        self._cluster = cluster
        self._delivery = delivery
        self._writer = writer
        self._tasks = tasks
        self._limits = limits
        self._now_ns = now_ns
        self.copies_need: Callable[[], dict[str, int]] = dict  #: layout -> first op that a copy may need

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL_S)
            try:
                await self.sweep()
            except StoreError as error:
                log.error("retention_refused_by_store", error=str(error))  # next time

    async def sweep(self) -> None:
        """One round."""
        await self._drop_ops()
        await self._drop_indexes()
        await self._drop_tasks()
        await self._log.forget_keys()

    async def _drop_ops(self) -> None:
        """Ops whose task ended a while ago and that every lane has behind it, those of one index in their order."""
        needed = _Needed(self._delivery, self.copies_need())
        before = self._now_ns() - int(self._limits.keep_done_s * 1e9)
        victims: list[int] = []
        dropped: dict[str, int] = {}
        for physical, ended in self._log.ended.items():
            may_go = takewhile(lambda op: self._may_go(op, before, needed), ended)
            part = list(islice(may_go, _DROP_MAX - len(victims)))
            dropped[physical] = len(part)
            victims.extend(part)
        if not victims:
            return
        last: dict[str, int] = {}
        for op_id in victims:
            resolution = self._log.resolutions.get(op_id)
            for layout in () if resolution is None else resolution.layouts:
                last[layout] = op_id
        forgotten = self._forget(last)
        await self._log.drop(victims, forgotten)
        lanes = self._cluster.lanes
        lanes.update({key: forgetting(lanes.get(key), step) for key, step in forgotten.items()})
        for op_id in victims:
            self._writer.forget(op_id)
        for physical, count in dropped.items():
            ended = self._log.ended[physical]
            for _ in range(count):
                ended.popleft()
            if not ended:
                del self._log.ended[physical]

    def _may_go(self, op: int, before: int, needed: _Needed) -> bool:
        task, resolution = self._log.tasks.get(op), self._log.resolutions.get(op)
        if task is not None and (task.finished_at or before + 1) > before:
            return False
        layouts = () if resolution is None else resolution.layouts
        return not any(op >= needed.first(layout, op + 1) for layout in layouts)

    async def _drop_indexes(self) -> None:
        """Every row of indexes that are in no catalogue, once nothing in the log or on its way is about them.

        A node that was down when its index was dropped loses it to the sweep for leftovers.
        """
        cluster = self._cluster
        gone = [
            physical
            for physical, record in cluster.placement.items()
            if not self._is_known(physical)
            and all(state in _AT_REST for replicas in record.shards for state in replicas.values())
        ]
        if not gone:
            return
        needed = {resolution.physical for resolution in self._log.resolutions.values()}
        needed.update(cluster.owner(layout) for layout in self.copies_need())
        # A layout that an index let go is deleted already; of an index that is gone, lanes may have work to do.
        victims = [
            physical
            for physical in gone
            if cluster.owner(physical) in cluster.sequenced.indexes or cluster.owner(physical) not in needed
        ][:_INDEXES_MAX]
        if not victims:
            return
        ended = {cluster.owner(physical) for physical in victims} - cluster.sequenced.indexes.keys()

        def store(tx: Tx) -> None:
            for physical in victims:
                tx.delete(Table.PLACEMENT, (physical,))
                tx.delete_prefix(Table.LANES, (physical,))
            for index in ended:
                tx.delete_prefix(Table.DOCUMENTS, (index,))
                for kind in ("fields", "vocabulary"):
                    tx.delete_prefix(Table.META, (kind, index))

        await self._store.transact(store)
        for physical in victims:
            for track in self._delivery.tracks.of_index(physical):
                self._delivery.end(physical, track.node)
        lanes = set(victims)
        for key in [key for key in cluster.lanes if key[0] in lanes]:
            cluster.lanes.pop(key)
        for physical in victims:
            cluster.placement.pop(physical)
        cluster.publish()
        log.info("dropped_indexes_forgotten", indexes=len(victims))

    def _is_known(self, layout: str) -> bool:
        """Whether an index feeds or shows the layout."""
        shown = self._cluster.visible.indexes.get(self._cluster.owner(layout))
        return self._cluster.index_of(layout) is not None or (shown is not None and shown.layout == layout)

    def _forget(self, last: dict[str, int]) -> dict[tuple[str, str], int]:
        """Take steps up to the ops given from the lanes of the layouts; up to which they are gone, by lane."""
        forgotten = {}
        for physical, op_id in last.items():
            for track in self._delivery.tracks.of_index(physical):
                track.lane.forget((op_id + 1) * STEPS)
                forgotten[physical, str(track.node)] = track.lane.forgotten
        return forgotten

    async def _drop_tasks(self) -> None:
        count = len(self._log.tasks)
        if count <= self._limits.tasks_max:
            return
        ended = (uid for uid in self._log.tasks.oldest(FINISHED) if uid not in self._log.ops)
        victims = list(islice(ended, max(1, count // _TASKS_CUT)))
        for start in range(0, len(victims), _TASKS_PAGE):
            await self._tasks.remove(victims[start : start + _TASKS_PAGE])


class _Needed:
    """First op of each layout that a lane or a copy needs, found when it is asked for: most rest."""

    def __init__(self, delivery: Delivery, copies: dict[str, int]) -> None:
        self._delivery = delivery
        self._copies = copies
        self._found: dict[str, int | None] = {}

    def first(self, physical: str, nothing: int) -> int:
        """`nothing` when no op of the index is needed."""
        if physical not in self._found:
            undone = (track.lane.undone for track in self._delivery.tracks.of_index(physical))
            ops = [op_of(step) for step in undone if step is not None]
            if physical in self._copies:
                ops.append(self._copies[physical])
            self._found[physical] = min(ops, default=None)
        found = self._found[physical]
        return nothing if found is None else found

"""Completion: what happened on nodes becomes the end of tasks, in op order per name, and the visible catalogue.

One loop, one transaction per round. Whatever a round changes - tasks, the visible catalogue, lanes that lag or
caught up, replicas that went stale - is in the store before any reader or client sees it, and is then shown at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import structlog

from miroir.core.catalogue import Draft
from miroir.core.reads.node_errors import clean_message
from miroir.core.records import (
    CatalogueChange,
    IndexChange,
    LaneRecord,
    OpRecord,
    Resolution,
    decode,
    encode,
    forgetting,
)
from miroir.core.topology import IndexView, PhysicalUid
from miroir.core.writes.mending import MendingRecord
from miroir.core.writes.ops import Action, NameQueues, OpKind
from miroir.core.writes.task_state import Verdict, judge
from miroir.core.writes.write_limits import WriteLimits
from miroir.meili.task_names import relabel
from miroir.meili.tasks import FINISHED, Task
from miroir.ports.store import Store, Table, Tx
from miroir.services.cluster import VISIBLE, Cluster
from miroir.services.writes.lane_sights import LaneSights
from miroir.services.writes.lanes import Delivery
from miroir.services.writes.mending import Mending
from miroir.services.writes.node_requests import RequestWriter
from miroir.services.writes.oplog import OpLog
from miroir.services.writes.persisting import persist
from miroir.services.writes.rounds import Round
from miroir.services.writes.sequencer import store_applied

log = structlog.get_logger()

_ROUND_MAX = 256
#: between two looks at every op that has not ended
_LOOK_S = 1.0
#: counters of a task that did nothing
_ZEROED = ("indexedDocuments", "deletedDocuments", "editedDocuments")
#: said of an op that nodes of some shards refused: those of the others hold their part
_KEPT = " - Note: documents of this payload on other shards were written."


class Completion:
    """Judges ops, ends tasks, writes the visible catalogue."""

    def __init__(
        self,
        store: Store,
        oplog: OpLog,
        cluster: Cluster,
        writer: RequestWriter,
        limits: WriteLimits,
        now_ns: Callable[[], int],
    ) -> None:
        self._store = store
        self._log = oplog
        self._cluster = cluster
        self._writer = writer
        self._limits = limits
        self._now_ns = now_ns
        self.delivery: Delivery | None = None  #: set by the write path, which makes both
        #: (op, node): the op's task does not wait for a node that changes its rules later
        self.is_second: Callable[[int, str], bool] = lambda op, node: False
        self.on_commit: Callable[[int], None] = lambda op: None  #: an op has ended, readers are told next
        #: a node did not do its part of an op: the layouts of the index may differ from now on
        self.on_refused: Callable[[int, Resolution], None] = lambda op, resolution: None
        self.mending: Mending | None = None  #: set by the write path too
        self._queue = NameQueues()
        self._unshown: set[str] = set()  #: names of ops that left the queue and that readers do not see yet
        self._outcomes: dict[int, dict[str, dict[str, Any] | None]] = {}
        self.sights = LaneSights(oplog, cluster, self._lanes, limits, now_ns)
        self._touched: set[int] = set()  #: ops that may have ended now
        self._all_touched = True
        self._looked_s = 0.0
        self._wake = asyncio.Event()
        self._on_head: list[Callable[[], None]] = []
        self._on_end: list[Callable[[list[Task]], None]] = []

    # --- from the other services --------------------------------------------------------------

    def open(self) -> None:
        """Take up every op whose task has not ended."""
        for op in sorted(self._log.ops.values(), key=lambda op: op.id):
            if op.stage == "done":
                self.sights.note_done(op.id)
            else:
                self._queue.add(op.id, op.names)
        self._wake.set()

    def add(self, op: OpRecord) -> None:
        """One more accepted op."""
        self._queue.add(op.id, op.names)

    def is_head(self, op: int) -> bool:
        """Whether everything before the op that shares a name with it has ended, and is seen in the snapshot."""
        if op not in self._queue or not self._queue.is_head(op):
            return False
        return self._unshown.isdisjoint(self._log.ops[op].names)

    def on_round(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever tasks have ended."""
        self._on_head.append(listener)

    def on_end(self, listener: Callable[[list[Task]], None]) -> None:
        """Call `listener` with tasks that ended, oldest first."""
        self._on_end.append(listener)

    def ended(self, physical: str, node: str, op: int, error: dict[str, Any] | None) -> None:
        """An op ended on a node, in one of the layouts of its index."""
        resolution = self._log.resolutions.get(op)
        if resolution is not None and error is not None:
            self.on_refused(op, resolution)
        if resolution is None or physical != resolution.layouts[0]:
            return  # nobody waits for it
        if op in self._queue:
            self._outcomes.setdefault(op, {}).setdefault(node, error)
            self._touched.add(op)
            self._wake.set()
        elif self._ended_otherwise(op, resolution, error):
            # It lagged, and the others went on without it.
            log.warning("replica_ended_otherwise", node=node, op=op)
            self.sights.spoil(physical, node, self._writer.concerned(op).get(node, ()))
            self._wake.set()

    def _ended_otherwise(self, op: int, resolution: Resolution, error: dict[str, Any] | None) -> bool:
        """Whether an op that has ended did so in another way than it now does on one node."""
        task = self._log.tasks.get(op)
        if task is None or task.status == "succeeded" or resolution.error is not None:
            return error is not None  # of what was refused before, nodes only got the index that it made
        if task.status == "failed" and resolution.action == Action.SETTINGS:
            self._lanes().suspect(next(iter(resolution.layouts)))  # nobody should have them
            return False
        kept = str((task.error or {}).get("message", "")).endswith(_KEPT)
        return task.status == "failed" and (kept or resolution.everywhere or error is None)

    async def lose_node(self, node: str) -> None:
        """The node has lost its data: all its replicas are stale when this returns."""
        future = self.sights.lose_node(node)
        self._wake.set()
        await asyncio.shield(future)

    def wake(self) -> None:
        """Something that was waited for may have happened: look at everything."""
        self._all_touched = True
        self._wake.set()

    def lane_moved(self, physical: str, node: str) -> None:
        """A lane went on."""
        self.sights.moved(physical, node)
        self._wake.set()

    def _lanes(self) -> Delivery:
        assert self.delivery is not None
        return self.delivery

    def started(self, op: OpRecord) -> None:
        """An op was sequenced: its task is being processed."""
        task = self._log.tasks[op.id]
        if task.status == "enqueued":
            self._log.tasks[op.id] = msgspec.structs.replace(
                task, status="processing", started_at=self._now_ns(), batch_uid=op.id
            )
        self._touched.add(op.id)
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled. Looks around once a second even if nobody calls: time passes for stuck lanes."""
        while True:
            try:
                async with asyncio.timeout(1.0):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            while found := self._take_round():
                await self._commit(found)
                await asyncio.sleep(0)

    # --- one round ----------------------------------------------------------------------------

    def _take_round(self) -> Round:
        found = Round()
        at_all = self._is_time_for_all()
        touched, self._touched = self._touched, set()
        heads = self._queue.heads() if at_all else sorted(filter(self.is_head, touched))
        taken = 0
        while heads and taken < _ROUND_MAX:
            op = self._log.ops[heads.pop(0)]
            verdict = self._judge(op, found)
            if verdict is None:
                continue
            taken += 1
            self._end(found, op, verdict)
            self._unshown.update(op.names)
            heads.extend(self._queue.remove(op.id))
        self._touched.update(heads)  # of a round that is full
        self.sights.look(found, at_all=at_all)
        if found.stale or any(lane.lagging for lane in found.lanes.values()):
            self._all_touched = True  # others no longer wait for these
        return found

    def _is_time_for_all(self) -> bool:
        """Whether every op is looked at, not only those of which something was heard: time passes too."""
        now_s = asyncio.get_running_loop().time()
        if not self._all_touched and now_s - self._looked_s < _LOOK_S:
            return False
        self._all_touched = False
        self._looked_s = now_s
        return True

    def _judge(self, op: OpRecord, found: Round) -> Verdict | None:
        resolution = self._log.resolutions.get(op.id)
        if resolution is None:
            return None
        if self._log.tasks[op.id].status in FINISHED and resolution.action == "none":
            return Verdict()
        layout = next(iter(resolution.layouts), "")
        concerned = found.without_stale(layout, self._writer.concerned(op.id))
        absent = {
            node
            for node in concerned
            if self.sights.absent(layout, node, op.id) or self.is_second(op.id, node)
        }
        verdict = judge(concerned, self._outcomes.get(op.id, {}), absent=absent)
        if verdict is not None and verdict.error is not None and resolution.action == Action.SETTINGS:
            verdict = replace(
                verdict, stale={}
            )  # who refused is right: the others get the settings before again
        if verdict is not None and resolution.error is not None:
            return Verdict(error=resolution.error, lagging=verdict.lagging, stale=verdict.stale)
        return verdict

    def _end(self, found: Round, op: OpRecord, verdict: Verdict) -> None:
        resolution = self._log.resolutions[op.id]
        found.ended.append((op, resolution, verdict))
        task = self._log.tasks[op.id]
        if task.status not in FINISHED:
            found.tasks[op.id] = self._ended_task(op, task, resolution, verdict)
        if resolution.physical is None:
            return
        read = resolution.layouts[0]
        for layout in resolution.layouts:
            for node, shards in self._writer.concerned(op.id, layout).items():
                is_behind = (
                    node in verdict.lagging if layout == read else self.sights.absent(layout, node, op.id)
                )
                found.lanes[layout, node] = self.sights.record(
                    layout,
                    node,
                    op.id,
                    lagging=True if is_behind else None,
                    behind=shards,
                    old=found.lanes.get((layout, node)),
                )
        for node, shards in verdict.stale.items():
            log.warning("replica_went_stale", node=node, op=op.id, shards=len(shards))
            found.stale.setdefault(read, {}).setdefault(node, set()).update(shards)

    def _ended_task(self, op: OpRecord, task: Task, resolution: Resolution, verdict: Verdict) -> Task:
        now = max(self._now_ns(), task.enqueued_at)
        changes: dict[str, Any] = {
            "finished_at": now,
            "started_at": task.started_at or now,
            "batch_uid": op.id,
        }
        if verdict.error is None:
            details = resolution.details if resolution.details is not None else task.details
            return msgspec.structs.replace(task, status="succeeded", details=details, error=None, **changes)
        error = verdict.error
        if resolution.error is None:
            message = self._clean(op, resolution, str(error.get("message", "")))
            kept = bool(resolution.shards) and not verdict.failed_shards.issuperset(resolution.shards)
            error = {**error, "message": message + _KEPT if kept else message}
        zeroed = _ZEROED if op.kind != OpKind.DOCUMENTS_EDIT else ("editedDocuments",)
        details = task.details and {k: 0 if k in zeroed else v for k, v in task.details.items()}
        return msgspec.structs.replace(task, status="failed", details=details, error=error, **changes)

    def _clean(self, op: OpRecord, resolution: Resolution, message: str) -> str:
        view = IndexView(
            uid=op.index_uid or "",
            physical_uid=PhysicalUid(next(iter(resolution.layouts), "")),
            primary_key=None,
            placement=(),
            settings={},
            created_at=0,
            updated_at=0,
        )
        return clean_message(message, view)

    async def _commit(self, found: Round) -> None:
        if not found.stale:
            await self._commit_round(found)
            return
        async with self._cluster.changing:
            await self._commit_round(found)

    async def _commit_round(self, found: Round) -> None:
        now = self._now_ns()
        done = [msgspec.structs.replace(op, stage="done") for op, _, _ in found.ended]
        draft = Draft(self._cluster.visible)
        applied = []
        relabelled: dict[int, Task] = {}
        for op, resolution, verdict in found.ended:
            change = resolution.change if verdict.error is None else _made_only(resolution.change)
            if change is not None:
                applied.append(draft.apply(change, now_ns=now))
                if change.relabel:
                    relabelled.update(self._relabel(op.id, change.relabel, {**found.tasks, **relabelled}))
        tasks = {**found.tasks, **relabelled}
        refused = self._refused(found)
        placements, epoch = self.sights.stale_placements(found)

        def store(tx: Tx) -> None:
            for op in done:
                tx.put(Table.OPS, (op.id,), encode(op))
            for uid, task in tasks.items():
                tx.put(Table.TASKS, (uid,), encode(task))
            for key, lane in found.lanes.items():
                row = tx.get(Table.LANES, key)  # the log may have forgotten more since the round was taken
                known = None if row is None else decode(LaneRecord, row)
                tx.put(Table.LANES, key, encode(lane if known is None else forgetting(lane, known.forgotten)))
            for change in applied:
                store_applied(tx, VISIBLE, change)
            for physical, placement in placements.items():
                tx.put(Table.PLACEMENT, (physical,), encode(placement))
            if placements:
                tx.put(Table.META, ("epoch",), str(epoch).encode())
            if self.mending is not None:
                self.mending.store(tx, refused)

        await persist(self._store, store)
        for op in done:
            self._log.end(op)
            self._outcomes.pop(op.id, None)
            self.sights.note_done(op.id)
            self.on_commit(op.id)
        if self.mending is not None:
            self.mending.add(refused)
        for rows in applied:
            self._cluster.visible.take(rows)
        lanes = self._cluster.lanes
        for key, lane in found.lanes.items():
            known = lanes.get(key)
            lanes[key] = lane if known is None else forgetting(lane, known.forgotten)
        self._cluster.placement.update(placements)
        if placements:
            self._cluster.epoch = epoch
        self._cluster.publish()
        self._unshown.clear()
        if placements:
            assert self.delivery is not None
            self.delivery.retire_strangers(placements)
        self._log.tasks.update(tasks)
        for heard in self._on_head:
            heard()
        self.tell([self._log.tasks[op.id] for op in done if op.id in self._log.tasks])

    def _refused(self, found: Round) -> dict[int, MendingRecord]:
        """Ops of this round after which nodes may hold something else than the book says."""
        records = {}
        for op, resolution, verdict in found.ended:
            record = None if self.mending is None else self.mending.record(op, resolution, verdict)
            if record is not None:
                records[op.id] = record
        return records

    def tell(self, ended: list[Task]) -> None:
        """Say that tasks have ended, also those that were no ops."""
        if ended:
            for told in self._on_end:
                told(ended)

    def _relabel(self, op: int, names: dict[str, str], fresh: dict[int, Task]) -> dict[int, Task]:
        """Tasks before `op` under their new names."""
        changed = {}
        tasks = self._log.tasks
        for uid in {*tasks.about(names), *fresh}:
            if uid < op:
                task = fresh.get(uid) or tasks[uid]
                moved = relabel(task, names)
                if moved is not task and moved != task:
                    changed[uid] = moved
        return changed


def _made_only(change: CatalogueChange | None) -> CatalogueChange | None:
    """What a failed op leaves: the index it made, empty."""
    if change is None:
        return None
    made = {p: IndexChange(created=c.created) for p, c in change.indexes.items() if c.created is not None}
    return CatalogueChange(names=change.names, indexes=made) if made else None

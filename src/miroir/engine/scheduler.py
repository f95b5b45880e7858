"""Runs queued tasks: one batch at a time, cooperative, each batch and its tasks' ends in one transaction.

A crash at any point leaves the tasks of the running batch queued, and they run again. Readers see the
catalog of the last finished batch. Which tasks make a batch is decided in `task_queue.py` and `batching.py`;
what a batch does is in `executing.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from miroir.engine.batching import Plan
from miroir.engine.catalog import LiveIndex
from miroir.engine.errors import Aborted
from miroir.engine.executing import execute
from miroir.engine.indexing import empty_index
from miroir.engine.jobs import AnyJob, SelectTasks, encode_job, summary
from miroir.engine.outcome import Outcome, failed
from miroir.engine.store import Store
from miroir.engine.task_queue import Chosen, TaskQueue
from miroir.meili import settings
from miroir.meili.codes import ApiError
from miroir.meili.task_names import relabel
from miroir.meili.tasks import FINISHED, Batch, Task

_batch_encode = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one engine."""

    batched_tasks_max: int = 10_000
    tasks_kept_max: int = 100_000
    tasks_cleaned_at_once: int = 10_000


class Scheduler:
    """The queue, the catalog and the store, kept in step."""

    def __init__(
        self,
        store: Store,
        queue: TaskQueue,
        catalog: dict[str, LiveIndex],
        *,
        features: Mapping[str, bool],
        now_ns: Callable[[], int],
        limits: Limits,
        files_dir: Path | None,
    ) -> None:
        self.store = store
        self.queue = queue
        self.catalog: dict[str, LiveIndex] = catalog  # replaced, never changed in place
        self.features = features
        self.now_ns = now_ns
        self.files_dir = files_dir
        self._limits = limits
        self._next_index_number = store.next_index_number()
        self._next_task_uid = store.next_task_uid()
        self._wake = asyncio.Event()
        self._stop_running = False
        self.running: frozenset[int] = frozenset()
        #: called with the uids of the tasks of each finished batch
        self.finished: Callable[[list[Task]], None] | None = None

    # --- queueing ---------------------------------------------------------------------------------

    def enqueue(self, task: Task, job: AnyJob) -> Task:
        """Give the task its uid and make it durable; it runs as soon as the loop gets to it."""
        uid = self._next_task_uid
        task = msgspec.structs.replace(task, uid=uid, enqueued_at=self.now_ns())
        with self.store.transaction():
            self.store.put_task(task)
            self.store.put_job(uid, encode_job(job))
        self._next_task_uid += 1
        self.queue.put(task)
        self.queue.summaries[uid] = summary(job)
        if isinstance(job, SelectTasks) and task.kind == "taskCancelation":
            self._stop_running = self._stop_running or not self.running.isdisjoint(job.matched)
        self._wake.set()
        return task

    # --- running ----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run batches for ever."""
        while True:
            self._wake.clear()
            if not await self.step():
                await self._wake.wait()
            await asyncio.sleep(0)

    async def breathe(self) -> None:
        """Let others run; raises Aborted when the running batch has been asked to stop."""
        await asyncio.sleep(0)
        if self._stop_running:
            raise Aborted

    async def step(self) -> bool:
        """Run the next batch to its end; False when nothing is queued."""
        self._clean_up()
        chosen = self.queue.choose(self._index_state, self._limits.batched_tasks_max)
        if chosen is None:
            return False
        uid = self.store.next_batch_uid()
        started_at = self.now_ns()
        tasks = self._start(chosen, uid, started_at)
        try:
            outcome = await self._execute(chosen, tasks)
        except Aborted:
            self._requeue(tasks)
            self.queue.batches.pop(uid, None)
            return True
        except asyncio.CancelledError:
            self._requeue(tasks)
            raise
        finally:
            self._stop_running = False
            self.running = frozenset()
        self._finish(chosen, uid, started_at, outcome)
        return True

    async def _execute(self, chosen: Chosen, tasks: list[Task]) -> Outcome:
        try:
            if (
                chosen.plan is not None
                and chosen.plan.creates_index
                and chosen.plan.plan is not Plan.CREATE_INDEX
            ):
                assert chosen.index_uid is not None
                self._create_missing(chosen.index_uid)
            return await execute(self, chosen, tasks)
        except ApiError as error:
            return Outcome(tasks=[failed(task, error) for task in tasks])
        except (Aborted, asyncio.CancelledError):
            raise
        except Exception as error:  # noqa: BLE001 - a broken batch must fail its tasks, never the queue
            internal = ApiError("internal", f"{type(error).__name__}: {error}")
            return Outcome(tasks=[failed(task, internal) for task in tasks])

    def _start(self, chosen: Chosen, batch_uid: int, started_at: int) -> list[Task]:
        tasks = [
            msgspec.structs.replace(
                self.queue.tasks[uid], status="processing", batch_uid=batch_uid, started_at=started_at
            )
            for uid in chosen.uids
        ]
        for task in tasks:
            self.queue.tasks[task.uid] = (
                task  # only in memory: still queued for the store and for a successor
            )
        self.queue.batches[batch_uid] = Batch(
            uid=batch_uid,
            started_at=started_at,
            strategy=chosen.reason,
            progress={
                "steps": [{"currentStep": "processing tasks", "finished": 0, "total": len(tasks)}],
                "percentage": 0.0,
            },
        )
        self.running = frozenset(chosen.uids)
        return tasks

    def _requeue(self, tasks: Iterable[Task]) -> None:
        for task in tasks:
            self.queue.tasks[task.uid] = msgspec.structs.replace(
                task, status="enqueued", batch_uid=None, started_at=None
            )

    def _finish(self, chosen: Chosen, batch_uid: int, started_at: int, outcome: Outcome) -> None:
        finished_at = self.now_ns()
        done = [
            msgspec.structs.replace(task, batch_uid=batch_uid, started_at=started_at, finished_at=finished_at)
            for task in outcome.tasks
        ]
        batch = Batch(uid=batch_uid, started_at=started_at, finished_at=finished_at, strategy=chosen.reason)
        changed = {task.uid: task for task in done}
        for names, before in outcome.relabels:
            for task in self.queue.tasks.values():
                task = changed.get(task.uid, task)
                if task.uid < before and (renamed := relabel(task, names)) is not task:
                    changed[task.uid] = renamed
        emptied = self._emptied_batches(outcome.forget)
        with self.store.transaction():
            for write in outcome.writes:
                write(self.store)
            self._store_indexes(outcome.indexes)
            for task in changed.values():
                self.store.put_task(task)
            self.store.delete_jobs(task.uid for task in done)
            self.store.put_batch(batch_uid, _batch_encode(batch))
            if outcome.forget:
                self.store.delete_tasks(outcome.forget)
                self.store.delete_batches(emptied)
        for task in changed.values():
            self.queue.put(task)
        self.queue.forget(outcome.forget)
        for uid in emptied:
            self.queue.batches.pop(uid, None)
        self.queue.batches[batch_uid] = batch
        if outcome.indexes:
            catalog = self.catalog | {uid: live for uid, live in outcome.indexes.items() if live is not None}
            for gone in [name for name, live in outcome.indexes.items() if live is None]:
                catalog.pop(gone, None)
            self.catalog = catalog
        if self.finished is not None:
            self.finished(done)

    def _store_indexes(self, indexes: Mapping[str, LiveIndex | None]) -> None:
        """Write new states; an index that went without living on under another name goes with its documents."""
        kept = {live.number for live in indexes.values() if live is not None}
        for uid, live in indexes.items():
            before = self.catalog.get(uid)
            if live is not None:
                self.store.put_index(live.number, live.row())
            if before is not None and before.number not in kept:
                self.store.delete_index(before.number)

    def _emptied_batches(self, gone: Iterable[int]) -> list[int]:
        gone = set(gone)
        if not gone:
            return []
        touched = {self.queue.tasks[uid].batch_uid for uid in gone}
        left = {task.batch_uid for task in self.queue.tasks.values() if task.uid not in gone}
        return [uid for uid in touched - left if uid is not None]

    def _create_missing(self, uid: str) -> None:
        """Make the index of a batch that may create it; it stays, whatever becomes of the batch."""
        if uid in self.catalog:
            return
        live = self.new_index(uid, None)
        with self.store.transaction():
            self.store.put_index(live.number, live.row())
        self.catalog = self.catalog | {uid: live}

    def new_index(self, uid: str, primary_key: str | None) -> LiveIndex:
        """An empty index with default settings, under a number of its own."""
        number = self._next_index_number
        self._next_index_number += 1
        now = self.now_ns()
        return LiveIndex(number, uid, empty_index(settings.defaults(), primary_key), now, now)

    def _index_state(self, uid: str) -> tuple[bool, str | None]:
        live = self.catalog.get(uid)
        return (False, None) if live is None else (True, live.index.primary_key)

    def _clean_up(self) -> None:
        """Drop the oldest finished tasks when there are too many."""
        if len(self.queue.tasks) <= self._limits.tasks_kept_max:
            return
        oldest = [uid for uid, task in self.queue.tasks.items() if task.status in FINISHED]
        oldest = sorted(oldest)[: self._limits.tasks_cleaned_at_once]
        emptied = self._emptied_batches(oldest)
        with self.store.transaction():
            self.store.delete_tasks(oldest)
            self.store.delete_batches(emptied)
        self.queue.forget(oldest)
        for uid in emptied:
            self.queue.batches.pop(uid, None)

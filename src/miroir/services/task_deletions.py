"""Deletions of tasks. Those of tasks that have ended act at once; the others wait.

A server first finishes what it is doing and then deletes tasks: who deletes the task of a write just sent finds it
gone. So a deletion that names tasks in progress waits, as a task that is enqueued, until they have ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import msgspec

from miroir.core.records import decode, encode
from miroir.meili.tasks import FINISHED, Task
from miroir.ports.store import Reader, Store, Table, Tx
from miroir.services.writes.oplog import OpLog
from miroir.services.writes.persisting import persist

_PREFIX = "task_deletion"
#: tasks forgotten before others get a turn
_PAGE = 200


class _Waiting(msgspec.Struct, frozen=True, array_like=True):
    """Uids of tasks: those to delete, and those of them that must end first."""

    matched: list[int]
    awaited: list[int]


class TaskDeletions:
    """Carries deletions out; `run` ends those that wait."""

    def __init__(self, store: Store, log: OpLog, now_ns: Callable[[], int]) -> None:
        self._store = store
        self._log = log
        self._now_ns = now_ns
        self._waiting: dict[int, _Waiting] = {}
        self._wake = asyncio.Event()
        self.on_end: Callable[[list[Task]], None] = lambda tasks: None  #: a deletion has ended

    def open(self) -> None:
        """Take up the deletions that waited when the last process stopped."""

        def load(reader: Reader) -> dict[int, _Waiting]:
            rows = reader.scan(Table.META, (_PREFIX,))
            return {int(key[1]): decode(_Waiting, row) for key, row in rows}

        self._waiting = self._store.read(load)
        self.look()

    async def add(self, matched: Sequence[int], original_filter: str) -> Task:
        """The task of a deletion of `matched`, ended unless it has to wait."""
        now = self._now_ns()
        details: dict[str, Any] = {
            "matchedTasks": len(matched),
            "deletedTasks": None,
            "originalFilter": original_filter,
        }
        task = Task(uid=0, kind="taskDeletion", details=details, enqueued_at=now)
        waiting = _Waiting(list(matched), self._in_progress(matched))
        if waiting.awaited:

            def note(tx: Tx, uid: int) -> None:
                tx.put(Table.META, (_PREFIX, uid), encode(waiting))

            record = await self._log.record(task, note)
            self._waiting[record.uid] = waiting
            self.look()
            return record
        victims = self._ended(matched)
        record = await self._log.record(_done(task, len(victims), now), lambda tx, uid: _delete(tx, victims))
        await self._forget(victims)
        self.on_end([record])
        return record

    def look(self) -> None:
        """Tasks have ended: perhaps a deletion need not wait any more."""
        if any(self._is_ready(waiting) for waiting in self._waiting.values()):
            self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            for uid in [uid for uid, waiting in self._waiting.items() if self._is_ready(waiting)]:
                await self._finish(uid, self._waiting.pop(uid))

    async def _finish(self, uid: int, waiting: _Waiting) -> None:
        victims = self._ended(waiting.matched)
        record = _done(self._log.tasks[uid], len(victims), self._now_ns())

        def store(tx: Tx) -> None:
            _delete(tx, victims)
            tx.delete(Table.META, (_PREFIX, uid))
            tx.put(Table.TASKS, (uid,), encode(record))

        await persist(self._store, store)
        await self._forget(victims)
        self._log.tasks[uid] = record
        self.on_end([record])

    async def remove(self, uids: Sequence[int]) -> None:
        """Forget tasks that have ended."""
        await self._store.transact(lambda tx: _delete(tx, uids))
        await self._forget(uids)

    async def _forget(self, uids: Sequence[int]) -> None:
        """A page at a time: there may be a million."""
        for start in range(0, len(uids), _PAGE):
            for uid in uids[start : start + _PAGE]:
                self._log.tasks.pop(uid, None)
            await asyncio.sleep(0)

    def _in_progress(self, matched: Collection[int]) -> list[int]:
        """Those of the named tasks that a server would be at: what was begun, and what is next."""
        log = self._log
        first = min((op.id for op in log.ops.values() if op.stage != "done"), default=None)
        found = []
        for uid in matched:
            op = log.ops.get(uid)
            if op is not None and log.tasks[uid].status not in FINISHED:
                begun = op.stage != "accepted" or uid in log.claimed or log.tasks[uid].status == "processing"
                if begun or uid == first:
                    found.append(uid)
        return found

    def _is_ready(self, waiting: _Waiting) -> bool:
        tasks = (self._log.tasks.get(uid) for uid in waiting.awaited)
        return all(task is None or task.status in FINISHED for task in tasks)

    def _ended(self, uids: Collection[int]) -> list[int]:
        """Those of the named tasks that are there, have ended, and whose ops nobody needs."""
        log = self._log
        found = []
        for uid in uids:
            task, op = log.tasks.get(uid), log.ops.get(uid)
            if task is not None and task.status in FINISHED and (op is None or op.stage == "done"):
                found.append(uid)
        return found


def _delete(tx: Tx, uids: Iterable[int]) -> None:
    tx.delete_many(Table.TASKS, ((uid,) for uid in uids))


def _done(task: Task, deleted: int, now_ns: int) -> Task:
    return msgspec.structs.replace(
        task,
        status="succeeded",
        details={**(task.details or {}), "deletedTasks": deleted},
        started_at=now_ns,
        finished_at=now_ns,
        batch_uid=task.uid,
    )

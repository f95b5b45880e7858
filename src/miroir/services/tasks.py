"""Tasks and batches over the op log's records: one batch per task; cancelation acts at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec

from miroir.core.records import encode
from miroir.meili import tasks as words
from miroir.meili.commands import Access, TasksQuery, TasksSelect
from miroir.meili.tasks import FINISHED, BatchTasks, Task
from miroir.ports.store import Store, Table, Tx
from miroir.services.task_deletions import TaskDeletions
from miroir.services.writes.oplog import OpLog


class Tasks:
    """Reads and changes task records."""

    def __init__(
        self,
        store: Store,
        log: OpLog,
        now_ns: Callable[[], int],
        *,
        changed: Callable[[], None],
        turn: Callable[[], AbstractAsyncContextManager[None]],
    ) -> None:
        """`changed` hears that waiting ops were canceled; no op is sequenced inside `turn`."""
        self._log = log
        self._turn = turn
        self._now_ns = now_ns
        self._changed = changed
        self.deletions = TaskDeletions(store, log, now_ns)
        self.on_end: Callable[[list[Task]], None] = lambda tasks: None  #: a cancelation and what it canceled

    def all(self) -> Sequence[Task]:
        """Every task, oldest first."""
        tasks = self._log.tasks
        return [tasks[uid] for uid in sorted(tasks)]

    def batches_view(self, query: TasksQuery, access: Access) -> dict[str, Any]:
        """GET /batches: each task that was started is one."""
        found = self._log.tasks.matching_batches(query.filter)
        return words.batches_view(words.page_of_batches(found, query, access))

    def find_batch(self, uid: int, access: Access) -> BatchTasks:
        """One batch. Raises ApiError batch_not_found, also for one the key may not see."""
        found = self._log.tasks.batch(uid)
        if found is None or not words.batch_visible(found.tasks, access):
            raise words.batch_not_found(uid)
        return found

    def find(self, uid: int, access: Access) -> Task:
        """One task. Raises ApiError task_not_found, also for one the key may not see."""
        task = self._log.tasks.get(uid)
        if task is None or not words.visible(task, access):
            raise words.task_not_found(uid)
        return task

    def list_view(self, query: TasksQuery, access: Access) -> dict[str, Any]:
        """GET /tasks."""
        return words.list_view(words.page_of(self._log.tasks.matching(query.filter), query, access))

    async def cancel(self, selection: TasksSelect, access: Access) -> Task:
        """Cancel what was selected and has not reached any node; the rest goes on.

        An op that is sequenced is on its way to nodes or already there, and its documents are counted: it can
        no longer be taken back alone.
        """
        async with self._turn():
            record, canceled = await self._cancel(selection, self._select(selection, access))
        self._changed()
        self.on_end([*canceled, record])
        return record

    async def _cancel(self, selection: TasksSelect, matched: list[int]) -> tuple[Task, list[Task]]:
        """The cancelation and what it canceled, in one transaction. Nothing is sequenced meanwhile."""
        victims = [self._log.tasks[uid] for uid in matched if self._is_cancelable(uid)]
        now = self._now_ns()
        details = {
            "matchedTasks": len(matched),
            "canceledTasks": len(victims),
            "originalFilter": selection.original_filter,
        }

        def store(tx: Tx, uid: int) -> None:
            tx.put_many(Table.TASKS, (((task.uid,), encode(_canceled(task, uid, now))) for task in victims))

        record = await self._log.record(_cancelation(details, now), store)
        canceled = [_canceled(task, record.uid, now) for task in victims]
        self._log.tasks.update({task.uid: task for task in canceled})
        return record, canceled

    async def delete(self, selection: TasksSelect, access: Access) -> Task:
        """Delete the finished ones of what was selected."""
        return await self.deletions.add(self._select(selection, access), selection.original_filter)

    async def remove(self, uids: Sequence[int]) -> None:
        """Forget tasks that have ended."""
        await self.deletions.remove(uids)

    def _select(self, selection: TasksSelect, access: Access) -> list[int]:
        return words.select(self._log.tasks.matching(selection.filter), selection, access)

    def _is_cancelable(self, uid: int) -> bool:
        op = self._log.ops.get(uid)
        return (
            op is not None
            and op.stage == "accepted"
            and uid not in self._log.claimed
            and self._log.tasks[uid].status not in FINISHED
        )


def _canceled(task: Task, by: int, now_ns: int) -> Task:
    return msgspec.structs.replace(
        task,
        status="canceled",
        canceled_by=by,
        started_at=now_ns,
        finished_at=now_ns,
        batch_uid=by,
        details=task.details and {k: 0 if v is None else v for k, v in task.details.items()},
    )


def _cancelation(details: dict[str, Any], now_ns: int) -> Task:
    return Task(
        uid=0,
        kind="taskCancelation",
        status="succeeded",
        details=details,
        enqueued_at=now_ns,
        started_at=now_ns,
        finished_at=now_ns,
    )

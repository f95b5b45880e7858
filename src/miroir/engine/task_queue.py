"""The task queue in memory: every task, the queued ones in order, batches, and who may go next.

Tasks are immutable records; `put` replaces one. What is durable is the store's business: the caller writes
the same records there in the same transaction that carries a batch's effects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from miroir.engine.batching import Batch, Plan, Queued, Verb, next_batch
from miroir.engine.jobs import JobSummary
from miroir.meili.tasks import Batch as BatchRecord
from miroir.meili.tasks import Task

#: Kinds that run before all ordinary tasks, most urgent first.
_PRIORITY = ("taskDeletion", "indexCompaction", "export", "snapshotCreation", "dumpCreation")
#: Kinds of `_PRIORITY` of which all queued tasks run as one batch.
_TOGETHER = frozenset({"taskDeletion", "snapshotCreation"})


@dataclass(frozen=True, slots=True)
class Chosen:
    """What runs next. `plan` None: tasks of one of the kinds that run by themselves (`kind`)."""

    kind: str
    uids: tuple[int, ...]
    reason: str
    index_uid: str | None = None
    plan: Batch | None = None


class TaskQueue:
    """Tasks and batches of one engine."""

    def __init__(self) -> None:
        self.tasks: dict[int, Task] = {}
        self.batches: dict[int, BatchRecord] = {}
        self.summaries: dict[int, JobSummary] = {}
        self._queued: dict[int, None] = {}  # in uid order: uids only grow, and a requeued task never left

    def put(self, task: Task) -> None:
        """Add or replace a task."""
        self.tasks[task.uid] = task
        if task.status == "enqueued":
            self._queued[task.uid] = None
        else:
            self._queued.pop(task.uid, None)
            self.summaries.pop(task.uid, None)

    def forget(self, uids: Iterable[int]) -> None:
        """Remove finished tasks."""
        for uid in uids:
            self.tasks.pop(uid, None)

    @property
    def queued(self) -> Iterable[int]:
        """Uids of the queued tasks, oldest first."""
        return self._queued.keys()

    def choose(self, index_state: Callable[[str], tuple[bool, str | None]], limit: int) -> Chosen | None:
        """Pick the next batch.

        Args:
            index_state: uid -> (exists, primary key).
            limit: most tasks in one batch.
        """
        urgent = self._urgent()
        if urgent is not None:
            return urgent
        first = next(iter(self._queued), None)
        if first is None:
            return None
        task = self.tasks[first]
        index_uid = _leading_index(task)
        if index_uid is None:
            return Chosen("indexSwap", (first,), _alone(task), plan=Batch(Plan.SWAP, (first,)))
        return self._autobatch(index_uid, index_state, limit)

    def _urgent(self) -> Chosen | None:
        by_kind: dict[str, list[int]] = {}
        for uid in self._queued:
            kind = self.tasks[uid].kind
            if kind == "taskCancelation" or kind in _PRIORITY:
                by_kind.setdefault(kind, []).append(uid)
        if "taskCancelation" in by_kind:
            newest = by_kind["taskCancelation"][-1]
            return Chosen("taskCancelation", (newest,), _alone(self.tasks[newest]))
        for kind in _PRIORITY:
            if kind not in by_kind:
                continue
            if kind in _TOGETHER:
                reason = (
                    f"stopped after the last task of type `{kind}` because they cannot be batched with tasks"
                    " of any other type."
                )
                return Chosen(kind, tuple(by_kind[kind]), reason)
            oldest = self.tasks[by_kind[kind][0]]
            return Chosen(kind, (oldest.uid,), _alone(oldest), index_uid=oldest.index_uid)
        return None

    def _autobatch(
        self, index_uid: str, index_state: Callable[[str], tuple[bool, str | None]], limit: int
    ) -> Chosen:
        queued = []
        for uid in self._queued:
            task = self.tasks[uid]
            if _leading_index(task) != index_uid and not _touches(task, index_uid):
                continue
            summary = self.summaries[uid]
            verb = summary.verb or Verb.SWAP
            queued.append(Queued(uid, verb, summary.may_create, summary.primary_key))
            if len(queued) == limit:
                break
        exists, primary_key = index_state(index_uid)
        exhausted = (
            "batched all enqueued tasks"
            if len(queued) == len(self._queued)
            else f"batched all enqueued tasks for index `{index_uid}`"
        )
        batch = next_batch(queued, index_exists=exists, primary_key=primary_key, exhausted=exhausted)
        kind = self.tasks[batch.all_uids[0]].kind
        return Chosen(kind, batch.all_uids, batch.reason, index_uid=index_uid, plan=batch)


def _leading_index(task: Task) -> str | None:
    """The index whose tasks this one is ordered with: its own, or the first a swap names (bytewise)."""
    if task.index_uid is not None:
        return task.index_uid
    names = sorted(name for pair in task.swaps for name in pair)
    return names[0] if names else None


def _touches(task: Task, index_uid: str) -> bool:
    return any(index_uid in pair for pair in task.swaps)


def _alone(task: Task) -> str:
    return (
        f"created batch containing only task with id {task.uid} of type `{task.kind}` that cannot be batched"
        " with any other task."
    )

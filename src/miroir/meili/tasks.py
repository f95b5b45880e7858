"""Tasks and batches as clients see them: records, views, filters, pages. Pure functions over sequences of records."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

import msgspec

from miroir.meili.codes import ApiError
from miroir.meili.commands import Access, TaskFilter, TasksQuery, TasksSelect
from miroir.meili.dates import NS, format_date, format_duration, format_optional_date, format_step
from miroir.meili.settings_decode import SETTINGS_FIELDS


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One task. Times are ns since 1970 (UTC); `details` and `error` are the JSON objects shown."""

    uid: int
    kind: str  #: Meilisearch's `type`, e.g. documentAdditionOrUpdate
    status: str = "enqueued"  #: enqueued | processing | succeeded | failed | canceled
    index_uid: str | None = None
    batch_uid: int | None = None
    canceled_by: int | None = None
    details: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    enqueued_at: int = 0
    started_at: int | None = None
    finished_at: int | None = None
    custom_metadata: str | None = None
    swaps: tuple[tuple[str, str], ...] = ()  #: indexes of an indexSwap, for filtering and relabelling
    ran_on: str | None = (
        None  #: what `index_uid` was when it ran, where that has changed: batches still say so
    )


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """One batch: what ran together. `progress` is the JSON object shown while it runs."""

    uid: int
    started_at: int
    finished_at: int | None = None
    strategy: str = "batched all enqueued tasks"
    progress: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class BatchTasks:
    """A batch and its tasks, oldest first."""

    batch: Batch
    tasks: Sequence[Task]

    @property
    def uid(self) -> int:
        """Uid of the batch."""
        return self.batch.uid


#: Every type, in the order that messages list them.
KINDS = (
    "documentAdditionOrUpdate", "documentEdition", "documentDeletion", "settingsUpdate", "indexCreation",
    "indexDeletion", "indexUpdate", "indexSwap", "taskCancelation", "taskDeletion", "dumpCreation",
    "snapshotCreation", "export", "upgradeDatabase", "indexCompaction", "networkTopologyChange", "dsrUpdate",
    "dsrClear",
)  # fmt: skip
STATUSES = ("enqueued", "processing", "succeeded", "failed", "canceled")
FINISHED = frozenset({"succeeded", "failed", "canceled"})


# --- views --------------------------------------------------------------------------------------


def summary(task: Task) -> dict[str, Any]:
    """SummarizedTask: the answer of every route that makes a task."""
    view: dict[str, Any] = {
        "taskUid": task.uid,
        "indexUid": task.index_uid,
        "status": "enqueued",
        "type": task.kind,
        "enqueuedAt": format_date(task.enqueued_at),
    }
    if task.custom_metadata is not None:
        view["customMetadata"] = task.custom_metadata
    return view


def _duration(started_at: int | None, finished_at: int | None) -> str | None:
    return None if started_at is None or finished_at is None else format_duration(finished_at - started_at)


def task_view(task: Task) -> dict[str, Any]:
    """TaskView: GET /tasks/{uid}, items of GET /tasks, lines of a webhook."""
    view: dict[str, Any] = {
        "uid": task.uid,
        "batchUid": task.batch_uid,
        "indexUid": task.index_uid,
        "status": task.status,
        "type": task.kind,
        "canceledBy": task.canceled_by,
    }
    if task.details is not None:
        view["details"] = task.details
    view["error"] = task.error
    view["duration"] = _duration(task.started_at, task.finished_at)
    view["enqueuedAt"] = format_date(task.enqueued_at)
    view["startedAt"] = format_optional_date(task.started_at)
    view["finishedAt"] = format_optional_date(task.finished_at)
    if task.custom_metadata is not None:
        view["customMetadata"] = task.custom_metadata
    return view


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


#: Members of task details that a batch adds up.
_COUNTERS = frozenset(
    _words(
        """
    receivedDocuments indexedDocuments editedDocuments providedIds deletedDocuments matchedTasks
    canceledTasks deletedTasks
    """
    )
)


#: Tasks that the server's indexer carries out: it tells how their batch was written.
_INDEXING = frozenset(_words("documentAdditionOrUpdate documentEdition documentDeletion settingsUpdate"))


def merged_details(tasks: Iterable[Task]) -> dict[str, Any]:
    """Details of a batch: counters added, the rest overlaid; nulls dropped but for settings that were reset."""
    merged: dict[str, Any] = {}
    filters: list[str] = []
    for task in tasks:
        for name, value in (task.details or {}).items():
            if name == "originalFilter":
                if value is not None and value not in filters:
                    filters.append(value)
            elif value is None and name not in SETTINGS_FIELDS:
                continue
            elif name in _COUNTERS and isinstance(merged.get(name), int):
                merged[name] += value
            elif isinstance(value, dict) and isinstance(merged.get(name), dict):
                merged[name] = merged[name] | value
            else:
                merged[name] = value
    if filters:
        merged["originalFilter"] = " & ".join(filters)
    return merged


def batch_view(batch: Batch, tasks: Sequence[Task]) -> dict[str, Any]:
    """BatchView of a batch and its tasks, oldest first."""
    indexes = Counter(uid for task in tasks if (uid := task.ran_on or task.index_uid) is not None)
    stats: dict[str, Any] = {
        "totalNbTasks": len(tasks),
        "status": dict(sorted(Counter(task.status for task in tasks).items(), key=_order_of(STATUSES))),
        "types": dict(sorted(Counter(task.kind for task in tasks).items(), key=_order_of(KINDS))),
        "indexUids": dict(sorted(indexes.items())),
    }
    if batch.finished_at is not None:  # the server names its inner steps; the whole is the one both have
        seconds = (batch.finished_at - batch.started_at) / NS
        stats["progressTrace"] = {"processing tasks": format_step(max(seconds, 0))}
        if any(task.kind in _INDEXING and task.status == "succeeded" for task in tasks):
            # the same is true of how indexes were written: nothing waited, no size is known
            stats["writeChannelCongestion"] = {"attempts": 0, "blocking_attempts": 0, "blocking_ratio": 0.0}
            stats["internalDatabaseSizes"] = {}
    return {
        "uid": batch.uid,
        "progress": batch.progress,
        "details": merged_details(tasks),
        "stats": stats,
        "duration": _duration(batch.started_at, batch.finished_at),
        "startedAt": format_date(batch.started_at),
        "finishedAt": format_optional_date(batch.finished_at),
        "batchStrategy": batch.strategy,
    }


def _order_of(names: tuple[str, ...]) -> Callable[[tuple[str, int]], int]:
    ranks = {name: rank for rank, name in enumerate(names)}
    return lambda item: ranks.get(item[0], len(ranks))


# --- which tasks --------------------------------------------------------------------------------


def indexes_of(task: Task) -> frozenset[str]:
    """Indexes a task is about: its own (by both names when it renames it), or both sides of every swap."""
    if task.index_uid is not None:
        new_uid = (task.details or {}).get("newIndexUid") if task.kind == "indexUpdate" else None
        return frozenset((task.index_uid, new_uid or task.index_uid))
    return frozenset(uid for pair in task.swaps for uid in pair)


def as_it_ran(task: Task) -> Task:
    """The task under the name its index had then, by which batches are selected."""
    return task if task.ran_on is None else msgspec.structs.replace(task, index_uid=task.ran_on)


def visible(task: Task, access: Access) -> bool:
    """Whether a credential may see the task: a key limited to some indexes sees the tasks of those only."""
    if access.index_patterns is None:
        return True
    return task.index_uid is not None and access.sees(task.index_uid)


Predicate = Callable[[Task], bool]


def predicate(wanted: TaskFilter) -> Predicate:
    """A test of whether a task is selected, made of the restrictions that are set only.

    A swap matches a restriction to any of its indexes; `select_page` counts it and then hides it.
    """
    tests: list[Predicate] = []
    for name, accepted in (
        ("uid", wanted.uids),
        ("status", wanted.statuses),
        ("kind", wanted.types),
        ("batch_uid", wanted.batch_uids),
        ("canceled_by", wanted.canceled_by),
    ):
        if accepted is not None:
            tests.append(_member(attrgetter(name), accepted))
    if wanted.index_uids is not None:
        tests.append(_about(wanted.index_uids))
    for name, after, before in (
        ("enqueued_at", wanted.after_enqueued_at, wanted.before_enqueued_at),
        ("started_at", wanted.after_started_at, wanted.before_started_at),
        ("finished_at", wanted.after_finished_at, wanted.before_finished_at),
    ):
        if after is not None or before is not None:
            tests.append(_between(attrgetter(name), after, before))
    if len(tests) == 1:
        return tests[0]
    return lambda task: all(test(task) for test in tests)


def _member(get: Callable[[Task], Any], accepted: Collection[Any]) -> Predicate:
    return lambda task: get(task) in accepted


def _about(index_uids: Collection[str]) -> Predicate:
    return lambda task: any(uid in index_uids for uid in indexes_of(task))


def _between(get: Callable[[Task], int | None], after: int | None, before: int | None) -> Predicate:
    def test(task: Task) -> bool:
        at = get(task)
        return at is not None and (after is None or at > after) and (before is None or at < before)

    return test


def matches(task: Task, wanted: TaskFilter) -> bool:
    """Whether one task is selected: every restriction holds. For many tasks make a `predicate` once."""
    return predicate(wanted)(task)


_NO_RESTRICTION = TaskFilter()


def is_unrestricted(wanted: TaskFilter) -> bool:
    """Whether every task matches, so that a store may count instead of looking."""
    return wanted == _NO_RESTRICTION


@dataclass(frozen=True, slots=True)
class TaskPage:
    """One page of tasks (or batches) before it is printed."""

    results: tuple[Any, ...]
    total: int
    limit: int
    start: int | None
    next: int | None

    def view(self, show: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """The envelope, each result printed by `show`."""
        return {
            "results": [show(item) for item in self.results],
            "total": self.total,
            "limit": self.limit,
            "from": self.start,
            "next": self.next,
        }


def _page(items: Sequence[Any], query: TasksQuery, shown: Callable[[Any], bool] | None) -> TaskPage:
    """A page of matching tasks or batches, which come oldest first.

    As in the server the page (and the one item that becomes `next`) is cut first and hidden items leave it
    afterwards: pages of restricted lists may be short, and `total` counts what is hidden.
    """
    size = query.limit + 1
    if query.reverse:
        first = 0 if query.start is None else bisect_left(items, query.start, key=_uid)
        window = items[first : first + size]
    else:
        end = len(items) if query.start is None else bisect_right(items, query.start, key=_uid)
        window = items[max(end - size, 0) : end][::-1]
    found = list(window) if shown is None else list(filter(shown, window))
    results = found[: query.limit]
    return TaskPage(
        results=tuple(results),
        total=len(items),
        limit=query.limit,
        start=results[0].uid if results else None,
        next=found[query.limit].uid if len(found) > query.limit else None,
    )


_uid = attrgetter("uid")


def _shown(wanted: TaskFilter, access: Access | None) -> Predicate | None:
    """Which matching tasks are shown: with an index restriction, or to a scoped key, only tasks of one index."""
    scope = access if access is not None and access.index_patterns is not None else None
    if scope is None:
        return None if wanted.index_uids is None else lambda task: task.index_uid is not None
    return lambda task: visible(task, scope)


def select_page(tasks: Sequence[Task], query: TasksQuery, access: Access | None = None) -> TaskPage:
    """GET /tasks over all tasks, which come with growing uids."""
    matching = tasks if is_unrestricted(query.filter) else list(filter(predicate(query.filter), tasks))
    return _page(matching, query, _shown(query.filter, access))


def page_of(matching: Sequence[Task], query: TasksQuery, access: Access | None = None) -> TaskPage:
    """The same of tasks that are known to match, oldest first."""
    return _page(matching, query, _shown(query.filter, access))


def batch_visible(tasks: Iterable[Task], access: Access) -> bool:
    """Whether a credential may see a batch: one that is about no index, or about at least one it may see."""
    uids = {uid for task in tasks for uid in indexes_of(as_it_ran(task))}
    return not uids or any(map(access.sees, uids))


def select_batches(
    tasks: Iterable[Task], batches: Mapping[int, Batch], query: TasksQuery, access: Access | None = None
) -> TaskPage:
    """GET /batches: a page of `BatchTasks` with at least one matching task. Tasks come with growing uids."""
    members: dict[int, list[Task]] = {}
    for task in tasks:
        if task.batch_uid is not None and task.batch_uid in batches:
            members.setdefault(task.batch_uid, []).append(task)
    matching = sorted(members)
    if not is_unrestricted(query.filter):
        test = predicate(query.filter)
        matching = [uid for uid in matching if any(test(as_it_ran(task)) for task in members[uid])]
    return page_of_batches([BatchTasks(batches[uid], members[uid]) for uid in matching], query, access)


def page_of_batches(found: Sequence[BatchTasks], query: TasksQuery, access: Access | None = None) -> TaskPage:
    """The same of batches that are known to match, oldest first."""
    if access is None or access.index_patterns is None:
        return _page(found, query, None)
    scope = access
    return _page(found, query, lambda batch: batch_visible(batch.tasks, scope))


def list_view(page: TaskPage) -> dict[str, Any]:
    """Body of GET /tasks."""
    return page.view(task_view)


def batches_view(page: TaskPage) -> dict[str, Any]:
    """Body of GET /batches, from `select_batches`."""
    return page.view(lambda found: batch_view(found.batch, found.tasks))


def select(tasks: Iterable[Task], selection: TasksSelect, access: Access | None = None) -> list[int]:
    """Uids of the tasks that a cancelation or deletion names, frozen at this moment."""
    test = predicate(selection.filter)
    shown = _shown(selection.filter, access)
    return [task.uid for task in tasks if test(task) and (shown is None or shown(task))]


def cancelable(tasks: Iterable[Task], uids: Collection[int]) -> list[Task]:
    """Those of the named tasks that a cancelation touches: enqueued or processing."""
    return [task for task in tasks if task.uid in uids and task.status not in FINISHED]


def deletable(tasks: Iterable[Task], uids: Collection[int]) -> list[Task]:
    """Those of the named tasks that a deletion removes: finished ones."""
    return [task for task in tasks if task.uid in uids and task.status in FINISHED]


def task_not_found(uid: int | str) -> ApiError:
    """404: no such task, or none this credential may see."""
    return ApiError("task_not_found", f"Task `{uid}` not found.")


def batch_not_found(uid: int | str) -> ApiError:
    """404."""
    return ApiError("batch_not_found", f"Batch `{uid}` not found.")


def with_filter(query: TasksQuery, wanted: TaskFilter) -> TasksQuery:
    """The same page of other tasks."""
    return replace(query, filter=wanted)

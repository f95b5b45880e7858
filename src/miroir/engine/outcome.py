"""What running a batch comes to: finished tasks, the next catalog, and what to write, all applied at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from miroir.engine.catalog import LiveIndex
from miroir.engine.store import Store
from miroir.meili.codes import ApiError
from miroir.meili.tasks import Task


@dataclass(slots=True)
class Outcome:
    """Effects of one batch.

    `tasks` are the batch's with their final status (and any task it canceled); `indexes`: uid -> its new
    state, None when it is gone; `writes` go into the same transaction; `relabels`: old index name -> new, for
    all tasks older than `relabel_before`; `forget`: finished tasks to remove.
    """

    tasks: list[Task] = field(default_factory=list)
    indexes: dict[str, LiveIndex | None] = field(default_factory=dict)
    writes: list[Callable[[Store], None]] = field(default_factory=list)
    relabels: list[tuple[dict[str, str], int]] = field(default_factory=list)
    forget: Sequence[int] = ()


def succeeded(task: Task, **details: Any) -> Task:
    """The task as succeeded, with these details replaced."""
    return msgspec.structs.replace(
        task, status="succeeded", details=None if task.details is None else task.details | details
    )


def failed(task: Task, error: ApiError) -> Task:
    """The task as failed: its counters become 0."""
    return msgspec.structs.replace(
        task, status="failed", error=error.body(), details=stopped_details(task.details)
    )


def canceled(task: Task, by: int) -> Task:
    """The task as canceled by another."""
    return msgspec.structs.replace(
        task, status="canceled", canceled_by=by, details=stopped_details(task.details)
    )


_COUNTERS = ("indexedDocuments", "editedDocuments", "deletedDocuments", "canceledTasks", "deletedTasks")


def stopped_details(details: dict[str, Any] | None) -> dict[str, Any] | None:
    """Details of a task that did nothing. An edition keeps `deletedDocuments` null, as the server does."""
    if details is None:
        return None
    zeroed = {name: 0 for name in _COUNTERS if name in details}
    if "editedDocuments" in details:
        zeroed["deletedDocuments"] = None  # type: ignore[assignment]
    return details | zeroed

"""What a running batch may use of the scheduler that runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from miroir.engine.catalog import LiveIndex
from miroir.engine.jobs import AnyJob, decode_job
from miroir.engine.store import Store
from miroir.engine.task_queue import TaskQueue
from miroir.meili.indexes import index_not_found
from miroir.meili.tasks import Task


class Runner(Protocol):
    """What a batch needs of the scheduler that runs it."""

    store: Store
    queue: TaskQueue
    catalog: dict[str, LiveIndex]
    features: Mapping[str, bool]
    files_dir: Path | None  #: where dumps and snapshots go; None: nowhere
    now_ns: Callable[[], int]

    async def breathe(self) -> None:
        """Let others run; raises Aborted when the batch is to stop."""
        ...

    def new_index(self, uid: str, primary_key: str | None) -> LiveIndex: ...


def existing(runner: Runner, uid: str) -> LiveIndex:
    """The index, or `index_not_found`."""
    live = runner.catalog.get(uid)
    if live is None:
        raise index_not_found(uid)
    return live


def job_of(runner: Runner, task: Task) -> AnyJob:
    """What a queued task is to do."""
    body = runner.store.job(task.uid)
    assert body is not None, f"task {task.uid} is queued without a job"
    return decode_job(body)

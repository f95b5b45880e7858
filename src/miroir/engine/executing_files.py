"""Batches that write files: compaction, snapshots, dumps."""

from __future__ import annotations

from miroir.engine.dumps import write_dump
from miroir.engine.outcome import Outcome, succeeded
from miroir.engine.running import Runner
from miroir.meili.dump_format import dump_uid
from miroir.meili.stats import human_size, in_pages
from miroir.meili.tasks import Task


async def run_compaction(runner: Runner, task: Task) -> Outcome:
    """Nothing to be done: indexes share one file, which uses its free pages again. Sizes are those of the index."""
    live = runner.catalog[task.index_uid or ""]
    await runner.breathe()
    size = human_size(in_pages(1 + live.raw_size))
    return Outcome(tasks=[succeeded(task, preCompactionSize=size, postCompactionSize=size)])


async def run_snapshot(runner: Runner, tasks: list[Task]) -> Outcome:
    """Copy the store; an engine that lives in memory has nowhere to put one."""
    if runner.files_dir is not None:
        await runner.breathe()
        directory = runner.files_dir / "snapshots"
        directory.mkdir(parents=True, exist_ok=True)
        runner.store.copy_to(directory / "data.ms.snapshot")
    return Outcome(tasks=[succeeded(task) for task in tasks])


async def run_dump(runner: Runner, task: Task) -> Outcome:
    """Write a dump; its uid is the moment it was started, to the millisecond."""
    uid = dump_uid(runner.now_ns())
    if runner.files_dir is not None:
        await write_dump(runner, runner.files_dir / "dumps" / f"{uid}.dump")
    return Outcome(tasks=[succeeded(task, dumpUid=uid)])

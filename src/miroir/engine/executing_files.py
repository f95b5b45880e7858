"""Batches that write files: compaction, snapshots, dumps."""

from __future__ import annotations

from miroir.engine.dumps import write_dump
from miroir.engine.outcome import Outcome, succeeded
from miroir.engine.running import Runner
from miroir.meili.dump_format import dump_uid
from miroir.meili.stats import human_size
from miroir.meili.tasks import Task


async def run_compaction(runner: Runner, task: Task) -> Outcome:
    """Give unused space of the file back; sizes before and after are those of the whole file."""
    before = runner.store.size_bytes()
    await runner.breathe()
    after = runner.store.size_bytes()
    return Outcome(
        tasks=[succeeded(task, preCompactionSize=human_size(before), postCompactionSize=human_size(after))]
    )


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

"""What each kind of batch does, as effects to be applied at once; nothing here changes any state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from miroir.engine.batching import Plan
from miroir.engine.catalog import LiveIndex
from miroir.engine.executing_documents import run_deletions, run_edit, run_operations
from miroir.engine.executing_files import run_compaction, run_dump, run_snapshot
from miroir.engine.executing_settings import change_settings
from miroir.engine.indexing import empty_index
from miroir.engine.jobs import (
    ClearDocuments,
    CreateIndex,
    SelectTasks,
    SwapIndexes,
    SwapPair,
    UpdateIndex,
    UpdateSettings,
)
from miroir.engine.outcome import Outcome, canceled, stopped_details, succeeded
from miroir.engine.running import Runner, existing, job_of
from miroir.engine.task_queue import Chosen
from miroir.meili.codes import ApiError
from miroir.meili.indexes import index_not_found
from miroir.meili.tasks import FINISHED, Task


async def execute(runner: Runner, chosen: Chosen, tasks: list[Task]) -> Outcome:
    """Run a batch. Raises ApiError when all of it fails, Aborted when it was asked to stop."""
    if chosen.plan is None:
        return await _execute_special(runner, chosen, tasks)
    plan = chosen.plan.plan
    if plan is Plan.SWAP:
        return _swap(runner, tasks[0])
    uid = chosen.index_uid
    assert uid is not None
    match plan:
        case Plan.CREATE_INDEX:
            return _create(runner, uid, tasks[0])
        case Plan.UPDATE_INDEX:
            return _update(runner, uid, tasks[0])
        case Plan.DELETE_INDEX:
            return _delete(runner, uid, tasks, may_be_missing=chosen.plan.creates_index)
    live = existing(runner, uid)
    match plan:
        case Plan.SETTINGS:
            return await _settings(runner, live, tasks)
        case Plan.CLEAR:
            return _clear(runner, live, tasks)
        case Plan.CLEAR_AND_SETTINGS:
            return await _clear_and_settings(runner, live, chosen, tasks)
        case Plan.DELETIONS:
            return await run_deletions(runner, live, tasks)
        case Plan.EDIT:
            return await run_edit(runner, live, tasks[0])
    return await run_operations(runner, live, tasks)


async def _execute_special(runner: Runner, chosen: Chosen, tasks: list[Task]) -> Outcome:
    match chosen.kind:
        case "taskCancelation":
            return _cancel(runner, tasks[0])
        case "taskDeletion":
            return _delete_tasks(runner, tasks)
        case "indexCompaction":
            assert chosen.index_uid is not None
            existing(runner, chosen.index_uid)
            return await run_compaction(runner, tasks[0])
        case "snapshotCreation":
            return await run_snapshot(runner, tasks)
        case "dumpCreation":
            return await run_dump(runner, tasks[0])
    raise ApiError("internal", f"tasks of type `{chosen.kind}` are not served by the embedded engine")


# --- tasks about tasks --------------------------------------------------------------------------


def _cancel(runner: Runner, task: Task) -> Outcome:
    job = job_of(runner, task)
    assert isinstance(job, SelectTasks)
    matched = [runner.queue.tasks.get(uid) for uid in job.matched]
    hit = [
        canceled(found, task.uid)
        for found in matched
        if found is not None and found.status not in FINISHED and found.uid != task.uid
    ]
    return Outcome(tasks=[*hit, succeeded(task, canceledTasks=len(hit))])


def _delete_tasks(runner: Runner, tasks: list[Task]) -> Outcome:
    gone: set[int] = set()
    done = []
    for task in tasks:
        job = job_of(runner, task)
        assert isinstance(job, SelectTasks)
        found = {
            uid
            for uid in job.matched
            if uid not in gone and (old := runner.queue.tasks.get(uid)) is not None and old.status in FINISHED
        }
        gone |= found
        done.append(succeeded(task, deletedTasks=len(found)))
    return Outcome(tasks=done, forget=sorted(gone))


# --- indexes ------------------------------------------------------------------------------------


def _create(runner: Runner, uid: str, task: Task) -> Outcome:
    job = job_of(runner, task)
    assert isinstance(job, CreateIndex)
    if uid in runner.catalog:
        raise ApiError("index_already_exists", f"Index `{uid}` already exists.")
    return Outcome(tasks=[succeeded(task)], indexes={uid: runner.new_index(uid, job.primary_key)})


def _update(runner: Runner, uid: str, task: Task) -> Outcome:
    job = job_of(runner, task)
    assert isinstance(job, UpdateIndex)
    live = existing(runner, uid)
    outcome = Outcome()
    new_uid = job.new_uid
    if new_uid is not None and new_uid != uid:
        if new_uid in runner.catalog:
            raise ApiError("index_already_exists", f"Index `{new_uid}` already exists.")
        live = replace(live, uid=new_uid, updated_at=runner.now_ns())
        outcome.indexes[uid] = None
        outcome.relabels.append(({uid: new_uid, new_uid: uid}, task.uid))
    if job.primary_key is not None and job.primary_key != live.index.primary_key:
        if live.index.documents:
            message = f"Index `{live.uid}`: Index already has a primary key: `{live.index.primary_key}`."
            raise ApiError("index_primary_key_already_exists", message)
        live = replace(
            live,
            index=replace(live.index, primary_key=job.primary_key),
            updated_at=runner.now_ns(),
        )
    outcome.indexes[live.uid] = live
    details: dict[str, Any] = {"primaryKey": job.primary_key}
    if new_uid is not None:
        details |= {"oldIndexUid": uid, "newIndexUid": new_uid}
    outcome.tasks = [msgspec.structs.replace(succeeded(task), details=details)]
    return outcome


def _delete(runner: Runner, uid: str, tasks: list[Task], *, may_be_missing: bool) -> Outcome:
    live = runner.catalog.get(uid)
    if live is None and not may_be_missing:
        raise index_not_found(uid)
    count = 0 if live is None else len(live.index.documents)
    done = []
    for task in tasks:
        if task.kind == "indexDeletion":
            done.append(succeeded(task, deletedDocuments=count))
        elif task.details == {"deletedDocuments": None}:  # a clear: swallowed, and shown so
            done.append(succeeded(task))
        else:
            done.append(msgspec.structs.replace(succeeded(task), details=stopped_details(task.details)))
    return Outcome(tasks=done, indexes={} if live is None else {uid: None})


def _swap(runner: Runner, task: Task) -> Outcome:
    job = job_of(runner, task)
    assert isinstance(job, SwapIndexes)
    _check_swaps(runner.catalog, job.pairs)
    moved: dict[str, LiveIndex | None] = {}
    names: dict[str, str] = {}
    for pair in job.pairs:
        left = runner.catalog[pair.left]
        moved[pair.right] = replace(left, uid=pair.right)
        moved[pair.left] = None if pair.rename else replace(runner.catalog[pair.right], uid=pair.left)
        names |= {pair.left: pair.right, pair.right: pair.left}
    return Outcome(tasks=[succeeded(task)], indexes=moved, relabels=[(names, task.uid)])


def _check_swaps(catalog: Mapping[str, LiveIndex], pairs: Sequence[SwapPair]) -> None:
    missing: set[str] = set()
    taken: list[SwapPair] = []
    for pair in pairs:
        if pair.left not in catalog:
            missing.add(pair.left)
        if pair.rename and pair.right in catalog:
            taken.append(pair)
        if not pair.rename and pair.right not in catalog:
            missing.add(pair.right)
    if len(missing) == 1:
        raise index_not_found(missing.pop())
    if missing:
        named = ", ".join(f"`{uid}`" for uid in sorted(missing))
        raise ApiError("index_not_found", f"Indexes {named} not found.")
    if taken:
        raise ApiError(
            "index_already_exists",
            f"Cannot rename `{taken[0].left}` to `{taken[0].right}` as the index already exists. "
            f"Hint: You can remove `{taken[0].right}` first and then do your remove.",
        )


# --- settings and clearing ----------------------------------------------------------------------


async def _settings(runner: Runner, live: LiveIndex, tasks: list[Task]) -> Outcome:
    jobs = [job for task in tasks if isinstance(job := job_of(runner, task), UpdateSettings)]
    changed, writes = await change_settings(runner, live, jobs)
    return Outcome(tasks=[succeeded(task) for task in tasks], indexes={live.uid: changed}, writes=writes)


def _cleared(runner: Runner, live: LiveIndex) -> LiveIndex:
    index = empty_index(live.index.settings, live.index.primary_key, live.index.field_ids)
    index = replace(index, facets=live.index.facets.cleared())
    return replace(live, index=index, updated_at=runner.now_ns(), field_counts={}, raw_size=0)


def _clear(runner: Runner, live: LiveIndex, tasks: list[Task]) -> Outcome:
    """The first clear counts all documents; document tasks it swallowed keep their counters null."""
    left: int | None = len(live.index.documents)
    done = []
    for task in tasks:
        if isinstance(job_of(runner, task), ClearDocuments):
            done.append(succeeded(task, deletedDocuments=left))
            left = 0
        else:
            done.append(succeeded(task))
    number = live.number
    return Outcome(
        tasks=done,
        indexes={live.uid: _cleared(runner, live)},
        writes=[lambda store: store.clear_documents(number)],
    )


async def _clear_and_settings(runner: Runner, live: LiveIndex, chosen: Chosen, tasks: list[Task]) -> Outcome:
    assert chosen.plan is not None
    settings_uids = set(chosen.plan.settings_uids)
    cleared = _clear(runner, live, [task for task in tasks if task.uid not in settings_uids])
    emptied = cleared.indexes[live.uid]
    assert emptied is not None
    changed = await _settings(runner, emptied, [task for task in tasks if task.uid in settings_uids])
    return Outcome(
        tasks=[*changed.tasks, *cleared.tasks],
        indexes=changed.indexes,
        writes=[*cleared.writes, *changed.writes],
    )

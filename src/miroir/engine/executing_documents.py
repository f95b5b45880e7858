"""Batches that write documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pyroaring import BitMap

from miroir.engine.catalog import LiveIndex
from miroir.engine.document_changes import Change, DeleteDocids, Operation, Resolved, counted, resolve
from miroir.engine.indexing import prefixed, with_changes
from miroir.engine.jobs import AddDocuments, DeleteByFilter, DeleteDocuments, EditDocuments
from miroir.engine.outcome import Outcome, failed, succeeded
from miroir.engine.running import Runner, job_of
from miroir.engine.selecting import matching_documents
from miroir.engine.stored_documents import dump_document
from miroir.meili.codes import ApiError
from miroir.meili.primary_keys import document_id
from miroir.meili.rhai import compile_script, same_json
from miroir.meili.tasks import Task

#: Documents written out as bytes between two breaths.
_DUMPS_PER_STEP = 500


async def run_operations(runner: Runner, live: LiveIndex, tasks: list[Task]) -> Outcome:
    """Additions, with deletions before or between them. Raises ApiError when indexing refuses the batch."""
    operations: list[Operation] = []
    for task in tasks:
        job = job_of(runner, task)
        if isinstance(job, DeleteByFilter):
            operations.append(DeleteDocids(list(_matching(runner, live, job.filter))))
        else:
            assert isinstance(job, AddDocuments | DeleteDocuments)
            operations.append(job)
        await runner.breathe()
    resolved = resolve(live.index, operations)
    done = []
    for task, result in zip(tasks, resolved.results, strict=True):
        name = "indexedDocuments" if task.kind == "documentAdditionOrUpdate" else "deletedDocuments"
        done.append(
            succeeded(task, **{name: result.count}) if result.error is None else failed(task, result.error)
        )
    if all(result.error is not None for result in resolved.results):
        return Outcome(tasks=done)
    outcome = await _changed(runner, live, resolved)
    outcome.tasks = done
    return outcome


async def run_deletions(runner: Runner, live: LiveIndex, tasks: list[Task]) -> Outcome:
    """Deletions only: each counts the documents that it is the first to remove."""
    gone = BitMap()
    done = []
    for task in tasks:
        job = job_of(runner, task)
        before = len(gone)
        error: ApiError | None = None
        if isinstance(job, DeleteDocuments):
            gone.update(docid for text in job.ids if (docid := live.index.docids.get(text)) is not None)
        else:
            assert isinstance(job, DeleteByFilter)
            try:
                gone |= _matching(runner, live, job.filter)
            except ApiError as refusal:
                error = refusal
        if error is None:
            done.append(succeeded(task, deletedDocuments=len(gone) - before))
        else:
            done.append(failed(task, error))
    if not gone:
        return Outcome(tasks=done)
    ids = {docid: text for text, docid in live.index.docids.items() if docid in gone}
    resolved = Resolved(
        live.index.primary_key,
        changes=[Change(docid, text, live.index.documents[docid], None) for docid, text in ids.items()],
    )
    outcome = await _changed(runner, live, resolved)
    outcome.tasks = done
    return outcome


async def run_edit(runner: Runner, live: LiveIndex, task: Task) -> Outcome:
    """Edit by function. Raises ApiError when the function fails for one document."""
    job = job_of(runner, task)
    assert isinstance(job, EditDocuments)
    candidates = BitMap(live.index.documents) if job.filter is None else _matching(runner, live, job.filter)
    if not candidates:
        return Outcome(tasks=[succeeded(task, editedDocuments=0, deletedDocuments=0)])
    changes = await _edited(runner, live, job, candidates)
    outcome = await _changed(
        runner, live, Resolved(live.index.primary_key, changes=changes, names=_names(live, changes))
    )
    count = len(candidates)  # whatever the function did to them
    outcome.tasks = [succeeded(task, editedDocuments=count, deletedDocuments=count)]
    return outcome


async def _edited(runner: Runner, live: LiveIndex, job: EditDocuments, candidates: BitMap) -> list[Change]:
    run = compile_script(job.function)
    primary_key = live.index.primary_key
    assert primary_key is not None
    changes = []
    for docid in candidates:
        old = live.index.documents[docid]
        text = document_id(old, primary_key)
        try:
            new = run(old, job.context)
            if new is not None and not isinstance(new, dict):
                raise _edition_error("Document editions must keep documents as objects")
            if new is not None and document_id(new, primary_key) != text:
                raise _edition_error("Document editions cannot modify a document's primary key")
        except ApiError as error:
            raise prefixed(error, live.uid) from None
        if not same_json(old, new):
            changes.append(Change(docid, text, old, new))
        await runner.breathe()
    return changes


def _edition_error(message: str) -> ApiError:
    return ApiError("edit_documents_by_function_error", message)


def _names(live: LiveIndex, changes: Sequence[Change]) -> list[str]:
    names = dict.fromkeys(live.index.field_ids)
    for change in changes:
        names.update(dict.fromkeys(change.new or ()))
    return list(names)


def _matching(runner: Runner, live: LiveIndex, value: Any) -> BitMap:
    try:
        return matching_documents(live, value, runner.features)
    except ApiError as error:
        raise prefixed(error, live.uid) from error


async def _changed(runner: Runner, live: LiveIndex, resolved: Resolved) -> Outcome:
    """The effects of resolved changes."""
    try:
        index = await with_changes(
            live.index,
            resolved.changes,
            primary_key=resolved.primary_key,
            names=resolved.names,
            breathe=runner.breathe,
        )
    except ApiError as error:
        raise prefixed(error, live.uid) from error
    number = live.number
    written: list[tuple[int, bytes]] = []
    size = 0
    for place, change in enumerate(resolved.changes):
        if place % _DUMPS_PER_STEP == _DUMPS_PER_STEP - 1:
            await runner.breathe()
        if change.new is not None:
            written.append((change.docid, dump_document(change.new)))
            size += len(written[-1][1])
        if change.old is not None:
            size -= len(dump_document(change.old))
    deleted: Sequence[int] = [c.docid for c in resolved.changes if c.new is None]
    changed = replace(
        live,
        index=index,
        updated_at=runner.now_ns(),
        field_counts=counted(live.field_counts, resolved.changes),
        raw_size=live.raw_size + size,
    )
    return Outcome(
        indexes={live.uid: changed},
        writes=[
            lambda store: store.put_documents(number, written),
            lambda store: store.delete_documents(number, deleted),
        ],
    )

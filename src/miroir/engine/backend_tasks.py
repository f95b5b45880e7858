"""Routes of tasks and batches."""

from __future__ import annotations

from miroir.engine.jobs import AddDocuments, SelectTasks, decode_job
from miroir.engine.routing import Answer, Handler
from miroir.engine.state import State
from miroir.engine.stored_documents import dump_document
from miroir.meili import tasks as words
from miroir.meili.codes import ApiError
from miroir.meili.commands import Call
from miroir.meili.http import HttpReply
from miroir.meili.task_params import path_uid


def _list(state: State, call: Call) -> Answer:
    return 200, words.list_view(words.select_page(state.tasks(), call.args, call.access))


def _get(state: State, call: Call) -> Answer:
    return 200, words.task_view(_find(state, call, call.args))


def _find(state: State, call: Call, uid: int) -> words.Task:
    task = state.scheduler.queue.tasks.get(uid)
    if task is None or not words.visible(task, call.access):
        raise words.task_not_found(uid)
    return task


def _documents(state: State, call: Call) -> HttpReply:
    task = _find(state, call, path_uid(call.args))
    body = state.store.job(task.uid)
    job = None if body is None else decode_job(body)
    if not isinstance(job, AddDocuments):
        raise ApiError(
            "task_file_not_found",
            f"Task `{task.uid}` does not contain any documents. Only `documentAdditionOrUpdate` tasks with the"
            " statuses `enqueued` or `processing` contain documents",
        )
    lines = b"".join(dump_document(document) + b"\n" for document in job.documents)
    return HttpReply(200, lines, "application/x-ndjson")


def _cancel(state: State, call: Call) -> Answer:
    matched = words.select(state.tasks(), call.args, call.access)
    details = {
        "matchedTasks": len(matched),
        "canceledTasks": None,
        "originalFilter": call.args.original_filter,
    }
    return 200, state.enqueue("taskCancelation", SelectTasks(matched=matched), details=details)


def _delete(state: State, call: Call) -> Answer:
    matched = words.select(state.tasks(), call.args, call.access)
    details = {
        "matchedTasks": len(matched),
        "deletedTasks": None,
        "originalFilter": call.args.original_filter,
    }
    return 200, state.enqueue("taskDeletion", SelectTasks(matched=matched), details=details)


def _list_batches(state: State, call: Call) -> Answer:
    page = words.select_batches(state.tasks(), state.scheduler.queue.batches, call.args, call.access)
    return 200, words.batches_view(page)


def _get_batch(state: State, call: Call) -> Answer:
    batch = state.scheduler.queue.batches.get(call.args)
    members = [task for task in state.tasks() if task.batch_uid == call.args]
    if batch is None or not words.batch_visible(members, call.access):
        raise words.batch_not_found(call.args)
    return 200, words.batch_view(batch, members)


ROUTES: dict[str, Handler] = {
    "tasks.list": _list,
    "tasks.get": _get,
    "tasks.documents": _documents,
    "tasks.cancel": _cancel,
    "tasks.delete": _delete,
    "batches.list": _list_batches,
    "batches.get": _get_batch,
}

"""Routes of tasks and batches: our own records."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from miroir.api.backend import Answer, Handler
from miroir.core.writes.ops import OpKind
from miroir.meili import tasks as words
from miroir.meili.codes import ApiError
from miroir.meili.commands import Call
from miroir.meili.edge import json_reply
from miroir.meili.http import HttpReply
from miroir.meili.task_params import path_uid
from miroir.services.writes.writes import WritePath


def task_handlers(writes: WritePath) -> Mapping[str, Handler]:
    """Route name -> handler."""
    tasks = writes.tasks

    async def list_all(call: Call) -> Answer:
        return 200, tasks.list_view(call.args, call.access)

    async def get(call: Call) -> Answer:
        return 200, words.task_view(tasks.find(call.args, call.access))

    async def documents(call: Call) -> Answer:
        task = tasks.find(path_uid(call.args), call.access)
        op = writes.log.ops.get(task.uid)
        if op is None or op.kind != OpKind.DOCUMENTS_ADD or task.status in words.FINISHED:
            raise ApiError(
                "task_file_not_found",
                f"Task `{task.uid}` does not contain any documents. Only `documentAdditionOrUpdate` tasks with the"
                " statuses `enqueued` or `processing` contain documents",
            )
        lines = b"".join(orjson.dumps(document) + b"\n" for document in writes.log.payload(task.uid) or [])
        return HttpReply(200, lines, "application/x-ndjson")

    async def cancel(call: Call) -> Answer:
        return json_reply(200, words.summary(await tasks.cancel(call.args, call.access)))

    async def delete(call: Call) -> Answer:
        return json_reply(200, words.summary(await tasks.delete(call.args, call.access)))

    async def list_batches(call: Call) -> Answer:
        return 200, tasks.batches_view(call.args, call.access)

    async def get_batch(call: Call) -> Answer:
        found = tasks.find_batch(call.args, call.access)
        return 200, words.batch_view(found.batch, found.tasks)

    return {
        "tasks.list": list_all,
        "tasks.get": get,
        "tasks.documents": documents,
        "tasks.cancel": cancel,
        "tasks.delete": delete,
        "batches.list": list_batches,
        "batches.get": get_batch,
    }

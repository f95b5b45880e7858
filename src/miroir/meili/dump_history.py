"""The history of tasks and batches in a dump: records to lines of its files, and back.

A task is written as what it was asked to do (`type`) and what became of it (`details`). Of tasks that have ended only
the second is shown to anyone; what is no longer known of the first is written as empty, as the reference does for the
tasks of old dumps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson
from pyroaring import BitMap

from miroir.meili.dates import format_date, parse_rfc3339
from miroir.meili.tasks import FINISHED, Batch, BatchTasks, Task, merged_details

Json = dict[str, Any]

_NO_TASKS = list(BitMap().serialize())
_TIMES = ("enqueued_at", "started_at", "finished_at")
_TIME_NAMES = {"enqueued_at": "enqueuedAt", "started_at": "startedAt", "finished_at": "finishedAt"}

# --- writing ------------------------------------------------------------------------------------


def task_line(task: Task) -> bytes:
    """One line of tasks/queue.jsonl; empty for tasks that are not written: those that have not ended, and rare kinds."""
    write = _WRITERS.get(task.kind)
    if write is None or task.status not in FINISHED:
        return b""
    kind, details = write(
        {**(task.details or {}), **({"indexUid": task.index_uid} if task.kind == "indexCompaction" else {})}
    )
    line: Json = {
        "uid": task.uid,
        "batchUid": task.batch_uid,
        "indexUid": task.index_uid,
        "status": task.status,
        "type": kind,
    }
    if task.canceled_by is not None:
        line["canceledBy"] = task.canceled_by
    if details is not None:
        line["details"] = details
    if task.error is not None:
        line["error"] = task.error
    for name in _TIMES:
        if (moment := getattr(task, name)) is not None:
            line[_TIME_NAMES[name]] = format_date(moment)
    if task.custom_metadata is not None:
        line["customMetadata"] = task.custom_metadata
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def batch_line(found: BatchTasks) -> bytes:
    """One line of batches/queue.jsonl; empty while the batch runs."""
    batch, tasks = found.batch, found.tasks
    if batch.finished_at is None or not tasks:
        return b""
    statuses: dict[str, int] = {}
    kinds: dict[str, int] = {}
    indexes: dict[str, int] = {}
    for task in tasks:
        statuses[task.status] = statuses.get(task.status, 0) + 1
        kinds[task.kind] = kinds.get(task.kind, 0) + 1
        if task.index_uid is not None:
            indexes[task.index_uid] = indexes.get(task.index_uid, 0) + 1
    moments = sorted(task.enqueued_at for task in tasks)
    line = {
        "uid": batch.uid,
        "details": merged_details(tasks),
        "stats": {"totalNbTasks": len(tasks), "status": statuses, "types": kinds, "indexUids": indexes},
        "startedAt": format_date(batch.started_at),
        "finishedAt": format_date(batch.finished_at),
        "enqueuedAt": {"earliest": format_date(moments[0]), "oldest": format_date(moments[-1])},
        "stopReason": batch.strategy,
    }
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def _addition(shown: Json) -> tuple[Any, Json]:
    received = shown.get("receivedDocuments") or 0
    about = {
        "primary_key": None,
        "method": "ReplaceDocuments",
        "documents_count": received,
        "allow_index_creation": True,
    }
    counts = {"received_documents": received, "indexed_documents": shown.get("indexedDocuments")}
    return {"documentImport": about}, {"DocumentAdditionOrUpdate": counts}


def _edition(shown: Json) -> tuple[Any, Json]:
    asked = {"context": shown.get("context"), "function": shown.get("function") or ""}
    counts = {
        "deleted_documents": shown.get("deletedDocuments"),
        "edited_documents": shown.get("editedDocuments"),
        "original_filter": shown.get("originalFilter"),
    }
    return (
        {"documentEdition": {"filter": _filter(shown), **asked}},
        {"DocumentEdition": {**counts, **asked}},
    )


def _filter(shown: Json) -> Any:
    """The filter as it was sent: details show it as the text of its JSON."""
    text = shown.get("originalFilter")
    try:
        return None if text is None else orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def _deletion(shown: Json) -> tuple[Any, Json]:
    deleted = shown.get("deletedDocuments")
    if shown.get("originalFilter") is not None:
        counts = {"original_filter": shown["originalFilter"], "deleted_documents": deleted}
        return {"documentDeletionByFilter": {"filter": _filter(shown)}}, {"DocumentDeletionByFilter": counts}
    if "providedIds" not in shown:
        return "documentClear", {"ClearAll": {"deleted_documents": deleted}}
    counts = {"provided_ids": shown["providedIds"], "deleted_documents": deleted}
    return {"documentDeletion": {"documents_ids": []}}, {"DocumentDeletion": counts}


def _settings(shown: Json) -> tuple[Any, Json]:
    about = {"settings": shown, "is_deletion": False, "allow_index_creation": True}
    return {"settings": about}, {"SettingsUpdate": {"settings": shown}}


def _index(name: str) -> Callable[[Json], tuple[Any, Json]]:
    def write(shown: Json) -> tuple[Any, Json]:
        key, new_uid = shown.get("primaryKey"), shown.get("newIndexUid")
        asked = {"primary_key": key} if name == "indexCreation" else {"primary_key": key, "uid": new_uid}
        about = {"primary_key": key, "new_index_uid": new_uid, "old_index_uid": shown.get("oldIndexUid")}
        return {name: asked}, {"IndexInfo": about}

    return write


def _swap(shown: Json) -> tuple[Any, Json]:
    swaps = [{"rename": False, **swap} for swap in shown.get("swaps") or ()]
    return {"indexSwap": {"swaps": swaps}}, {"IndexSwap": {"swaps": swaps}}


def _selection(name: str, details: str, counted: str, column: str) -> Callable[[Json], tuple[Any, Json]]:
    def write(shown: Json) -> tuple[Any, Json]:
        query = shown.get("originalFilter") or ""
        counts = {"matched_tasks": shown.get("matchedTasks") or 0, column: shown.get(counted)}
        return {name: {"query": query, "tasks": _NO_TASKS}}, {details: {**counts, "original_filter": query}}

    return write


def _compaction(shown: Json) -> tuple[Any, Json]:
    uid = shown.get("indexUid") or ""
    sizes = {
        "pre_compaction_size": shown.get("preCompactionSize"),
        "post_compaction_size": shown.get("postCompactionSize"),
    }
    return {"indexCompaction": {"index_uid": uid}}, {"IndexCompaction": {"index_uid": uid, **sizes}}


_WRITERS: dict[str, Callable[[Json], tuple[Any, Json | None]]] = {
    "documentAdditionOrUpdate": _addition,
    "documentEdition": _edition,
    "documentDeletion": _deletion,
    "settingsUpdate": _settings,
    "indexCreation": _index("indexCreation"),
    "indexUpdate": _index("indexUpdate"),
    "indexDeletion": lambda shown: (
        "indexDeletion",
        {"ClearAll": {"deleted_documents": shown.get("deletedDocuments")}},
    ),
    "indexSwap": _swap,
    "taskCancelation": _selection("taskCancelation", "TaskCancelation", "canceledTasks", "canceled_tasks"),
    "taskDeletion": _selection("tasksDeletion", "TaskDeletion", "deletedTasks", "deleted_tasks"),
    "dumpCreation": lambda shown: (
        {"dumpCreation": {"keys": [], "instance_uid": None}},
        {"Dump": {"dump_uid": shown.get("dumpUid")}},
    ),
    "snapshotCreation": lambda shown: ("snapshotCreation", None),
    "indexCompaction": _compaction,
}

# --- reading ------------------------------------------------------------------------------------

_KINDS = {
    "documentImport": "documentAdditionOrUpdate",
    "documentDeletionByFilter": "documentDeletion",
    "documentClear": "documentDeletion",
    "settings": "settingsUpdate",
    "tasksDeletion": "taskDeletion",
}
#: Names of counters and such in details, as they are stored and as they are shown.
_SHOWN = {
    "received_documents": "receivedDocuments", "indexed_documents": "indexedDocuments",
    "edited_documents": "editedDocuments", "deleted_documents": "deletedDocuments", "provided_ids": "providedIds",
    "original_filter": "originalFilter", "primary_key": "primaryKey", "new_index_uid": "newIndexUid",
    "old_index_uid": "oldIndexUid", "matched_tasks": "matchedTasks", "canceled_tasks": "canceledTasks",
    "deleted_tasks": "deletedTasks", "dump_uid": "dumpUid", "index_uid": "indexUid",
    "pre_compaction_size": "preCompactionSize", "post_compaction_size": "postCompactionSize",
}  # fmt: skip


def read_task(line: bytes) -> tuple[Task, str, Json]:
    """(task, name of what it was asked to do, that itself). Raises KeyError, TypeError, ValueError."""
    found = orjson.loads(line)
    asked = found["type"]
    name, about = (asked, {}) if isinstance(asked, str) else next(iter(asked.items()))
    kind = _KINDS.get(name, name)
    details = _shown_details(found.get("details"))
    return (
        Task(
            uid=found["uid"],
            kind=kind,
            status=found["status"],
            index_uid=found.get("indexUid"),
            batch_uid=found.get("batchUid"),
            canceled_by=found.get("canceledBy"),
            details=details,
            error=found.get("error"),
            enqueued_at=_moment(found, "enqueuedAt") or 0,
            started_at=_moment(found, "startedAt"),
            finished_at=_moment(found, "finishedAt"),
            custom_metadata=found.get("customMetadata"),
            swaps=tuple(tuple(swap["indexes"]) for swap in (details or {}).get("swaps", ()))
            if kind == "indexSwap"
            else (),
        ),
        name,
        about if isinstance(about, dict) else {},
    )


def read_batch(line: bytes) -> Batch:
    """A batch that has ended. Raises KeyError, TypeError, ValueError."""
    found = orjson.loads(line)
    started = _moment(found, "startedAt")
    if started is None:
        raise ValueError("a batch without a start")
    return Batch(
        uid=found["uid"],
        started_at=started,
        finished_at=_moment(found, "finishedAt"),
        strategy=found.get("stopReason") or "",
    )


def _moment(found: Mapping[str, Any], name: str) -> int | None:
    text = found.get(name)
    return None if text is None else parse_rfc3339(text)


def _shown_details(stored: Json | None) -> Json | None:
    if stored is None:
        return None
    variant, members = next(iter(stored.items()))
    if variant == "SettingsUpdate":
        settings: Json = members["settings"]
        return settings
    shown = {_SHOWN.get(member, member): value for member, value in members.items()}
    if variant == "DocumentDeletion":
        shown["originalFilter"] = None
    if variant == "DocumentDeletionByFilter":
        shown = {"providedIds": 0, **shown}
    if variant == "IndexInfo":
        shown = {
            member: value for member, value in shown.items() if member == "primaryKey" or value is not None
        }
    if variant == "IndexCompaction":
        del shown["indexUid"]
    return shown

"""What is in a dump of any version, in one form: indexes, keys, features, webhooks, and tasks that had not begun.

Versions: 1 (0.17 to 0.20), 2 (0.21, 0.22), 3 (0.23, 0.24), 4 (0.25 to 0.27), 5 (0.28 to 0.30), 6 (from 1.0 on).
Source of the formats: crates/dump of Meilisearch v1.50, and dumps of these versions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from miroir.meili import dump_format
from miroir.meili.dates import parse_rfc3339
from miroir.meili.dump_history import read_task
from miroir.meili.keys import Key
from miroir.meili.tasks import Task

Json = dict[str, Any]

_RULES = ("words", "typo", "proximity", "attribute", "attributeRank", "wordPosition", "sort", "exactness")
_ASC_DESC = re.compile(r"(asc|desc)\(([\w-]+)\)")
_ASC_DESC_SUFFIX = re.compile(r".+:(?:asc|desc)")


@dataclass(frozen=True, slots=True)
class IndexDump:
    """An index; times in ns, None where the dump does not tell. `documents` names the file with one a line."""

    uid: str
    primary_key: str | None
    created_at: int | None
    updated_at: int | None
    settings: Json
    documents: str


@dataclass(frozen=True, slots=True)
class PendingTask:
    """A task that waited when the dump was made. `kind` is add, delete, clear, settings, create, update or drop.

    Of an addition `file` names the file with its documents, one a line, or all in one array if `is_array`.
    """

    kind: str
    index_uid: str
    task: Task
    payload: Json = field(default_factory=dict)
    file: str | None = None
    is_array: bool = False


@dataclass(slots=True)
class DumpContents:
    """A dump without its documents and its history."""

    version: int
    indexes: list[IndexDump] = field(default_factory=list)
    keys: list[Key] = field(default_factory=list)
    features: Json = field(default_factory=dict)
    webhooks: Json = field(default_factory=dict)
    instance_uid: bytes = b""
    pending: list[PendingTask] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class DumpSource:
    """The files of a dump: their names, a small one whole (empty if it is not there), any one line by line."""

    names: Collection[str]
    read: Callable[[str], bytes]
    lines: Callable[[str], Iterable[bytes]]
    now_ns: int
    new_uuid: Callable[[], str]


def read_dump(source: DumpSource) -> DumpContents:
    """What is in it. Raises KeyError, TypeError, ValueError when it is no dump, or of a version nobody knows."""
    version = dump_format.dump_version(source.read(dump_format.METADATA))
    if version == 6:
        return _version_6(source)
    if version == 1:
        return _version_1(source)
    return _versions_2_to_5(source, version)


# --- version 6 ----------------------------------------------------------------------------------


def _version_6(source: DumpSource) -> DumpContents:
    found = DumpContents(6, instance_uid=source.read(dump_format.INSTANCE_UID).strip())
    found.features = orjson.loads(source.read(dump_format.FEATURES) or b"{}")
    found.webhooks = orjson.loads(source.read(dump_format.WEBHOOKS) or b"{}").get("webhooks") or {}
    found.keys = dump_format.read_keys(source.read(dump_format.KEYS), source.now_ns)
    for uid in dump_format.index_uids(source.names):
        about = orjson.loads(source.read(f"indexes/{uid}/metadata.json"))
        settings = orjson.loads(source.read(f"indexes/{uid}/settings.json") or b"{}")
        found.indexes.append(
            IndexDump(
                uid,
                about["primaryKey"],
                _moment(about.get("createdAt")),
                _moment(about.get("updatedAt")),
                {name: value for name, value in settings.items() if name not in dump_format.LEFT_OUT},
                dump_format.documents_file(uid),
            )
        )
    if dump_format.TASKS in source.names:
        for line in source.lines(dump_format.TASKS):
            task, name, asked = read_task(line)
            if task.status in ("enqueued", "processing") and (pending := _pending_6(task, name, asked)):
                found.pending.append(pending)
    return found


def _pending_6(task: Task, name: str, asked: Json) -> PendingTask | None:
    uid = task.index_uid or ""
    match name:
        case "documentImport":
            payload = {
                "merge": asked["method"] == "UpdateDocuments",
                "primary_key": asked.get("primary_key"),
                "may_create": asked.get("allow_index_creation", True),
            }
            return PendingTask("add", uid, task, payload, f"tasks/update_files/{task.uid}.jsonl")
        case "documentDeletion":
            return PendingTask("delete", uid, task, {"ids": asked["documents_ids"]})
        case "documentClear":
            return PendingTask("clear", uid, task)
        case "settings":
            return PendingTask("settings", uid, task, {"settings": asked["settings"]})
        case "indexCreation":
            return PendingTask("create", uid, task, {"primary_key": asked.get("primary_key")})
        case "indexUpdate":
            payload = {"primary_key": asked.get("primary_key"), "new_uid": asked.get("uid")}
            return PendingTask("update", uid, task, payload)
        case "indexDeletion":
            return PendingTask("drop", uid, task)
        case _:
            return None


# --- version 1 ----------------------------------------------------------------------------------


def _version_1(source: DumpSource) -> DumpContents:
    found = DumpContents(1)
    for about in orjson.loads(source.read(dump_format.METADATA))["indexes"]:
        uid = about["uid"]
        old = orjson.loads(source.read(f"{uid}/settings.json"))
        settings = older_settings(
            {name: value for name, value in old.items() if name != "attributesForFaceting"}, 1
        )
        if "attributesForFaceting" in old:
            settings["filterableAttributes"] = settings["sortableAttributes"] = _sorted(
                old["attributesForFaceting"]
            )
        created, updated = _moment(about["createdAt"]), _moment(about["updatedAt"])
        documents = f"{uid}/documents.jsonl"
        found.indexes.append(IndexDump(uid, about["primaryKey"], created, updated, settings, documents))
    return found


# --- versions 2 to 5 ----------------------------------------------------------------------------


def _versions_2_to_5(source: DumpSource, version: int) -> DumpContents:
    found = DumpContents(version, instance_uid=source.read("instance-uid").strip())
    uids = older_index_uids(source, version)
    times: dict[str, tuple[int | None, int | None]] = {}
    for place, row in enumerate(_updates(source)):
        uid, created, ended, pending = _update(row, place, version, uids)
        if uid is not None:
            first, last = times.get(uid, (None, None))
            starts = [moment for moment in (first, created) if moment is not None]
            ends = [moment for moment in (last, ended) if moment is not None]
            times[uid] = (min(starts, default=None), max(ends, default=None))
        if pending is not None:
            found.pending.append(pending)
    found.pending.sort(key=lambda pending: (pending.task.enqueued_at, pending.task.uid))
    for uuid, uid in sorted(uids.items(), key=lambda item: item[1]):
        folder = f"indexes/{'index-' if version == 2 else ''}{uuid}"
        if not (body := source.read(f"{folder}/meta.json")):
            continue
        about = orjson.loads(body)
        settings = older_settings(about["settings"], version)
        documents = f"{folder}/documents.jsonl"
        found.indexes.append(
            IndexDump(uid, about["primary_key"], *times.get(uid, (None, None)), settings, documents)
        )
    if version >= 4:
        found.keys = [_key(orjson.loads(line), version, source) for line in source.lines("keys")]
    return found


def older_index_uids(source: DumpSource, version: int) -> dict[str, str]:
    """Names of folders -> uids of indexes, of versions 2 to 5."""
    rows = map(orjson.loads, source.lines("index_uuids/data.jsonl"))
    return {row["index_meta"]["uuid"] if version >= 4 else row["uuid"]: row["uid"] for row in rows}


def _updates(source: DumpSource) -> Iterator[Json]:
    if "updates/data.jsonl" in source.names:
        for line in source.lines("updates/data.jsonl"):
            yield orjson.loads(line)


_Update = tuple[str | None, int | None, int | None, PendingTask | None]


def _update(row: Json, place: int, version: int, uids: dict[str, str]) -> _Update:
    """(index, when it was asked, when it ended, itself if it waited) of a line of the queue."""
    if version >= 4:
        return _task(row, version)
    update = row["update"]
    uid = uids.get(row["uuid"])
    asked = _moment(update.get("enqueuedAt"))
    ended = _moment(update.get("processedAt") or update.get("failedAt"))
    pending = None
    if uid is not None and update["status"] in ("enqueued", "processing"):
        task = Task(uid=place, kind="", enqueued_at=asked or 0)
        pending = _pending_2(update, uid, task) if version == 2 else _pending_3(update["meta"], uid, task)
    return uid, asked, ended, pending


def _pending_2(update: Json, uid: str, task: Task) -> PendingTask | None:
    meta = update["meta"]
    match meta["type"]:
        case "DocumentsAddition" if update.get("content"):
            payload = {
                "merge": meta["method"] == "UpdateDocuments",
                "primary_key": meta.get("primary_key"),
                "may_create": True,
            }
            file = f"updates/update_files/update_{update['content']}"
            return PendingTask("add", uid, task, payload, file, is_array=meta.get("format") == "Json")
        case "ClearDocuments":
            return PendingTask("clear", uid, task)
        case "DeleteDocuments":
            return PendingTask("delete", uid, task, {"ids": meta["ids"]})
        case "Settings":
            changed = {name: value for name, value in meta.items() if name != "type"}
            return PendingTask("settings", uid, task, {"settings": older_settings(changed, 2)})
        case _:
            return None


def _pending_3(meta: Any, uid: str, task: Task) -> PendingTask | None:
    name, about = (meta, {}) if isinstance(meta, str) else next(iter(meta.items()))
    match name:
        case "DocumentAddition":
            payload = {
                "merge": about["method"] == "UpdateDocuments",
                "primary_key": about.get("primary_key"),
                "may_create": True,
            }
            file = f"updates/updates_files/{about['content_uuid']}"
            return PendingTask("add", uid, task, payload, file)
        case "ClearDocuments":
            return PendingTask("clear", uid, task)
        case "DeleteDocuments":
            return PendingTask("delete", uid, task, {"ids": about})
        case "Settings":
            return PendingTask("settings", uid, task, {"settings": older_settings(about, 3)})
        case _:
            return None


def _task(row: Json, version: int) -> _Update:
    content = row["content"]
    name, about = (content, {}) if isinstance(content, str) else next(iter(content.items()))
    about = about if isinstance(about, dict) else {"deletion": about}
    uid = row.get("index_uid") or about.get("index_uid")
    asked, ended = None, None
    for event in row["events"]:
        kind, what = next(iter(event.items()))
        if kind == "Created":
            asked = _moment(what)
        elif kind in ("Succeded", "Succeeded", "Failed"):
            ended = _moment(what["timestamp"])
    if ended is not None or uid is None:
        return uid, asked, ended, None
    task = Task(uid=row["id"], kind="", enqueued_at=asked or 0)
    return uid, asked, ended, _pending_4(name, about, uid, task, version)


def _pending_4(name: str, about: Json, uid: str, task: Task, version: int) -> PendingTask | None:
    match name:
        case "DocumentAddition":
            payload = {
                "merge": about["merge_strategy"] == "UpdateDocuments",
                "primary_key": about.get("primary_key"),
                "may_create": about.get("allow_index_creation", True),
            }
            return PendingTask("add", uid, task, payload, f"updates/updates_files/{about['content_uuid']}")
        case "DocumentDeletion":
            deletion = about.get("deletion", about)
            if isinstance(deletion, dict) and "Ids" in deletion:
                return PendingTask("delete", uid, task, {"ids": deletion["Ids"]})
            return PendingTask("clear", uid, task)
        case "SettingsUpdate":
            return PendingTask(
                "settings", uid, task, {"settings": older_settings(about["settings"], version)}
            )
        case "IndexCreation":
            return PendingTask("create", uid, task, {"primary_key": about.get("primary_key")})
        case "IndexUpdate":
            return PendingTask(
                "update", uid, task, {"primary_key": about.get("primary_key"), "new_uid": None}
            )
        case "IndexDeletion":
            return PendingTask("drop", uid, task)
        case _:
            return None


# --- what versions call otherwise ---------------------------------------------------------------


def older_settings(old: Json, version: int) -> Json:
    """Settings of an older version as they are called now; what they do not name is not there."""
    settings = dict(old)
    if (rules := settings.get("rankingRules")) is not None:
        known = (_rule(rule, version) for rule in rules)
        settings["rankingRules"] = [rule for rule in known if rule is not None]
    for name in ("filterableAttributes", "sortableAttributes", "stopWords"):
        if settings.get(name) is not None:
            settings[name] = _sorted(settings[name])
    return settings


def _sorted(values: Iterable[str] | None) -> list[str] | None:
    return None if values is None else sorted(set(values))


def _rule(rule: str, version: int) -> str | None:
    """A ranking rule as it is called now; None for one that there is no more."""
    if version <= 2 and (match := _ASC_DESC.search(rule)):
        return f"{match[2]}:{match[1]}"
    return rule if rule in _RULES or _ASC_DESC_SUFFIX.fullmatch(rule) else None


def _key(old: Json, version: int, source: DumpSource) -> Key:
    """A key; before version 5 it had no uid, and so gets another value."""
    if version == 4:
        actions = [action for action in old["actions"] if action != "dumps.get"]
        old = {**old, "uid": source.new_uuid(), "name": None, "actions": actions}
    return dump_format.read_key(old, source.now_ns)


def _moment(text: str | None) -> int | None:
    return None if text is None else parse_rfc3339(text)

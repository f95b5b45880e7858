"""Tasks that had ended in dumps of versions 2 to 5, as they are shown today."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from miroir.meili import dump_format
from miroir.meili.codes import CODES, ApiError
from miroir.meili.dates import parse_rfc3339
from miroir.meili.dump_contents import DumpSource, older_index_uids, older_settings
from miroir.meili.tasks import Task

Json = dict[str, Any]

QUEUE = "updates/data.jsonl"
#: Codes that are called otherwise today.
_CODES = {
    "missing_primary_key": "index_primary_key_no_candidate_found",
    "MissingPrimaryKey": "index_primary_key_no_candidate_found",
    "primary_key_inference_failed": "index_primary_key_no_candidate_found",
    "primary_key_already_present": "index_primary_key_already_exists",
    "PrimaryKeyAlreadyPresent": "index_primary_key_already_exists",
    "create_index": "index_creation_failed",
    "CreateIndex": "index_creation_failed",
    "invalid_geo_field": "invalid_document_geo_field",
    "invalid_filter": "invalid_settings_filterable_attributes",
    "invalid_sort": "invalid_settings_sortable_attributes",
    "invalid_ranking_rule": "invalid_settings_ranking_rules",
    "missing_parameter": "bad_request",
}


def older_history(source: DumpSource) -> Iterator[Task]:
    """Oldest first as far as the dump tells. Raises KeyError, TypeError, ValueError."""
    version = dump_format.dump_version(source.read(dump_format.METADATA))
    if not 2 <= version < dump_format.CURRENT or QUEUE not in source.names:
        return
    uids = older_index_uids(source, version)
    for place, line in enumerate(source.lines(QUEUE)):
        row = orjson.loads(line)
        task = _task(row, version) if version >= 4 else _update(row, place, version, uids)
        if task is not None:
            yield task


def _update(row: Json, place: int, version: int, uids: dict[str, str]) -> Task | None:
    """A line of version 2 or 3, whose updates had numbers of their own in each index."""
    update = row["update"]
    status = {"processed": "succeeded", "failed": "failed"}.get(update["status"])
    if status is None:
        return None
    meta, result = update["meta"], update.get("success")
    name, about = (meta["type"], meta) if version == 2 else _tagged(meta)
    error = update.get("error") or {"message": update.get("msg", ""), "errorCode": update.get("code", "")}
    kind, details = _details_2(name, about, result if isinstance(result, dict) else {}, version)
    return Task(
        uid=place,
        kind=kind,
        status=status,
        index_uid=uids.get(row["uuid"]),
        details=details,
        error=None if status == "succeeded" else _error(error["message"], error["errorCode"]),
        enqueued_at=_moment(update.get("enqueuedAt")) or 0,
        started_at=_moment(update.get("startedProcessingAt")),
        finished_at=_moment(update.get("processedAt") or update.get("failedAt")),
    )


def _details_2(name: str, about: Any, result: Json, version: int) -> tuple[str, Json]:
    if name == "Settings":
        settings = {key: value for key, value in about.items() if key != "type"}
        return "settingsUpdate", older_settings(settings, version)
    if name in ("ClearDocuments", "DeleteDocuments"):
        deleted = (result.get("DocumentDeletion") or {}).get("deleted", 0)
        if name == "ClearDocuments":
            return "documentDeletion", {"deletedDocuments": deleted}
        ids = about["ids"] if version == 2 else about
        counts = {"providedIds": len(ids), "deletedDocuments": deleted, "originalFilter": None}
        return "documentDeletion", counts
    indexed = (result.get("DocumentsAddition") or {}).get("nb_documents", 0)
    return "documentAdditionOrUpdate", {"receivedDocuments": 0, "indexedDocuments": indexed}


def _task(row: Json, version: int) -> Task | None:
    """A line of version 4 or 5."""
    times: dict[str, Any] = {}
    status, error = None, None
    result: Json = {}
    for event in row["events"]:
        kind, what = next(iter(event.items()))
        if kind == "Created":
            times["enqueued_at"] = _moment(what) or 0
        elif kind == "Processing":
            times.setdefault("started_at", _moment(what))  # it may have been interrupted
        elif kind in ("Succeded", "Succeeded", "Failed"):
            times["finished_at"] = _moment(what["timestamp"])
            status = "failed" if kind == "Failed" else "succeeded"
            result = what["result"] if isinstance(what.get("result"), dict) else {}
            if status == "failed":
                error = _error(what["error"]["message"], what["error"]["code"])
    if status is None:
        return None
    name, about = _tagged(row["content"])
    shown = _details_4(name, about, next(iter(result.values()), {}), version)
    if shown is None:
        return None
    index_uid = row.get("index_uid") or (about.get("index_uid") if isinstance(about, dict) else None)
    return Task(
        uid=row["id"],
        kind=shown[0],
        status=status,
        index_uid=None if name == "Dump" else index_uid,
        details=shown[1],
        error=error,
        **times,
    )


def _details_4(name: str, about: Any, result: Json, version: int) -> tuple[str, Json] | None:
    deleted = result.get("deleted_documents", 0)
    match name:
        case "DocumentAddition":
            counts = {
                "receivedDocuments": about["documents_count"],
                "indexedDocuments": result.get("indexed_documents", 0),
            }
            return "documentAdditionOrUpdate", counts
        case "DocumentDeletion":
            deletion = about.get("deletion", about) if isinstance(about, dict) else about
            if not (isinstance(deletion, dict) and "Ids" in deletion):
                return "documentDeletion", {"deletedDocuments": deleted}
            provided = len(deletion["Ids"])
            counts = {"providedIds": provided, "deletedDocuments": deleted, "originalFilter": None}
            return "documentDeletion", counts
        case "SettingsUpdate":
            return "settingsUpdate", older_settings(about["settings"], version)
        case "IndexCreation" | "IndexUpdate":
            kind = "indexCreation" if name == "IndexCreation" else "indexUpdate"
            return kind, {"primaryKey": about.get("primary_key")}
        case "IndexDeletion":
            return "indexDeletion", {"deletedDocuments": deleted}
        case "Dump":
            return "dumpCreation", {"dumpUid": about["uid"]}
        case _:
            return None


def _tagged(value: Any) -> tuple[str, Any]:
    return (value, {}) if isinstance(value, str) else next(iter(value.items()))


def _error(message: str, code: str) -> Json:
    name = _CODES.get(code, code)
    return dict(ApiError(name if name in CODES else "unretrievable_error_code", message).body())


def _moment(text: str | None) -> int | None:
    return None if text is None else parse_rfc3339(text)

"""Dumps of every version come to the same: indexes with today's settings, keys, and what had not begun."""

from typing import Any

import orjson
import pytest

from miroir.meili.dump_contents import DumpContents, DumpSource, read_dump
from miroir.meili.dump_older_tasks import older_history
from miroir.meili.tasks import task_view

_NOW = 1_700_000_000_000_000_000
_UUID = "6be789f8-5fcb-4f74-8743-7bff79ea64b6"
_CONTENT = "66d3f12d-fcf3-4b53-88cb-407017373de7"
_T1, _T2 = "2022-10-02T13:15:29Z", "2022-10-02T13:21:12Z"
_KEY = {"actions": ["search"], "indexes": ["*"], "expires_at": None, "created_at": _T1, "updated_at": _T2}


def opened(files: dict[str, Any]) -> DumpContents:
    """Contents of a dump; values are bytes, JSON, or lists of JSON lines."""
    return read_dump(source_of(files))


def source_of(files: dict[str, Any]) -> DumpSource:
    bodies = {name: body if isinstance(body, bytes) else _text(body) for name, body in files.items()}

    def read(name: str) -> bytes:
        return bodies.get(name, b"")

    return DumpSource(
        bodies, read, lambda name: read(name).splitlines(keepends=True), _NOW, lambda: "new-uid"
    )


def _text(body: Any) -> bytes:
    if isinstance(body, list):
        return b"".join(orjson.dumps(line) + b"\n" for line in body)
    return orjson.dumps(body)


_RULES_1 = ["typo", "words", "wordsPosition", "exactness", "asc(release_date)", "desc(no way)"]


def version_1() -> dict[str, Any]:
    about = {"name": "m", "uid": "m", "createdAt": _T1, "updatedAt": _T2, "primaryKey": "id"}
    settings = {"rankingRules": _RULES_1, "stopWords": ["b", "a"], "attributesForFaceting": ["year", "genre"]}
    return {
        "metadata.json": {"dumpVersion": "V1", "dbVersion": "0.20.0", "indexes": [about]},
        "m/settings.json": settings,
        "m/documents.jsonl": [{"id": 1}],
        "m/updates.jsonl": [],
    }


def older(version: int, updates: list[Any], settings: dict[str, Any]) -> dict[str, Any]:
    row = {"uid": "m", "index_meta": {"uuid": _UUID}} if version >= 4 else {"uid": "m", "uuid": _UUID}
    folder = f"indexes/{'index-' if version == 2 else ''}{_UUID}"
    return {
        "metadata.json": {"dumpVersion": f"V{version}"},
        "index_uuids/data.jsonl": [row],
        f"{folder}/meta.json": {"settings": settings, "primary_key": "id"},
        f"{folder}/documents.jsonl": [{"id": 1}],
        "updates/data.jsonl": updates,
        "keys": [{**_KEY, "id": [1] * 8, "actions": ["search", "dumps.get"]}]
        if version == 4
        else [{**_KEY, "uid": "its-own", "name": "n", "description": "d"}],
        "instance-uid": b"9e15e977-f2ae-4761-943f-1eaf75fd736d\n",
    }


def _update(version: int, status: str, meta: Any, content: str | None = None) -> dict[str, Any]:
    update = {"status": status, "updateId": 0, "meta": meta, "enqueuedAt": _T1, "content": content}
    return {"uuid": _UUID, "update": {**update, **({"processedAt": _T2} if status == "processed" else {})}}


def test_version_1_is_told_in_todays_words() -> None:
    found = opened(version_1())
    (index,) = found.indexes
    assert (index.uid, index.primary_key, index.documents) == ("m", "id", "m/documents.jsonl")
    assert index.created_at is not None
    assert index.updated_at == index.created_at + 343 * 10**9
    assert index.settings == {
        "rankingRules": ["typo", "words", "exactness", "release_date:asc"],
        "stopWords": ["a", "b"],
        "filterableAttributes": ["genre", "year"],
        "sortableAttributes": ["genre", "year"],
    }
    assert (found.keys, found.pending, found.features) == ([], [], {})


def test_version_2_has_its_payloads_in_arrays() -> None:
    meta = {"type": "DocumentsAddition", "method": "UpdateDocuments", "format": "Json", "primary_key": None}
    updates = [
        _update(2, "enqueued", meta, _CONTENT),
        _update(2, "processed", {"type": "Settings"}),
    ]
    found = opened(older(2, updates, {"rankingRules": ["words", "asc(y)"], "distinctAttribute": None}))
    assert found.indexes[0].settings == {"rankingRules": ["words", "y:asc"], "distinctAttribute": None}
    (pending,) = found.pending
    assert (pending.kind, pending.index_uid, pending.is_array) == ("add", "m", True)
    assert pending.file == f"updates/update_files/update_{_CONTENT}"
    assert pending.payload["merge"] is True


@pytest.mark.parametrize(
    ("meta", "kind", "payload"),
    [
        ("ClearDocuments", "clear", {}),
        ({"DeleteDocuments": ["1", "2"]}, "delete", {"ids": ["1", "2"]}),
        ({"Settings": {"stopWords": ["b", "a"]}}, "settings", {"settings": {"stopWords": ["a", "b"]}}),
        (
            {
                "DocumentAddition": {
                    "primary_key": "k",
                    "method": "ReplaceDocuments",
                    "content_uuid": _CONTENT,
                }
            },
            "add",
            {"merge": False, "primary_key": "k", "may_create": True},
        ),
    ],
)
def test_what_waited_in_version_3_waits_again(meta: Any, kind: str, payload: dict[str, Any]) -> None:
    (pending,) = opened(older(3, [_update(3, "processing", meta)], {})).pending
    assert (pending.kind, pending.payload, pending.is_array) == (kind, payload, False)


def _task(version: int, uid: int, content: Any, *events: Any) -> dict[str, Any]:
    task = {"id": uid, "content": content, "events": [{"Created": _T1}, *events]}
    return {**task, "index_uid": "m"} if version == 4 else task


@pytest.mark.parametrize("version", [4, 5])
def test_versions_4_and_5_have_keys_and_tasks(version: int) -> None:
    place = {} if version == 4 else {"index_uid": "m"}
    addition = {
        **place,
        "content_uuid": _CONTENT,
        "merge_strategy": "ReplaceDocuments",
        "primary_key": None,
        "documents_count": 2,
        "allow_index_creation": False,
    }
    deletion: Any = {"Ids": ["1"]} if version == 4 else {**place, "deletion": {"Ids": ["1"]}}
    done = {"Succeded" if version == 4 else "Succeeded": {"result": "Other", "timestamp": _T2}}
    tasks = [
        _task(version, 3, {"DocumentDeletion": deletion}),
        _task(version, 2, {"DocumentAddition": addition}, {"Processing": _T1}),
        _task(version, 1, {"DocumentAddition": addition}, done),
    ]
    found = opened(older(version, tasks, {"typoTolerance": {"enabled": False}}))
    assert [(pending.kind, pending.task.uid) for pending in found.pending] == [("add", 2), ("delete", 3)]
    assert found.pending[0].payload["may_create"] is False
    assert found.pending[1].payload == {"ids": ["1"]}
    (key,) = found.keys
    assert (key.uid, key.actions) == (("new-uid" if version == 4 else "its-own"), ("search",))
    (index,) = found.indexes
    assert None not in (index.created_at, index.updated_at)
    assert index.settings == {"typoTolerance": {"enabled": False}}
    assert found.instance_uid == b"9e15e977-f2ae-4761-943f-1eaf75fd736d"


def test_what_waited_in_version_6_waits_again() -> None:
    task = {"uid": 7, "indexUid": "m", "status": "enqueued", "enqueuedAt": _T1}
    asked = {
        "primary_key": "id",
        "method": "UpdateDocuments",
        "documents_count": 1,
        "allow_index_creation": True,
    }
    found = opened(
        {
            "metadata.json": {"dumpVersion": "V6"},
            "tasks/queue.jsonl": [
                {**task, "type": {"documentImport": asked}},
                {**task, "uid": 8, "type": "indexDeletion"},
                {**task, "uid": 9, "status": "succeeded", "type": "documentClear"},
            ],
        }
    )
    assert [(pending.kind, pending.task.uid) for pending in found.pending] == [("add", 7), ("drop", 8)]
    assert found.pending[0].file == "tasks/update_files/7.jsonl"


@pytest.mark.parametrize("body", [{"dumpVersion": "V7"}, {}, []])
def test_other_versions_are_refused(body: Any) -> None:
    with pytest.raises(ValueError, match="only V1 to V6"):
        opened({"metadata.json": orjson.dumps(body)})


def _history(version: int, updates: list[Any]) -> list[dict[str, Any]]:
    return [task_view(task) for task in older_history(source_of(older(version, updates, {})))]


def test_updates_of_versions_2_and_3_are_tasks() -> None:
    settings = _update(2, "processed", {"type": "Settings", "rankingRules": ["desc(y)"]})
    waiting = _update(2, "enqueued", {"type": "ClearDocuments"})
    deletion = _update(2, "processed", {"type": "DeleteDocuments", "ids": ["1"]})
    deletion["update"]["success"] = {"DocumentDeletion": {"deleted": 1}}
    found = _history(2, [settings, waiting, deletion])
    assert [(task["uid"], task["type"], task["indexUid"]) for task in found] == [
        (0, "settingsUpdate", "m"),
        (2, "documentDeletion", "m"),
    ]
    assert found[0]["details"] == {"rankingRules": ["y:desc"]}
    assert found[1]["details"] == {"providedIds": 1, "deletedDocuments": 1, "originalFilter": None}
    addition = {"primary_key": None, "method": "ReplaceDocuments", "content_uuid": _CONTENT}
    failed = _update(3, "failed", {"DocumentAddition": addition})
    failed["update"] |= {"msg": "no key", "code": "MissingPrimaryKey", "failedAt": _T2}
    (task,) = _history(3, [failed])
    assert task["details"] == {"receivedDocuments": 0, "indexedDocuments": 0}
    assert task["error"]["code"] == "index_primary_key_no_candidate_found"
    assert (task["status"], task["finishedAt"]) == ("failed", _T2)


@pytest.mark.parametrize("version", [4, 5])
def test_tasks_of_versions_4_and_5_are_told_as_today(version: int) -> None:
    place = {} if version == 4 else {"index_uid": "m"}
    addition = {**place, "documents_count": 2, "content_uuid": _CONTENT, "merge_strategy": "ReplaceDocuments"}
    done = {"result": {"DocumentAddition": {"indexed_documents": 2}}, "timestamp": _T2}
    tasks = [
        _task(version, 4, {"IndexCreation": {**place, "primary_key": "id"}}, {"Processing": _T1}),
        _task(
            version,
            3,
            {"DocumentAddition": addition},
            {"Processing": _T1},
            {"Processing": _T2},
            {"Succeded" if version == 4 else "Succeeded": done},
        ),
    ]
    (task,) = _history(version, tasks)
    assert (task["uid"], task["indexUid"], task["status"]) == (3, "m", "succeeded")
    assert task["details"] == {"receivedDocuments": 2, "indexedDocuments": 2}
    assert (task["enqueuedAt"], task["startedAt"], task["finishedAt"]) == (_T1, _T1, _T2)


def test_other_versions_have_no_older_history() -> None:
    assert list(older_history(source_of(version_1()))) == []
    assert list(older_history(source_of({"metadata.json": {"dumpVersion": "V6"}}))) == []

"""A dump holds everything that an engine started from it needs to answer the same."""

import asyncio
import io
import json
import sqlite3
import tarfile
from pathlib import Path
from typing import Any

import pytest

from miroir.engine.embedded import Engine, Options, open_engine
from miroir.engine.errors import EngineError
from miroir.meili.http import HttpRequest

_OPTIONS = Options(master_key="masterKey")
_WHEN = "2022-10-02T13:15:29.000000001Z"


async def _ask(engine: Engine, method: str, path: str, body: object = None) -> Any:
    headers = {"content-type": "application/json", "authorization": "Bearer masterKey"}
    payload = b"" if body is None else json.dumps(body).encode()
    reply = await engine.edge.respond(HttpRequest(method, path, "", headers, payload))
    return json.loads(reply.body)


async def _answers(engine: Engine) -> list[Any]:
    search = await _ask(engine, "POST", "/indexes/films/search", {"q": "glas", "showRankingScore": True})
    return [
        await _ask(engine, "GET", "/indexes"),
        await _ask(engine, "GET", "/indexes/films/settings"),
        await _ask(engine, "GET", "/indexes/films/documents"),
        await _ask(engine, "GET", "/keys"),
        await _ask(engine, "GET", "/experimental-features"),
        await _ask(engine, "GET", "/webhooks"),
        [task for task in (await _ask(engine, "GET", "/tasks"))["results"] if task["type"] != "dumpCreation"],
        await _ask(engine, "GET", "/batches/0"),
        search["hits"],
    ]


def test_an_engine_made_from_a_dump_answers_like_the_one_that_wrote_it(tmp_path: Path) -> None:
    async def run() -> None:
        first = await open_engine(tmp_path / "first", _OPTIONS)
        await _ask(first, "PATCH", "/experimental-features", {"containsFilter": True})
        settings = {"filterableAttributes": ["year"], "synonyms": {"pane": ["glass"]}, "stopWords": ["of"]}
        await _ask(first, "PATCH", "/indexes/films/settings", settings)
        films = [{"id": n, "title": f"Harbor of Glass {n}", "year": 1990 + n} for n in range(5)]
        await _ask(first, "POST", "/indexes/films/documents", films)
        await _ask(first, "POST", "/indexes", {"uid": "empty"})
        await _ask(first, "POST", "/webhooks", {"url": "http://127.0.0.1:9/", "headers": {"a": "b"}})
        await first.drain()
        await _ask(first, "POST", "/dumps")
        await first.drain()
        expected = await _answers(first)
        first.close()
        (dump,) = (tmp_path / "first" / "dumps").glob("*.dump")
        second = await open_engine(tmp_path / "second", _OPTIONS, dump=dump)
        assert await _answers(second) == expected
        second.close()
        with pytest.raises(EngineError, match="empty directory"):
            await open_engine(tmp_path / "second", _OPTIONS, dump=dump)

    asyncio.run(run())


def test_a_file_that_is_no_dump_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    async def run() -> None:
        wrong = tmp_path / "wrong.dump"
        wrong.write_bytes(b"not a dump")
        with pytest.raises(EngineError, match="cannot import"):
            await open_engine(tmp_path / "data", _OPTIONS, dump=wrong)
        engine = await open_engine(tmp_path / "data", _OPTIONS)
        assert (await _ask(engine, "GET", "/indexes"))["total"] == 0
        engine.close()

    asyncio.run(run())


@pytest.mark.parametrize("version", [0x7FFF, 99])
def test_data_of_another_version_is_refused_in_clear_words(tmp_path: Path, version: int) -> None:
    asyncio.run(open_engine(tmp_path, _OPTIONS)).close()
    connection = sqlite3.connect(tmp_path / "engine.sqlite3")
    connection.execute(f"PRAGMA user_version={version}")
    connection.close()
    with pytest.raises(EngineError, match=f"schema version {version}, this program reads version 1 only"):
        asyncio.run(open_engine(tmp_path, _OPTIONS))


def test_what_waited_in_an_old_dump_is_done_after_its_import(tmp_path: Path) -> None:
    content, place = "66d3f12d-fcf3-4b53-88cb-407017373de7", "6be789f8-5fcb-4f74-8743-7bff79ea64b6"
    addition = {"primary_key": None, "method": "UpdateDocuments", "content_uuid": content}
    update = {
        "status": "enqueued",
        "updateId": 4,
        "meta": {"DocumentAddition": addition},
        "enqueuedAt": _WHEN,
    }
    files = {
        "metadata.json": {"dumpVersion": "V3"},
        "index_uuids/data.jsonl": {"uid": "m", "uuid": place},
        f"indexes/{place}/meta.json": {"settings": {"rankingRules": ["words", "sort"]}, "primary_key": "id"},
        f"indexes/{place}/documents.jsonl": {"id": 1, "title": "old"},
        "updates/data.jsonl": {"uuid": place, "update": update},
        f"updates/updates_files/{content}": {"id": 1, "year": 1999},
    }
    with tarfile.open(tmp_path / "v3.dump", "w:gz") as archive:
        for name, body in files.items():
            member = tarfile.TarInfo(f"./{name}")
            line = json.dumps(body).encode() + b"\n"
            member.size = len(line)
            archive.addfile(member, io.BytesIO(line))

    async def run() -> None:
        engine = await open_engine(tmp_path / "engine", _OPTIONS, dump=tmp_path / "v3.dump")
        await engine.drain()
        found = await _ask(engine, "GET", "/indexes/m/documents")
        assert found["results"] == [{"id": 1, "title": "old", "year": 1999}]
        assert await _ask(engine, "GET", "/indexes/m/settings/ranking-rules") == ["words", "sort"]
        (task,) = (await _ask(engine, "GET", "/tasks"))["results"]
        assert (task["status"], task["enqueuedAt"], task["uid"]) == ("succeeded", _WHEN, 0)
        engine.close()

    asyncio.run(run())

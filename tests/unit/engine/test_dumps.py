"""A dump holds everything that an engine started from it needs to answer the same."""

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from miroir.engine.embedded import Engine, Options, open_engine
from miroir.engine.errors import EngineError
from miroir.meili.http import HttpRequest

_OPTIONS = Options(master_key="masterKey")


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

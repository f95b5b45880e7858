"""The keys that let a proxy merge sorted listings are those the listing itself was sorted by."""

import asyncio
import json
from typing import Any

from miroir.engine.embedded import open_engine
from miroir.meili.http import HttpRequest


def test_a_proxy_is_told_what_placed_each_document() -> None:
    async def run() -> Any:
        engine = await open_engine(None)

        async def ask(method: str, path: str, body: object, **more: str) -> Any:
            headers = {"content-type": "application/json", **more}
            reply = await engine.edge.respond(
                HttpRequest(method, path, "", headers, json.dumps(body).encode())
            )
            await engine.drain()
            return json.loads(reply.body)

        documents = [{"id": 1, "n": [3, 1]}, {"id": 2, "n": "Zed", "_geo": {"lat": 1, "lng": 2}}, {"id": 3}]
        await ask("PATCH", "/indexes/a/settings", {"sortableAttributes": ["n", "_geo"]})
        await ask("POST", "/indexes/a/documents", documents)
        query = {"sort": ["n:desc", "_geoPoint(1,3):asc"], "fields": ["id"]}
        plain = await ask("POST", "/indexes/a/documents/fetch", query)
        shown = await ask("POST", "/indexes/a/documents/fetch", query, **{"meili-proxy-search": "true"})
        engine.close()
        assert plain["results"] == [{"id": 1}, {"id": 2}, {"id": 3}]
        return [document["_federation"]["weightedScoreValues"] for document in shown["results"]]

    first, second, third = asyncio.run(run())
    assert first == [{"sort": {"asc": False, "value": 3.0}}, {"geoSort": {"asc": True, "distance": None}}]
    assert second[0] == {"sort": {"asc": False, "value": "zed"}}
    assert 111_000 < second[1]["geoSort"]["distance"] < 111_300
    assert third == [{"sort": {"asc": False, "value": None}}, {"geoSort": {"asc": True, "distance": None}}]


def test_asking_for_some_ids_changes_nothing_in_the_index() -> None:
    async def run() -> list[Any]:
        engine = await open_engine(None)

        async def ask(method: str, path: str, body: object) -> Any:
            reply = await engine.edge.respond(
                HttpRequest(method, path, "", {"content-type": "application/json"}, json.dumps(body).encode())
            )
            await engine.drain()
            return json.loads(reply.body)

        await ask(
            "PATCH", "/indexes/a/settings", {"filterableAttributes": ["n"], "sortableAttributes": ["n"]}
        )
        await ask("POST", "/indexes/a/documents", [{"id": number, "n": number} for number in range(4)])
        answers = []
        for body in ({}, {"sort": ["n:desc"]}, {"filter": "n EXISTS"}):
            before = await ask("POST", "/indexes/a/documents/fetch", body)
            await ask("POST", "/indexes/a/documents/fetch", {**body, "ids": ["1"]})
            answers.append((before, await ask("POST", "/indexes/a/documents/fetch", body)))
        engine.close()
        return answers

    for before, after in asyncio.run(run()):
        assert before["total"] == 4
        assert before == after

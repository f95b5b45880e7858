"""Requests nobody would send: never a 5xx, never a hang, never a queue that stops.

1,000 requests in the test command; `MIROIR_FUZZ=20000` sends more, `MIROIR_SEED` picks another sequence.
"""

import asyncio
import json
import os
import random
from typing import Any
from urllib.parse import quote

from miroir.engine.embedded import Engine, Options, open_engine
from miroir.meili.experimental import FEATURES
from miroir.meili.http import HttpReply, HttpRequest
from miroir.meili.routes import ROUTES

_INDEXES = (*("movies",) * 12, "other", "ghost", "a b", "m" * 401, "")
_WORDS = (
    "",
    "a",
    "id",
    "title",
    "harbor glass",
    "genre",
    "*",
    "_geo",
    "_vectors",
    "é̩",
    "\x00",
    "'",
    '"',
    "日本語",
    "x" * 600,
)
_FILTERS = (
    "genre = a", "genre IN [a, b", "id > 1 AND NOT genre EXISTS", "_geoRadius(1, 2, 3)", "_geoBoundingBox([1,2],[3])",
    "((((", "genre = 'a' OR", "id 1 TO 10", "genre CONTAINS x", "genre STARTS WITH a", "_foreign(a, b = 1)", "NOT" * 60,
)  # fmt: skip
_SORTS = ("id:asc", "genre:desc", "_geoPoint(1,2):asc", "_geoPoint(1):asc", "id", ":asc", "genre:up")
_MEMBERS = (
    "q", "offset", "limit", "page", "hitsPerPage", "filter", "sort", "facets", "attributesToRetrieve", "attributesToCrop",
    "cropLength", "attributesToHighlight", "showMatchesPosition", "showRankingScore", "showRankingScoreDetails", "hybrid",
    "vector", "matchingStrategy", "attributesToSearchOn", "rankingScoreThreshold", "distinct", "locales", "queries",
    "federation", "federationOptions", "indexUid", "facetName", "facetQuery", "id", "embedder", "fields", "ids", "uid",
    "primaryKey", "actions", "indexes", "expiresAt", "url", "headers", "function", "context", "rename", "displayedAttributes",
    "searchableAttributes", "filterableAttributes", "sortableAttributes", "rankingRules", "stopWords", "synonyms",
    "distinctAttribute", "typoTolerance", "faceting", "pagination", "embedders", "searchCutoffMs", "localizedAttributes",
    "proximityPrecision", "dictionary", "separatorTokens", "retrieveVectors", "cropMarker", "facetsByIndex", "mergeFacets",
    "semanticRatio", "enabled", "minWordSizeForTypos", "maxValuesPerFacet", "maxTotalHits", "source", "dimensions", "title",
    "genre", "_geo", "_vectors", "lat", "lng", "name", "description", "metrics", "payloadSize", "unknown",
)  # fmt: skip
_TASK_PARAMS = ("uids", "statuses", "types", "reverse", "from")
#: 500s that the server gives as well (reference/meilisearch-api.md, sections 1.2, 2.3 and 4.4).
_KNOWN_500 = ("invalid type: ",)


_BUSY = [
    route
    for route in ROUTES
    if "search" in route.name
    or route.name.startswith(("documents.", "document."))
    or route.name == "settings.update"
]


class Fuzzer:
    """Random requests from a seed, half of them nearly right."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    def request(self) -> HttpRequest:
        chance = self._chance
        route = chance.choice(ROUTES if chance.random() < 0.4 else _BUSY)
        path = route.pattern
        for name, values in (
            ("index_uid", _INDEXES),
            ("document_id", ("1", "a", "fetch", "é", "..")),
            ("key", _WORDS[:4]),
        ):
            path = path.replace(f"{{{name}}}", quote(chance.choice(values), safe=""))
        for name in ("task_uid", "batch_uid"):
            path = path.replace(f"{{{name}}}", chance.choice(("0", "1", "7", "x", "99999999999")))
        path = path.split("{", 1)[0] + (
            chance.choice(("x", "4d5e6f70-3333-4c44-8d55-0000000000ff")) if "{" in path else ""
        )
        method = (
            route.method
            if chance.random() < 0.95
            else chance.choice(("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"))
        )
        headers = {
            "content-type": chance.choice(
                ("application/json",) * 12 + ("text/csv", "application/x-ndjson", "x")
            )
        }
        return HttpRequest(method, path or "/", self._query(), headers, self._body(path))

    def _query(self) -> str:
        chance = self._chance
        if chance.random() < 0.9:
            return ""
        pairs = [
            f"{chance.choice((*_MEMBERS, *_TASK_PARAMS))}={quote(str(self._scalar()))}"
            for _ in range(chance.randint(1, 4))
        ]
        return "&".join(pairs)

    def _body(self, path: str) -> bytes:
        chance = self._chance
        dice = chance.random()
        if dice < 0.05:
            return bytes(chance.randrange(256) for _ in range(chance.randrange(40)))
        if path.endswith("/documents") and dice < 0.8:
            value: Any = [self._document() for _ in range(chance.randint(0, 5))]
        elif path.endswith(("search", "/similar")) and dice < 0.9:
            value = self._search()
            if path.endswith("/similar"):
                value = {"id": chance.choice((1, "2", "x")), "embedder": chance.choice(("e", "e", "f"))}
            elif path.endswith("/facet-search"):
                value = {
                    **value,
                    "facetName": chance.choice(("genre", "id", "x")),
                    "facetQuery": chance.choice(_WORDS),
                }
            if path == "/multi-search":
                queries = [
                    {"indexUid": chance.choice(_INDEXES[:14]), **self._search()}
                    for _ in range(chance.randint(0, 3))
                ]
                value = {"queries": queries}
                if chance.random() < 0.5:
                    value["federation"] = {} if chance.random() < 0.5 else self._value(2)
        else:
            value = self._value(3)
        body = json.dumps(value).encode()
        return body[: chance.randrange(len(body) + 1)] if chance.random() < 0.05 else body

    def _document(self) -> Any:
        chance = self._chance
        document = {
            "id": chance.choice((1, "1", 2, 3, "x-y", -1)),
            "title": chance.choice(_WORDS),
            "genre": self._value(2),
        }
        if chance.random() < 0.3:
            document["_geo"] = chance.choice(({"lat": 1, "lng": 2}, {"lat": "a"}, 3, None))
        if chance.random() < 0.2:
            document["_vectors"] = chance.choice(({"e": [1, 2]}, {"e": None}, 1, {"e": {"regenerate": True}}))
        if chance.random() < 0.05:
            document["id"] = self._value(1)
        return document

    def _search(self) -> dict[str, Any]:
        chance = self._chance
        query: dict[str, Any] = {"q": " ".join(chance.choices(_WORDS, k=chance.randint(0, 4)))}
        if chance.random() < 0.2:
            query["hybrid"] = {"embedder": "e", "semanticRatio": chance.choice((0, 0.5, 1))}
            query["vector"] = chance.choice(([1, 2], [0.5, -1], [1], [0, 0]))
        for name, values in (("filter", _FILTERS), ("sort", _SORTS)):
            if chance.random() < 0.15:
                value = chance.choice(values)
                query[name] = [value] if name == "sort" or chance.random() < 0.5 else value
        for _ in range(chance.choice((0, 0, 0, 0, 1, 2))):
            query[chance.choice(_MEMBERS)] = self._value(2)
        if chance.random() < 0.3:
            query["facets"] = ["*"]
            query["attributesToHighlight"] = ["*"]
            query["attributesToCrop"] = ["*:2"]
            query["showMatchesPosition"] = query["showRankingScoreDetails"] = True
        return query

    def _scalar(self) -> Any:
        chance = self._chance
        return chance.choice(
            (None, True, False, 0, 1, -1, 3, 20, 2**31, 2**64, 2**70, 0.5, 1.0, -2.5, 1e308, "id:asc", "all", "frequency",
             chance.choice(_WORDS), chance.choice(_FILTERS))
        )  # fmt: skip

    def _value(self, depth: int) -> Any:
        chance = self._chance
        dice = chance.random()
        if depth == 0 or dice < 0.4:
            return self._scalar()
        if dice < 0.65:
            return [self._value(depth - 1) for _ in range(chance.randint(0, 3))]
        return {chance.choice(_MEMBERS): self._value(depth - 1) for _ in range(chance.randint(0, 4))}


async def _prepare(engine: Engine) -> None:
    def request(method: str, path: str, body: object) -> HttpRequest:
        return HttpRequest(method, path, "", {"content-type": "application/json"}, json.dumps(body).encode())

    documents = [
        {
            "id": n,
            "title": f"harbor of glass {n}",
            "genre": ["a", "b"][n % 2],
            "_geo": {"lat": n, "lng": n},
            "_vectors": {"e": [n, 1]},
        }
        for n in range(9)
    ]
    embedders = {"e": {"source": "userProvided", "dimensions": 2}}
    settings = {
        "embedders": embedders,
        "filterableAttributes": ["genre", "id", "_geo"],
        "sortableAttributes": ["id", "genre", "_geo"],
    }
    for step in (
        request("PATCH", "/indexes/movies/settings", settings),
        request("POST", "/indexes/movies/documents", documents),
        request("POST", "/indexes/other/documents", documents[:3]),
    ):
        assert (await engine.edge.respond(step)).status == 202
    await engine.drain()


def _is_known(reply: HttpReply) -> bool:
    return reply.status == 500 and json.loads(reply.body)["message"].startswith(_KNOWN_500)


def test_no_request_breaks_the_engine() -> None:
    seed = int(os.environ.get("MIROIR_SEED", "1"))
    fuzzer = Fuzzer(seed)
    broken: list[str] = []

    async def run() -> None:
        crashes: list[str] = []
        engine = await open_engine(
            None,
            Options(features=tuple(FEATURES), on_error=lambda request, error: crashes.append(repr(error))),
        )
        for number in range(int(os.environ.get("MIROIR_FUZZ", "1000"))):
            if number % 100 == 0:  # what was deleted comes back
                await _prepare(engine)
            request = fuzzer.request()
            async with asyncio.timeout(10):
                reply = await engine.edge.respond(request)
                if number % 10 == 0:
                    await engine.drain()
            if reply.status >= 500 and reply.status != 501 and not _is_known(reply):
                broken.append(
                    f"{request.method} {request.path}?{request.query} {request.body[:300]!r}: {crashes[-1:]}"
                )
        await engine.drain()
        for task in engine.state.tasks():
            assert task.status in ("succeeded", "failed", "canceled")
            if task.error is None or task.error["code"] != "internal":
                continue
            # An addition with `_vectors` that are no object, and what was batched with it: the one `internal`
            # error that is the server's own.
            writes = task.kind in ("documentAdditionOrUpdate", "documentDeletion")
            if not (writes and ", expected a map at line 1 column " in task.error["message"]):
                broken.append(f"task {task.kind}: {task.error['message']}")
        engine.close()

    asyncio.run(run())
    assert not broken, f"seed {seed}, {len(broken)} broken: " + "\n".join(broken[:10])

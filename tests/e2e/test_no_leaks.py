"""Nothing internal reaches a client: every route is asked, well and badly, and every answer is searched.

Random questions of every kind are asked too, by default and in an exact index. With MIROIR_CONTRACT set to a folder of
recorded transcripts (*.jsonl), their requests are sent as well; with MIROIR_PARITY set to a folder of data sets, settings
and queries (indexes.json, data/, queries/), all of its queries over a part of its documents.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest

from miroir.meili.http import HttpReply, HttpRequest
from tests.support import sim_queries
from tests.support.leaks import Leaks
from tests.support.moving import task_end
from tests.support.sim_cluster import NODE_KEY, Shape, SimCluster, sim_cluster
from tests.support.virtual_time import run_virtual

EMBEDDER = {"source": "userProvided", "dimensions": 2}
SETTINGS = {
    "filterableAttributes": ["kind", "tags", "_geo", {"attributePatterns": ["price*"]}],
    "sortableAttributes": ["price", "_geo"],
    "embedders": {"e": EMBEDDER},
}
WILD = {
    "attributesToRetrieve": ["*", "_miroir_seq", "_miroir_shard"],
    "attributesToHighlight": ["*"],
    "attributesToCrop": ["*"],
    "showMatchesPosition": True,
    "showRankingScore": True,
    "showRankingScoreDetails": True,
    "retrieveVectors": True,
    "facets": ["*"],
}


def documents() -> list[dict[str, Any]]:
    return [
        {
            "id": n, "title": f"word{n} common", "kind": "ab"[n % 2], "tags": ["x", "y"][: n % 3], "price": n,
            "_geo": {"lat": n, "lng": n}, "_vectors": {"e": [n / 30, 1.0]},
        }
        for n in range(30)
    ]  # fmt: skip


def searches() -> list[dict[str, Any]]:
    """Good ones, and every refusal that lists attributes."""
    return [
        {"q": "common", **WILD},
        {"q": "", **WILD, "limit": 3, "offset": 2},
        {"q": "common", "hybrid": {"embedder": "e", "semanticRatio": 0.5}, "vector": [1, 1], **WILD},
        {"q": "common", "distinct": "kind", "page": 1, "hitsPerPage": 2, **WILD},
        {"q": "common", "sort": ["_geoPoint(1,2):asc", "price:desc"], **WILD},
        {"filter": "nope = 1"},
        {"filter": "kind > 1"},
        {"filter": "_geoRadius(1,2,3) AND nope EXISTS"},
        {"filter": "kind ="},
        {"sort": ["nope:asc"]},
        {"sort": ["title:desc"]},
        {"facets": ["nope"]},
        {"distinct": "nope"},
        {"attributesToSearchOn": ["nope"], "q": "word1"},
        {"hybrid": {"embedder": "nope"}, "q": "x"},
        {"vector": [1], "hybrid": {"embedder": "e"}},
        {"q": "common", "rankingScoreThreshold": 0.99999},
        {"filter": "_miroir_shard EXISTS"},
        {"sort": ["_miroir_seq:asc"]},
        {"distinct": "_miroir_seq"},
        {"facets": ["_miroir_shard"]},
    ]


def requests() -> list[tuple[str, str, Any]]:
    """(method, path, body) for every route."""
    index = "/indexes/m"
    found: list[tuple[str, str, Any]] = [("POST", f"{index}/search", body) for body in searches()]
    found += [("POST", "/multi-search", {"queries": [{"indexUid": "m", **body}]}) for body in searches()]
    for body in searches():
        bare = {
            name: v
            for name, v in body.items()
            if name not in ("facets", "limit", "offset", "page", "hitsPerPage")
        }
        federation = {"facetsByIndex": {"m": body.get("facets", ["*"])}, "mergeFacets": {}}
        query = {"indexUid": "m", **bare}
        other = {"indexUid": "m", "q": "", "sort": ["price:desc"]}
        found.append(("POST", "/multi-search", {"federation": federation, "queries": [query]}))
        found.append(("POST", "/multi-search", {"federation": {}, "queries": [query, other]}))
    for name in ("kind", "tags", "price", "title", "nope", "*", "_miroir_shard"):
        found.append(("POST", f"{index}/facet-search", {"facetName": name}))
    for body in ({"id": 3, "embedder": "e"}, {"id": 3, "embedder": "nope"}, {"id": 99, "embedder": "e"}):
        found.append(
            ("POST", f"{index}/similar", {**body, "showRankingScoreDetails": True, "retrieveVectors": True})
        )
    for body in ({}, {"fields": ["*"]}, {"filter": "nope = 1"}, {"sort": ["nope:asc"]}, {"retrieveVectors": True},
                 {"ids": [1, 2, 77]}, {"sort": ["price:desc"], "limit": 2}, {"filter": "_miroir_seq EXISTS"}):  # fmt: skip
        found.append(("POST", f"{index}/documents/fetch", body))
    for path in ("", "/settings", "/stats?showInternalDatabaseSizes=true", "/documents", "/documents/3", "/documents/99",
                 "/documents/3?retrieveVectors=true", "/settings/ranking-rules", "/settings/filterable-attributes",
                 "/settings/sortable-attributes", "/settings/displayed-attributes", "/settings/faceting",
                 "/settings/embedders", "/settings/search-cutoff-ms", "/search?q=common&facets=*"):  # fmt: skip
        found.append(("GET", f"{index}{path}", None))
    for path in ("/", "/health", "/version", "/stats", "/indexes", "/tasks", "/batches", "/keys", "/webhooks", "/metrics",
                 "/experimental-features", "/network", "/chats", "/nowhere", "/indexes/ghost", "/tasks/0", "/batches/0",
                 "/_miroir/ready", "/_miroir/topology"):  # fmt: skip
        found.append(("GET", path, None))
    found.append(("POST", f"{index}/fields", {"limit": 1000}))
    found.append(("POST", f"{index}/fields", {"filter": {"filterable": True}}))
    return found


def writes() -> list[tuple[str, str, Any]]:
    """Writes whose tasks fail, or tell much."""
    index = "/indexes/m"
    return [
        ("POST", f"{index}/documents", [{"id": 1, "_miroir_x": 1}]),
        ("POST", f"{index}/documents", [{"id": "no good"}]),
        ("POST", f"{index}/documents", [{"nothing": 1}]),
        ("POST", f"{index}/documents", [{"id": 50, "_geo": "x"}]),
        ("POST", f"{index}/documents", [{"id": 50, "_vectors": {"e": [1]}}]),
        ("POST", f"{index}/documents", [{"id": 50}]),
        ("POST", f"{index}/documents/delete", {"filter": "nope = 1"}),
        ("POST", f"{index}/documents/delete", {"filter": "_miroir_shard EXISTS"}),
        ("POST", f"{index}/documents/edit", {"function": "doc.keys = doc.keys()"}),
        ("PATCH", f"{index}/settings", {"rankingRules": ["_miroir_seq:desc"]}),
        ("PATCH", f"{index}/settings", {"rankingRules": ["words", "sort"], "searchableAttributes": ["nope"]}),
        ("PATCH", f"{index}/settings", {"embedders": {"e": {"dimensions": 3}}}),
        ("PATCH", index, {"primaryKey": "kind"}),
        ("PATCH", index, {"uid": "renamed"}),
        ("POST", "/swap-indexes", [{"indexes": ["renamed", "ghost"]}]),
        ("PATCH", "/indexes/renamed", {"uid": "m"}),
        ("POST", f"{index}/compact", None),
        ("POST", "/snapshots", None),
        ("POST", "/indexes", {"uid": "m"}),
        ("DELETE", "/indexes/ghost", None),
    ]


async def send(
    cluster: SimCluster, method: str, path: str, body: bytes | None, headers: dict[str, str]
) -> HttpReply:
    route, _, query = path.partition("?")
    return await cluster.orchestrator.front.respond(HttpRequest(method, route, query, headers, body or b""))


class Client:
    """Asks a cluster, and searches every answer; a task is waited for and looked at."""

    def __init__(self, cluster: SimCluster, leaks: Leaks) -> None:
        self._cluster = cluster
        self._leaks = leaks

    async def __call__(self, method: str, path: str, body: Any = None) -> Any:
        sent = None if body is None else orjson.dumps(body)
        headers = {} if body is None else {"content-type": "application/json"}
        reply = await send(self._cluster, method, path, sent, {**headers, "meili-include-metadata": "true"})
        self._leaks.look(f"{method} {path} {(sent or b'').decode()}", reply.status, reply.headers, reply.body)
        if not reply.body or not reply.content_type or "json" not in reply.content_type:
            return None
        answer = orjson.loads(reply.body)
        if isinstance(answer, dict) and "taskUid" in answer:
            await task_end(self._cluster, answer["taskUid"])
            await self("GET", f"/tasks/{answer['taskUid']}")
        return answer


async def crawl(cluster: SimCluster, leaks: Leaks) -> None:
    ask = Client(cluster, leaks)
    await ask("PATCH", "/experimental-features", {"editDocumentsByFunction": True, "metrics": True})
    await ask("PATCH", "/indexes/m/settings", SETTINGS)
    await ask("POST", "/indexes/m/documents", documents())
    for request in [*requests(), *writes(), *requests()]:
        await ask(*request)
    await ask("PATCH", "/indexes/m/settings", {"displayedAttributes": ["id"]})
    for request in requests():
        await ask(*request)
    node = next(iter(cluster.nodes.values()))
    await node.crash()
    for request in requests():
        await ask(*request)
    await ask("POST", "/indexes/m/documents", [{"id": 51}])


async def question(cluster: SimCluster, leaks: Leaks, rng: random.Random, count: int) -> None:
    """Random searches of every kind over random documents; what a query or document says may come back."""
    ask = Client(cluster, leaks)
    for index in sim_queries.INDEXES:
        await ask("PATCH", f"/indexes/{index}/settings", sim_queries.first_settings(rng, vectors=True))
        documents = [sim_queries.document(rng, vectors=True) for _ in range(25)]
        await ask("POST", f"/indexes/{index}/documents", documents)
    for _ in range(count):
        await ask(*sim_queries.question(rng, vectors=True))


async def compare(cluster: SimCluster, leaks: Leaks, folder: Path, documents_max: int = 400) -> None:
    """The queries of a parity suite, over the first documents of its data sets."""
    ask = Client(cluster, leaks)
    for uid, index in json.loads((folder / "indexes.json").read_text()).items():
        await ask("PATCH", f"/indexes/{uid}/settings", index["settings"])
        lines = gzip.decompress((folder / "data" / f"{uid}.ndjson.gz").read_bytes()).splitlines()
        documents = [json.loads(line) for line in lines[:documents_max]]
        await ask("POST", f"/indexes/{uid}/documents?primaryKey={index['primaryKey']}", documents)
    for query in asked(folder):
        await ask(query["method"], query["path"], query.get("body"))


def asked(folder: Path) -> Iterator[dict[str, Any]]:
    """Every query of a parity suite."""
    for queries in sorted(folder.glob("queries/*.jsonl")):
        yield from map(json.loads, queries.read_text().splitlines())


def recorded(folder: Path) -> Iterator[dict[str, Any]]:
    """The request of every step of every transcript."""
    for transcript in sorted(folder.glob("*.jsonl")):
        for line in transcript.read_text().splitlines()[1:]:
            yield json.loads(line)["request"]


async def replay(cluster: SimCluster, leaks: Leaks, folder: Path) -> None:
    """The requests of recorded transcripts, without comparing: variables stay as they are written."""
    for step in recorded(folder):
        body = json.dumps(step["json"]).encode() if "json" in step else None
        if "raw" in step:
            body = step["raw"].encode()
        elif "raw_base64" in step:
            body = base64.b64decode(step["raw_base64"])
        query = urlencode(step.get("query") or {})
        path = re.sub(r"\{\{[^}]*\}\}", "0", step["path"]) + (f"?{query}" if query else "")
        headers = {name.lower(): value for name, value in (step.get("headers") or {}).items()}
        reply = await send(cluster, step["method"], path, body, headers)
        asked = f"{step['method']} {path} {(body or b'').decode(errors='replace')}"
        leaks.look(asked, reply.status, reply.headers, reply.body)
        if reply.status == 202:
            await task_end(cluster, orjson.loads(reply.body)["taskUid"])


def test_no_answer_tells_anything_internal() -> None:
    contract, parity = os.environ.get("MIROIR_CONTRACT"), os.environ.get("MIROIR_PARITY")

    async def story() -> None:
        async with sim_cluster(Shape(nodes=3, replication_factor=2, shards=8), random.Random(7)) as cluster:
            addresses = [f"{node}:7700" for node in cluster.nodes]
            leaks = Leaks([NODE_KEY, *cluster.nodes, *addresses])
            await crawl(cluster, leaks)
            assert leaks.answers > 400
            await cluster.nodes["n0-0"].start()
            if contract is not None:
                await replay(cluster, leaks, Path(contract))
            if parity is not None:
                await compare(cluster, leaks, Path(parity))
            assert not leaks.found, "\n".join(leaks.found)

    run_virtual(story())


@pytest.mark.parametrize("exact", [False, True])
def test_no_answer_to_any_search_tells_anything_internal(exact: bool) -> None:
    async def story() -> None:
        shape = Shape(nodes=3, replication_factor=2, shards=8, exact=exact)
        async with sim_cluster(shape, random.Random(8)) as cluster:
            leaks = Leaks([NODE_KEY, *cluster.nodes, *(f"{node}:7700" for node in cluster.nodes)])
            await question(cluster, leaks, random.Random(9), count=150)
            assert leaks.answers > 150
            assert not leaks.found, "\n".join(leaks.found)

    run_virtual(story())


def test_the_crawler_sees_what_it_looks_for() -> None:
    leaks = Leaks(["node-7"])
    for body in (b'{"_miroir_seq":1}', b"miroir-000012", "\u0703".encode(), b'"\\u070A"', b"at node-7 of 9"):
        leaks.look("GET /", 200, {}, body)
    leaks.look("GET /", 200, {"x-node": "node-7"}, b"")
    assert len(leaks.found) == 6
    leaks.look('POST / {"_miroir_seq":1}', 400, {}, b"The field `_miroir` is reserved")
    leaks.look("GET /", 200, {}, b"miroir-12 nodes")
    assert len(leaks.found) == 6

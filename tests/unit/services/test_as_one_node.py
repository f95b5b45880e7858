"""Answers over shards that need more than a merge: those of one engine that holds everything."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from dataclasses import replace

import orjson
import pytest

from miroir.api.backend import OrchestratorBackend
from miroir.api.backend_reads import read_handlers
from miroir.engine.embedded import Options, open_engine
from miroir.meili.edge import Edge
from miroir.meili.http import HttpRequest
from miroir.services.reads.reads import Reads
from tests.support.virtual_time import run_virtual
from tests.unit.services.small_cluster import LIMITS, SmallCluster

SETTINGS = {
    "filterableAttributes": ["tags", "maker", "n"],
    "sortableAttributes": ["n"],
    "faceting": {"sortFacetValuesBy": {"*": "alpha", "maker": "count"}},
}
WORDS = ["alpha", "beta", "gamma", "delta", "alphabeta", "betas"]
MAKERS = ["Acme", "ACME", "acme ", "Bolt", "bolt"]


def documents(rng, count=40):
    return [
        {
            "id": number,
            "text": " ".join(rng.choices(WORDS, k=rng.randint(1, 4))),
            "tags": rng.sample(["a", "b", "c", "d", "e"], rng.randint(0, 3)),
            "maker": rng.choice(MAKERS),
            "n": rng.randrange(5),
        }
        for number in range(count)
    ]


def questions(rng):
    def q():
        return " ".join(rng.choices([*WORDS, "bet", "alpah"], k=rng.randint(1, 3)))

    shown = {"showRankingScore": True, "showRankingScoreDetails": True, "limit": rng.randint(1, 8)}
    yield "/indexes/m/search", {"distinct": "tags", "sort": ["n:asc"], **shown}
    yield "/indexes/m/search", {"q": q(), "distinct": "tags", "facets": ["maker"], **shown}
    yield "/indexes/m/search", {"q": q(), "distinct": "maker", "facets": ["tags", "maker"], **shown}
    yield "/indexes/m/search", {"q": q(), "facets": ["*"], **shown}
    yield "/indexes/m/search", {"q": q(), "matchingStrategy": "frequency", "facets": ["n"], **shown}
    long = " ".join(rng.choices([*WORDS, "alpha b", "gam ma", "nothing", '"beta"'], k=rng.randint(4, 7)))
    yield "/indexes/m/search", {"q": long, "matchingStrategy": "frequency", **shown}
    sort = ["n:desc"] if rng.random() < 0.5 else []
    yield "/indexes/m/search", {"q": long, "matchingStrategy": "frequency", "sort": sort, **shown}
    yield "/indexes/m/facet-search", {"facetName": "maker", "facetQuery": rng.choice(["", "b", "acm"])}
    yield "/indexes/m/facet-search", {"facetName": "maker", "q": q(), "filter": "n > 1"}
    marked = {"attributesToHighlight": ["*"], "showMatchesPosition": True}
    yield "/indexes/m/search", {"q": f"gamna {q()} betta", **marked, **shown}
    many = [{"indexUid": "m", "q": q()} for _ in range(3)]
    federation = {"limit": rng.randint(1, 6), "facetsByIndex": {"m": ["maker", "n"]}}
    yield "/multi-search", {"federation": federation, "queries": many}
    yield "/multi-search", {"federation": {**federation, "distinct": "maker"}, "queries": many}
    rare = [{"indexUid": "m", "q": text, "matchingStrategy": "frequency"} for text in (long, q())]
    yield "/multi-search", {"federation": federation, "queries": rare}


async def ask(edge, path, body):
    headers = {"content-type": "application/json"}
    reply = await edge.respond(HttpRequest("POST", path, "", headers, orjson.dumps(body)))
    answer = orjson.loads(reply.body)
    for volatile in ("processingTimeMs", "requestUid"):
        answer.pop(volatile, None)
    return answer


def judged(answer, body, distinct):
    """What must be equal: all; but duplicates of several values count, and spell facets, as far as a node looked."""
    if body.get("distinct") == "tags":
        return answer["hits"]
    for hit in answer["hits"] if body.get("matchingStrategy") == "frequency" else ():
        hit["_rankingScore"] = round(hit["_rankingScore"], 12)  # made of others, not of whole numbers
    if distinct or "distinct" in body or "federation" in body:
        return plain(answer)
    return answer


def plain(value):
    """Without the spelling of keys and values."""
    if isinstance(value, dict):
        return {key.strip().lower(): plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value.strip().lower() if isinstance(value, str) else value


@pytest.mark.parametrize("distinct", [None, "maker"])
@pytest.mark.parametrize("seed", range(4))
def test_shards_answer_as_one(tmp_path, seed, distinct):
    rng = random.Random(f"{seed} {distinct}")
    cluster = SmallCluster(tmp_path / "miroir.db", seed=seed, limits=replace(LIMITS, exact=True))
    stored, settings = documents(rng), {**SETTINGS, "distinctAttribute": distinct}

    async def main():
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(cluster.running_nodes())
            await stack.enter_async_context(cluster.orchestrator())
            await cluster.live()
            one = await open_engine(None, Options(now_ns=cluster.now_ns))
            stack.callback(one.close)
            loop = asyncio.create_task(one.run())
            reads = Reads(cluster.writes.cluster.snapshot, cluster.transport, request_uid=lambda: "")
            many = Edge(
                OrchestratorBackend(
                    read_handlers(reads),
                    {},
                    master_key=None,
                    keys=dict,
                    now_ns=cluster.now_ns,
                    features=dict,
                )
            )
            for method, path, body in (
                ("PATCH", "/indexes/m/settings", settings),
                ("POST", "/indexes/m/documents", stored),
            ):
                await cluster.done(method, path, body)
                headers = {"content-type": "application/json"}
                await one.edge.respond(HttpRequest(method, path, "", headers, orjson.dumps(body)))
            await asyncio.sleep(60)
            for path, body in questions(rng):
                ours, theirs = await ask(many, path, body), await ask(one.edge, path, body)
                assert judged(ours, body, distinct) == judged(theirs, body, distinct), (path, body)
            loop.cancel()

    run_virtual(main())

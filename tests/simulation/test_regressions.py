"""What random runs once found, as short stories without faults."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from miroir.core.reads.merging import Hit, merge
from miroir.meili.http import HttpRequest
from tests.support.sim_checks import Oracle, assert_same_answers
from tests.support.sim_cluster import NODE_KEY, Reply, Shape, SimCluster, sim_cluster
from tests.support.virtual_time import run_virtual

Story = Callable[[SimCluster, Oracle], Coroutine[Any, Any, None]]


async def _tell(story: Story) -> None:
    async with sim_cluster(Shape(nodes=2, replication_factor=2, shards=4), random.Random(1)) as cluster:
        oracle = await Oracle.open(cluster.now_ns)
        try:
            await story(cluster, oracle)
        finally:
            oracle.close()


async def _both(cluster: SimCluster, oracle: Oracle, method: str, path: str, body: Any = None) -> Reply:
    ours = await cluster.ask(method, path, body)
    await oracle.ask(method, path, body)
    return ours


async def _same_tasks(cluster: SimCluster, oracle: Oracle) -> None:
    await cluster.quiet()
    await assert_same_answers(cluster, oracle, [("GET", "/tasks", None)])


async def filter_deletion_on_an_empty_index(cluster: SimCluster, oracle: Oracle) -> None:
    await _both(cluster, oracle, "POST", "/indexes", {"uid": "films"})
    await _both(cluster, oracle, "POST", "/indexes/films/documents/delete", {"filter": "genre = war"})
    await _same_tasks(cluster, oracle)


async def swaps_that_end_together(cluster: SimCluster, oracle: Oracle) -> None:
    for uid in ("films", "books"):
        await _both(cluster, oracle, "POST", "/indexes", {"uid": uid})
    for _ in range(3):
        await _both(cluster, oracle, "POST", "/swap-indexes", [{"indexes": ["films", "books"]}])
    await _same_tasks(cluster, oracle)


async def distinct_by_what_cannot_be_filtered(cluster: SimCluster, oracle: Oracle) -> None:
    documents = [{"id": n, "genre": f"g{n % 3}"} for n in range(20)]
    await _both(cluster, oracle, "PATCH", "/indexes/films/settings", {"distinctAttribute": "genre"})
    await _both(cluster, oracle, "POST", "/indexes/films/documents", documents)
    await cluster.quiet()
    bodies: list[Any] = [{}, {"page": 1}, {"page": 1, "hitsPerPage": 0}]
    await assert_same_answers(cluster, oracle, [("POST", "/indexes/films/search", body) for body in bodies])


async def distinct_by_what_is_empty_in_some_documents(cluster: SimCluster, oracle: Oracle) -> None:
    values: list[Any] = ["", "a", ["", "b"], " ", None, ["a", ""], [[" "]], "b", [], ""]
    documents = [
        {"id": n, "title": "amber", "kind": values[n % 10], "_vectors": {"e": [n % 7 - 3, n % 3]}}
        for n in range(30)
    ]
    settings = {
        "filterableAttributes": ["kind", "id"],
        "embedders": {"e": {"source": "userProvided", "dimensions": 2}},
    }
    await _both(cluster, oracle, "PATCH", "/indexes/films/settings", settings)
    await _both(cluster, oracle, "POST", "/indexes/films/documents", documents)
    await cluster.quiet()
    hybrid = {"q": "amber", "hybrid": {"embedder": "e", "semanticRatio": 0.3}, "vector": [1, 0.5]}
    pages: list[Any] = [
        {"limit": 2},
        {"limit": 20},
        {"page": 2, "hitsPerPage": 3},
        {"page": 1, "hitsPerPage": 20},
    ]
    named = [
        {**page, **more, "distinct": "kind", "facets": ["kind"]} for page in pages for more in ({}, hybrid)
    ]
    await assert_same_answers(cluster, oracle, [("POST", "/indexes/films/search", body) for body in named])
    await _both(cluster, oracle, "PATCH", "/indexes/films/settings", {"distinctAttribute": "kind"})
    await cluster.quiet()
    await assert_same_answers(cluster, oracle, [("POST", "/indexes/films/search", body) for body in pages])


async def an_embedder_that_is_not_used(cluster: SimCluster, oracle: Oracle) -> None:
    await _both(cluster, oracle, "POST", "/indexes/films/documents", [{"id": 1, "title": "amber"}])
    await cluster.quiet()
    body = {"q": "amber", "hybrid": {"embedder": "ghost", "semanticRatio": 0}}
    await assert_same_answers(cluster, oracle, [("POST", "/indexes/films/search", body)])


async def all_facets_where_nothing_is_filterable(cluster: SimCluster, oracle: Oracle) -> None:
    await _both(cluster, oracle, "POST", "/indexes/films/documents", [{"id": 1, "title": "amber"}])
    await cluster.quiet()
    await assert_same_answers(cluster, oracle, [("POST", "/indexes/films/search", {"facets": ["*"]})])


async def facets_of_documents_that_were_not_kept(cluster: SimCluster, oracle: Oracle) -> None:
    await _both(
        cluster, oracle, "PATCH", "/indexes/films/settings", {"filterableAttributes": ["genre", "year"]}
    )
    left_out = "/indexes/films/documents?primaryKey=id&skipCreation=true"
    await _both(cluster, oracle, "POST", left_out, [{"id": 1, "genre": "war"}])
    replaced = [{"id": 2, "year": 2001}, {"id": 2, "title": "amber"}]
    await _both(cluster, oracle, "POST", "/indexes/films/documents", replaced)
    await cluster.quiet()
    bodies: list[Any] = [{"facets": ["*"]}, {"filter": "genre != war"}, {"filter": "year IS NULL"}]
    await assert_same_answers(cluster, oracle, [("POST", "/indexes/films/search", body) for body in bodies])


async def a_request_that_comes_after_the_drop(cluster: SimCluster, _: Oracle) -> None:
    """A late duplicate makes the index anew on a node: it is swept."""
    await cluster.ask("POST", "/indexes/films/documents", [{"id": 1}])
    await cluster.ask("DELETE", "/indexes/films")
    await cluster.quiet()
    headers = {"authorization": f"Bearer {NODE_KEY}", "content-type": "application/json"}
    late = HttpRequest("POST", "/indexes/miroir-000000/documents", "primaryKey=id", headers, b'[{"id": 1}]')
    node = cluster.nodes["n0-0"]
    assert (await node.respond(late)).status == 202
    await asyncio.sleep(1)
    assert "miroir-000000" in str(await node.ask("GET", "/indexes"))
    await asyncio.sleep(30)
    assert "miroir-000000" not in str(await node.ask("GET", "/indexes"))


@pytest.mark.parametrize(
    "story",
    [
        filter_deletion_on_an_empty_index,
        swaps_that_end_together,
        distinct_by_what_cannot_be_filtered,
        distinct_by_what_is_empty_in_some_documents,
        an_embedder_that_is_not_used,
        all_facets_where_nothing_is_filterable,
        facets_of_documents_that_were_not_kept,
        a_request_that_comes_after_the_drop,
    ],
    ids=lambda story: story.__name__,
)
def test_it_stays_mended(story: Story) -> None:
    run_virtual(_tell(story))


def test_lists_ranked_by_different_rules_still_merge() -> None:
    """While new ranking rules roll out, shards answer by old and new ones."""
    one, other = Hit({}, {}, 0.4, 0), Hit({}, {}, 0.9, 1)
    one.key, other.key = (0, "x"), ("y",)
    assert merge([[one], [other]]) == [other, one]

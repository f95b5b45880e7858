"""Settings that somebody changes directly on a node are set right; those that are right are left alone."""

from __future__ import annotations

import asyncio
import dataclasses

import orjson
import pytest

from miroir.core.writes.node_settings import node_settings
from miroir.core.writes.settings_drift import drifted
from miroir.meili import settings
from miroir.meili.http import HttpRequest
from tests.unit.services.small_cluster import LIMITS
from tests.unit.services.test_writes import docs, in_cluster


async def on_node(c, name, method, path, value=None):
    body = b"" if value is None else orjson.dumps(value)
    headers = {"content-type": "application/json"} if value is not None else {}
    reply = await c.engines[name].edge.respond(HttpRequest(method, path, "", headers, body))
    return orjson.loads(reply.body)


@pytest.mark.parametrize("keep_done_s", [0.0, 60.0])
def test_a_node_changed_directly_gets_our_settings_back(tmp_path, keep_done_s):
    async def story(c):
        client = {"sortableAttributes": ["id"], "stopWords": ["of"], "rankingRules": ["words", "sort"]}
        await c.done("PATCH", "/indexes/m/settings", client)
        await c.done("POST", "/indexes/m/documents", docs(*range(20)))
        await asyncio.sleep(120)  # the settings op may have left the log by now
        physical = c.writes.cluster.snapshot().indexes["m"].physical_uid
        before = await on_node(c, "a", "GET", f"/indexes/{physical}/settings")
        changed = {"rankingRules": ["typo"], "stopWords": ["x"], "sortableAttributes": []}
        await on_node(c, "a", "PATCH", f"/indexes/{physical}/settings", changed)
        await asyncio.sleep(20)
        assert await on_node(c, "a", "GET", f"/indexes/{physical}/settings") == before
        shown = await c.get("/indexes/m/settings")
        assert {key: shown[key] for key in client} == client

    in_cluster(tmp_path, story, limits=dataclasses.replace(LIMITS, keep_done_s=keep_done_s))


def test_nodes_in_order_get_no_settings_twice(tmp_path):
    async def story(c):
        await c.done("PATCH", "/indexes/m/settings", {"sortableAttributes": ["b", "a"]})
        await c.done("POST", "/indexes/m/documents", docs(*range(5)))
        await asyncio.sleep(300)
        for name in c.names:
            tasks = await on_node(c, name, "GET", "/tasks")
            assert sum(task["type"] == "settingsUpdate" for task in tasks["results"]) <= 2

    in_cluster(tmp_path, story)


def test_secrets_and_order_are_no_drift():
    wanted = node_settings(
        {
            **settings.defaults(),
            "stopWords": ["b", "a"],
            "embedders": {"e": {"source": "openAi", "apiKey": "sk-1234567890", "model": "m"}},
        }
    )
    shown = settings.view({**settings.defaults(), **wanted})
    assert drifted({**shown, "stopWords": wanted["stopWords"][::-1]}, wanted) == []
    assert drifted({**shown, "stopWords": ["a"]}, wanted) == ["stopWords"]
    assert drifted({**shown, "rankingRules": shown["rankingRules"][::-1]}, wanted) == ["rankingRules"]

"""Settings that somebody changes directly on a node are set right; those that are right are left alone."""

from __future__ import annotations

import asyncio
import dataclasses
from types import SimpleNamespace

import orjson
import pytest

from miroir.core.writes.lanes import Lane
from miroir.core.writes.node_settings import node_settings
from miroir.core.writes.settings_drift import drifted
from miroir.meili import settings
from miroir.meili.http import HttpRequest
from miroir.services.writes.drift import Drift
from miroir.services.writes.tracks import Bell, Track, Tracks
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


class Looking(Drift):
    """Notes what it looks at; lanes whose index has an odd number are never at rest."""

    def __init__(self, tracks):
        limits = dataclasses.replace(LIMITS, drift_interval_s=60.0, poll_slow_s=1.0)
        super().__init__(None, None, SimpleNamespace(tracks=tracks), limits, is_changing=lambda _: False)
        self.asked, self.looked = 0, []

    def _is_calm(self, track):
        self.asked += 1
        return int(track.physical) % 2 == 0

    async def _look(self, track):
        self.looked.append((track.physical, track.node))


def test_thousands_of_lanes_are_looked_at_a_few_at_a_time():
    tracks = Tracks()
    for number in range(10_000):
        tracks.add(Track("n", str(number), Lane(applied=-1), Bell(lambda: None)))
    drift = Looking(tracks)

    async def main():
        most = 0
        for _ in range(450):
            before = drift.asked
            await drift.tick()
            most = max(most, drift.asked - before)
        assert most <= 100
        assert {int(physical) for physical, _ in drift.looked} == set(range(0, 10_000, 2)), "each at last"
        for number in range(10_000):
            if number % 2:
                tracks.pop((str(number), "n"))
        for _ in range(200):
            await drift.tick()
        drift.looked.clear()
        suspect = tracks.get(("5000", "n"))
        suspect.lane.foreign_settings += 1
        tracks.note(suspect)
        await drift.tick()
        assert drift.looked[0] == ("5000", "n"), "what was seen comes first"

    asyncio.run(main())


def test_lanes_that_end_while_another_is_looked_at_are_left_out():
    tracks = Tracks()
    for number in range(0, 20, 2):
        tracks.add(Track("n", str(number), Lane(applied=-1), Bell(lambda: None)))

    class Ending(Looking):
        async def _look(self, track):
            await super()._look(track)
            for number in range(10, 20, 2):
                tracks.pop((str(number), "n"))

    drift = Ending(tracks)
    asyncio.run(drift.tick())
    assert {physical for physical, _ in drift.looked} == {"0", "2", "4", "6", "8"}

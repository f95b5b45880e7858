"""What is forgotten, and that nothing is forgotten too early."""

from __future__ import annotations

import asyncio
import dataclasses

from miroir.meili.http import HttpRequest
from miroir.ports.store import Table
from miroir.services.writes.retention import Retention
from tests.unit.services.small_cluster import LIMITS
from tests.unit.services.test_writes import docs, in_cluster

SOON = dataclasses.replace(LIMITS, keep_done_s=1.0, sweep_interval_s=2.0)


def rows(c, physical):
    """How many rows of each table are about an index."""

    def count(reader):
        found = {
            table: sum(physical in key for key, _ in reader.scan(table))
            for table in (Table.PLACEMENT, Table.LANES, Table.DOCUMENTS, Table.META, Table.CATALOGUE)
        }
        return {table.value: number for table, number in found.items() if number}

    return c.writes.log._store.read(count)


def physical_of(c, uid):
    return c.writes.cluster.sequenced.names[uid]


async def forgotten(c, physical):
    async with asyncio.timeout(600):
        while physical in c.writes.cluster.placement:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.5)


def test_a_dropped_index_leaves_no_row_behind(tmp_path):
    async def story(c):
        await c.done("POST", "/indexes/m/documents", docs(*range(20)))
        await c.done("POST", "/indexes/other/documents", docs(1))
        physical = physical_of(c, "m")
        assert set(rows(c, physical)) == {"placement", "lanes", "documents", "meta", "catalogue"}
        task = await c.done("DELETE", "/indexes/m")
        assert task["status"] == "succeeded"
        await forgotten(c, physical)
        assert rows(c, physical) == {}
        writes = c.writes
        assert not [key for key in writes.cluster.lanes if key[0] == physical]
        assert not writes.delivery.tracks.of_index(physical)
        assert set(c.merged("other")) == {"1"}
        again = await c.done("POST", "/indexes/m/documents", docs(7))
        assert again["status"] == "succeeded"
        assert physical_of(c, "m") > physical, "a name on the nodes is never used twice"
        assert set(c.merged("m")) == {"7"}

    in_cluster(tmp_path, story, limits=SOON)


def test_an_index_dropped_while_a_node_was_down_is_gone_from_it_too(tmp_path):
    async def story(c):
        await c.done("POST", "/indexes/m/documents", docs(*range(20)))
        physical = physical_of(c, "m")
        await c.quiet()
        c.stop("b")
        await c.done("DELETE", "/indexes/m")
        await asyncio.sleep(60)
        assert physical in c.engines["b"].scheduler.catalog
        c.start_all()
        async with asyncio.timeout(600):
            while physical in c.engines["b"].scheduler.catalog:  # noqa: ASYNC110 - virtual time
                await asyncio.sleep(1)
        await forgotten(c, physical)
        assert rows(c, physical) == {}

    in_cluster(tmp_path, story, limits=SOON)


def test_payloads_go_when_every_lane_has_them_and_their_tasks_stay(tmp_path):
    async def story(c):
        await c.done("POST", "/indexes/m/documents", docs(1))
        c.stop("b")
        for n in range(2, 30):
            await c.done("POST", "/indexes/m/documents", docs(n))
        await asyncio.sleep(30)
        assert c.writes.log.kept_bytes > 0, "the node that is down needs them"
        c.start_all()
        async with asyncio.timeout(600):
            while c.writes.log.ops:  # noqa: ASYNC110 - virtual time
                await asyncio.sleep(1)
        assert c.writes.log.kept_bytes == 0
        assert c.writes.log._store.read(lambda r: list(r.scan(Table.PAYLOADS))) == []
        assert (await c.get("/tasks"))["total"] == 29
        assert len(c.merged("m")) == 29

    in_cluster(tmp_path, story, limits=SOON)


def test_above_the_bound_the_oldest_ended_tasks_go_a_tenth_at_once(tmp_path):
    async def story(c):
        for n in range(31):
            await c.done("POST", "/indexes/m/documents", docs(n))
        async with asyncio.timeout(600):
            while (await c.get("/tasks"))["total"] > 30:  # noqa: ASYNC110 - virtual time
                await asyncio.sleep(1)
        listed = await c.get("/tasks", "limit=100")
        assert listed["total"] == 28
        assert [task["uid"] for task in listed["results"]] == list(range(30, 2, -1))
        assert (await c.ask("GET", "/tasks/0")).status == 404
        assert await c.write("POST", "/indexes/m/documents", docs(1)) == 31, "uids are never used twice"

    in_cluster(tmp_path, story, limits=dataclasses.replace(SOON, tasks_max=30))


def test_what_is_swept_away_is_the_own_node_s(tmp_path):
    """Another server may have come to a node's address since it was last probed."""

    async def story(c):
        await c.done("POST", "/indexes/m/documents", docs(1))
        await c.quiet()
        leftovers = c.writes.leftovers
        engine = c.engines["b"]
        body = HttpRequest(
            "POST", "/indexes", "", {"content-type": "application/json"}, b'{"uid":"miroir-000900"}'
        )
        assert (await engine.edge.respond(body)).status == 202
        await asyncio.sleep(1)

        async def nobody(node):
            return False

        trusted, leftovers.trusted = leftovers.trusted, nobody
        await leftovers.sweep("b")
        await asyncio.sleep(1)
        assert "miroir-000900" in engine.scheduler.catalog
        leftovers.trusted = trusted
        await leftovers.sweep("b")
        await asyncio.sleep(1)
        assert "miroir-000900" not in engine.scheduler.catalog

    in_cluster(tmp_path, story, limits=dataclasses.replace(SOON, sweep_interval_s=1e6))


def test_what_a_lane_holds_back_is_not_looked_through_again_and_again(tmp_path, monkeypatch):
    """A node may be away for hours: the log then holds a million ops."""

    async def story(c):
        await c.done("POST", "/indexes/m/documents", docs(1))
        c.stop("b")
        for number in range(40):
            await c.done("POST", "/indexes/m/documents", docs(*range(number, number + 20)))
        await asyncio.sleep(5)
        looked = []
        may_go = Retention._may_go
        monkeypatch.setattr(
            Retention, "_may_go", lambda self, op, *rest: looked.append(op) or may_go(self, op, *rest)
        )
        await c.writes.retention.sweep()
        assert len(c.writes.log.ops) > 30
        assert len(looked) == 1
        c.start_all()
        await c.quiet()
        await asyncio.sleep(5)
        assert not c.writes.log.ops
        assert not c.writes.log.ended

    in_cluster(tmp_path, story, limits=SOON)

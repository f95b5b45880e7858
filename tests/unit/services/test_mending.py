"""An op that nodes of some shards refuse: counts, book and replicas agree again, and nobody is told a lie."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from miroir.core.hashing import shard_of
from miroir.core.topology import ReplicaState
from miroir.core.writes.sequencing import BookDelta
from miroir.core.writes.vocabulary import is_ghost_id
from miroir.services.writes import resolver
from tests.support.virtual_time import run_virtual
from tests.unit.services.small_cluster import LIMITS, SmallCluster
from tests.unit.services.test_exact import EXACT, check
from tests.unit.services.test_writes import docs, in_cluster


@pytest.fixture
def unjudged(monkeypatch):
    """Payloads reach the nodes unjudged: what a node then refuses stands for what only a node can judge."""
    monkeypatch.setattr(resolver, "check_documents", lambda *args: None)


async def settled(c):
    async with asyncio.timeout(600):
        while c.writes.mending.open_records:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.1)


def in_sync(c, uid):
    """Documents by id as every replica that may be read holds them; others are rebuilt by a copy."""
    view = c.writes.cluster.snapshot().indexes[uid]
    merged = {}
    for shard, replicas in enumerate(view.placement):
        parts = [
            {
                key: {name: value for name, value in document.items() if not name.startswith("_miroir_")}
                for key, document in c.on_node(node, view.physical_uid).items()
                if not is_ghost_id(key) and shard_of(key, view.shard_count) == shard
            }
            for node, state in replicas.items()
            if state is ReplicaState.IN_SYNC
        ]
        assert parts, f"nobody can be asked about shard {shard}"
        assert all(part == parts[0] for part in parts), f"replicas of shard {shard} differ"
        merged.update(parts[0])
    return merged


async def agrees(c, uid):
    """Whether what clients are told of an index is what its nodes hold."""
    await settled(c)
    await c.quiet()
    held = in_sync(c, uid)
    stats = await c.get(f"/indexes/{uid}/stats")
    assert stats["numberOfDocuments"] == len(held)
    names = Counter(name for document in held.values() for name in document)
    assert stats["fieldDistribution"] == dict(sorted(names.items()))
    physical = c.writes.cluster.sequenced.names[uid]
    assert c.writes.sequencer.books.book(physical).size_after(BookDelta()) == len(held)
    assert set(c.writes.sequencer.books.known(physical, [str(n) for n in range(100)])) == set(held)
    return held


def poisoned(*numbers, **more):
    return [d | {"_geo": "nowhere"} if d["id"] == 5 else d for d in docs(*numbers, **more)]


def test_what_other_shards_kept_is_counted_and_what_was_refused_is_not(tmp_path, unjudged):
    async def story(c):
        await c.done("PATCH", "/indexes/m/settings", {"sortableAttributes": ["_geo"]})
        await c.done("POST", "/indexes/m/documents", docs(*range(10)))
        task = await c.done("POST", "/indexes/m/documents", poisoned(*range(20), extra=1))
        assert task["status"] == "failed"
        assert task["error"]["code"] == "invalid_document_geo_field"
        assert task["error"]["message"].endswith("other shards were written.")
        assert task["details"]["indexedDocuments"] == 0
        held = await agrees(c, "m")
        assert held["5"] == docs(5)[0], "the refused document is as it was"
        assert 10 < len(held) < 20, "this seed splits the payload"
        task = await c.done("PUT", "/indexes/m/documents", docs(*range(20), more=2))
        assert task["status"] == "succeeded"
        assert len(await agrees(c, "m")) == 20

    in_cluster(tmp_path, story)


def test_words_of_what_was_refused_are_taken_back_and_those_of_what_was_kept_stay(tmp_path, unjudged):
    async def story(c):
        await c.done("PATCH", "/indexes/m/settings", {"sortableAttributes": ["_geo"]})
        await c.done("POST", "/indexes/m/documents", docs(*range(10), old="before"))
        batch = [d | {"new": f"word{d['id']}"} for d in poisoned(*range(20))]
        assert (await c.done("POST", "/indexes/m/documents", batch))["status"] == "failed"
        held = await agrees(c, "m")
        assert 10 < len(held) < 20, "this seed splits the payload"
        assert (await c.done("POST", "/indexes/m/documents", docs(50)))["status"] == "succeeded"
        held = await agrees(c, "m")
        check(c, "m", list(held.values()))

    in_cluster(tmp_path, story, limits=EXACT)


def test_refused_everywhere_leaves_no_trace_but_the_index(tmp_path, unjudged):
    async def story(c):
        await c.done("PATCH", "/indexes/m/settings", {"sortableAttributes": ["_geo"]})
        task = await c.done("POST", "/indexes/m/documents", poisoned(5))
        assert task["status"] == "failed"
        assert "other shards" not in task["error"]["message"]
        assert await agrees(c, "m") == {}
        assert (await c.get("/indexes/m"))["primaryKey"] is None
        task = await c.done("POST", "/indexes/m/documents", [{"key_id": 1}])
        assert task["status"] == "succeeded"
        assert (await c.get("/indexes/m"))["primaryKey"] == "key_id"

    in_cluster(tmp_path, story)


def test_writes_that_wait_behind_the_refused_one_are_not_lost(tmp_path, unjudged):
    async def story(c):
        await c.done("PATCH", "/indexes/m/settings", {"sortableAttributes": ["_geo"]})
        bad = await c.write("POST", "/indexes/m/documents", poisoned(*range(12)))
        uids = [await c.write("PUT", "/indexes/m/documents", docs(n, late=n)) for n in range(8, 16)]
        uids.append(await c.write("POST", "/indexes/m/documents/delete-batch", [0, 1, 2]))
        assert (await c.wait(bad))["status"] == "failed"
        for uid in uids:
            assert (await c.wait(uid))["status"] == "succeeded"
        held = await agrees(c, "m")
        assert {str(n) for n in range(8, 16)} <= set(held)
        assert not {"0", "1", "2", "5"} & set(held)

    in_cluster(tmp_path, story)


@pytest.mark.parametrize("moment_s", [0.0, 0.02, 0.05, 0.2])
def test_a_crash_before_it_is_settled_forgets_nothing(tmp_path, unjudged, moment_s):
    cluster = SmallCluster(tmp_path / "miroir.db")

    async def main():
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(cluster.running_nodes())
            async with cluster.orchestrator():
                await cluster.live()
                await cluster.done("PATCH", "/indexes/m/settings", {"sortableAttributes": ["_geo"]})
                uid = await cluster.write("POST", "/indexes/m/documents", poisoned(*range(20)))
                await asyncio.sleep(moment_s)
            async with cluster.orchestrator():
                await cluster.live()
                assert (await cluster.wait(uid))["status"] == "failed"
                assert "5" not in await agrees(cluster, "m")

    run_virtual(main())


def test_more_names_than_an_index_may_have_are_refused_before_any_node_gets_a_part(tmp_path):
    async def story(c):
        await c.done("POST", "/indexes/m/documents", docs(1))
        many = [{"id": n, **{f"f{n}_{k}": 1 for k in range(16_400)}} for n in range(4)]
        task = await c.done("POST", "/indexes/m/documents", many)
        assert task["status"] == "failed"
        assert task["error"]["code"] == "max_fields_limit_exceeded"
        assert task["error"]["message"] == "Index `m`: A document cannot contain more than 65,535 fields."
        assert not c.writes.mending.open_records
        assert await agrees(c, "m") == {"1": docs(1)[0]}

    in_cluster(tmp_path, story)


def shown_by(c, uid, key):
    """A setting as each node has it."""
    physical = c.writes.cluster.snapshot().indexes[uid].physical_uid
    return [c.engines[name].scheduler.catalog[physical].index.settings[key] for name in c.names]


@pytest.mark.parametrize("crashes", [False, True])
def test_refused_settings_are_taken_back_everywhere_and_the_next_ones_are_judged_alone(tmp_path, crashes):
    """One document is no point: nodes that hold it refuse, the others took the settings already."""
    cluster = SmallCluster(tmp_path / "miroir.db")

    async def refused():
        await cluster.live()
        batch = [d | {"_geo": "nowhere"} if d["id"] == 5 else d for d in docs(*range(20))]
        await cluster.done("POST", "/indexes/m/documents", batch)
        task = await cluster.done("PATCH", "/indexes/m/settings", {"filterableAttributes": ["_geo"]})
        assert task["error"]["code"] == "invalid_document_geo_field"

    async def others():
        await cluster.live()
        task = await cluster.done("PATCH", "/indexes/m/settings", {"stopWords": ["the"]})
        assert task["status"] == "succeeded"
        assert (await cluster.get("/indexes/m/settings"))["filterableAttributes"] == []
        for uid in [await cluster.write("POST", "/indexes/m/documents", docs(n)) for n in range(20, 25)]:
            assert (await cluster.wait(uid))["status"] == "succeeded"
        await asyncio.sleep(5)
        await cluster.quiet()
        assert all("_geo" not in rules for rules in shown_by(cluster, "m", "filterableAttributes"))
        assert len(cluster.merged("m")) == 25
        view = cluster.writes.cluster.snapshot().indexes["m"]
        states = {state for replicas in view.placement for state in replicas.values()}
        assert states == {ReplicaState.IN_SYNC}, "who refused what failed is right"

    async def main():
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(cluster.running_nodes())
            async with cluster.orchestrator():
                await refused()
                if not crashes:
                    await others()
            if crashes:
                async with cluster.orchestrator():
                    await cluster.quiet()  # shards whose copies all replay take no write
                    await others()

    run_virtual(main())


def test_nodes_with_refused_settings_are_set_right_though_nobody_writes(tmp_path):
    async def story(c):
        await c.done("POST", "/indexes/m/documents", [*docs(*range(20)), {"id": 77, "_geo": "nowhere"}])
        task = await c.done("PATCH", "/indexes/m/settings", {"sortableAttributes": ["_geo"]})
        assert task["status"] == "failed"
        await asyncio.sleep(5)
        assert all("_geo" not in rules for rules in shown_by(c, "m", "sortableAttributes"))

    in_cluster(tmp_path, story)


def test_a_clearing_that_a_node_refuses_can_be_repeated(tmp_path):
    """Without a second copy: documents of one node stay, and are known to be there."""

    async def story(c):
        await c.done("POST", "/indexes/m/documents", docs(*range(40)))
        c.no_room("b")
        task = await c.done("DELETE", "/indexes/m/documents")
        assert task["status"] == "failed"
        c.no_room()
        left = await agrees(c, "m")
        assert 0 < len(left) < 40
        await c.done("POST", "/indexes/m/documents", docs(100, 101))
        assert len(c.merged("m")) == len(left) + 2, "numbers in use are not given twice"
        task = await c.done("DELETE", "/indexes/m/documents")
        assert task["status"] == "succeeded"
        assert task["details"]["deletedDocuments"] == len(left) + 2
        assert c.merged("m") == {}

    in_cluster(tmp_path, story, limits=replace(LIMITS, replication_factor=1))

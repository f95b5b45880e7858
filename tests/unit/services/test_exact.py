"""Exact indexes: every node knows exactly the words of the whole index, whatever happens in between."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from miroir.core.reserved import GHOST_FIELD
from miroir.core.writes.vocabulary import is_ghost_id
from miroir.engine.tokens import Tokenizer
from tests.support.faults import FaultRates
from tests.support.virtual_time import run_virtual
from tests.unit.services.small_cluster import LIMITS, SmallCluster
from tests.unit.services.test_writes import docs, in_cluster

EXACT = replace(LIMITS, exact=True)
WORDS = ["red", "green", "blue", "Käse", "x-ray", "j.k.", "7.5", "don't"]


def words_of(documents, settings=None):
    """Words by attribute, as the embedded engine cuts them; ids apart."""
    tokenizer = Tokenizer.of(settings or {})
    return {
        (name, word)
        for document in documents
        for name, value in document.items()
        if name not in ("id", "id._miroir_id", GHOST_FIELD) and isinstance(value, str)
        for word in tokenizer.words(value)
    }


def check(c, uid, live, settings=None):
    """Every node that takes part holds the words of `live`, and of nothing else, in equal ghosts."""
    physical = c.writes.cluster.snapshot().indexes[uid].physical_uid
    all_ghosts = []
    for node in c.writes.cluster.members(physical):
        held = c.on_node(node, physical)
        ghosts = {key: document for key, document in held.items() if GHOST_FIELD in document}
        assert all(is_ghost_id(key) for key in ghosts)
        assert words_of(ghosts.values(), settings) == words_of(live, settings)
        ids = {part for g in ghosts.values() for part in g.get("id._miroir_id", "").split("; ")} - {
            "",
            "\u0700",
        }
        assert ids == {str(document["id"]) for document in live}
        all_ghosts.append(ghosts)
    assert all(ghosts == all_ghosts[0] for ghosts in all_ghosts)


def test_words_come_and_go_with_their_documents(tmp_path):
    async def story(c):
        await c.done("POST", "/indexes/m/documents", docs(*range(20)))
        await c.done("PUT", "/indexes/m/documents", [{"id": 3, "extra": "new words"}])
        await c.done("POST", "/indexes/m/documents/delete-batch", [1, 2])
        live = [d for d in docs(*range(20)) if d["id"] not in (1, 2)]
        live[1] = {**live[1], "extra": "new words"}
        check(c, "m", live)
        await c.done("DELETE", "/indexes/m/documents")
        check(c, "m", [])
        await c.done("PATCH", "/indexes/m", {"primaryKey": "id"})
        await c.done("POST", "/indexes/m/documents", docs(5))
        check(c, "m", docs(5))
        stats = await c.get("/indexes/m/stats")
        assert stats["numberOfDocuments"] == 1
        assert stats["fieldDistribution"] == {"id": 1, "title": 1}

    in_cluster(tmp_path, story, limits=EXACT)


def test_an_index_without_documents_may_change_its_primary_key(tmp_path):
    async def story(c):
        await c.done("POST", "/indexes/m/documents", [{"id": 1, "key": "a"}])
        await c.done("DELETE", "/indexes/m/documents/1")
        task = await c.done("PATCH", "/indexes/m", {"primaryKey": "key"})
        assert task["status"] == "succeeded", task
        task = await c.done("POST", "/indexes/m/documents", [{"id": 1, "key": "b"}])
        assert task["status"] == "succeeded", task

    in_cluster(tmp_path, story, limits=EXACT)


def test_an_index_becomes_exact_and_ceases_to_be(tmp_path):
    async def story(c):
        await c.done("POST", "/indexes/m/documents", docs(*range(20), note="Käse x-ray"))
        accepted = await c.writes.ingest.make_exact("m", exact=True)
        assert (await c.wait(accepted.task.uid))["status"] == "succeeded"
        assert c.writes.cluster.snapshot().indexes["m"].exact
        check(c, "m", docs(*range(20), note="Käse x-ray"))
        again = await c.writes.ingest.make_exact("m", exact=True)
        await c.wait(again.task.uid)
        check(c, "m", docs(*range(20), note="Käse x-ray"))
        accepted = await c.writes.ingest.make_exact("m", exact=False)
        assert (await c.wait(accepted.task.uid))["status"] == "succeeded"
        assert not c.writes.cluster.snapshot().indexes["m"].exact
        assert set(c.merged("m")) == {str(n) for n in range(20)}

    in_cluster(tmp_path, story)


def test_settings_that_cut_words_differently_make_ghosts_anew(tmp_path):
    async def story(c):
        await c.done("POST", "/indexes/m/documents", [{"id": 1, "t": "by j.k. r"}, {"id": 2, "t": "j k"}])
        settings = {"dictionary": ["j.k."]}
        assert (await c.done("PATCH", "/indexes/m/settings", settings))["status"] == "succeeded"
        check(c, "m", [{"id": 1, "t": "by j.k. r"}, {"id": 2, "t": "j k"}], settings)

    in_cluster(tmp_path, story, limits=EXACT)


@pytest.mark.parametrize("seed", range(3))
def test_ghosts_survive_faults_and_crashes(tmp_path, seed):
    rng = random.Random(seed)
    cluster = SmallCluster(
        tmp_path / "miroir.db",
        seed=seed,
        limits=EXACT,
        rates=FaultRates(refused=0.05, cut=0.05, duplicated=0.05),
    )
    live = {}

    async def some_ops(c):
        uids = []
        for _ in range(8):
            number = rng.randrange(8)
            if rng.random() < 0.3:
                uids.append(await c.write("DELETE", f"/indexes/m/documents/{number}"))
                live.pop(number, None)
            else:
                document = {"id": number, "t": " ".join(rng.choices(WORDS, k=3))}
                uids.append(await c.write("POST", "/indexes/m/documents", [document]))
                live[number] = document
        return uids

    async def main():
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(cluster.running_nodes())
            for _ in range(3):
                async with cluster.orchestrator():
                    await cluster.live()
                    for uid in await some_ops(cluster):
                        if rng.random() < 0.7:
                            await cluster.wait(uid)
            async with cluster.orchestrator():
                await cluster.live()
                await cluster.quiet()
                check(cluster, "m", list(live.values()))

    run_virtual(main())

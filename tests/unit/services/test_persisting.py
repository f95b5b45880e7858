"""A store that refuses: nothing of a refused write is acknowledged or logged, and nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import dataclasses
import sqlite3

import orjson
import pytest

from miroir.adapters.store_sqlite import SqliteStore
from miroir.core.writes.mending import MendingRecord
from miroir.ports.store import Conflict, StoreError, StoreFullError, Table
from miroir.services.writes.persisting import persist
from tests.support.virtual_time import run_virtual
from tests.unit.services.small_cluster import LIMITS
from tests.unit.services.test_writes import docs, in_cluster


class Refusing:
    """A store that refuses the next `left` transactions, before or after having done nothing of them."""

    def __init__(self, inner, error=StoreFullError):
        self.inner, self.error, self.left, self.refused = inner, error, 0, 0

    async def transact(self, fn):
        await asyncio.sleep(0)
        if self.left:
            self.left -= 1
            self.refused += 1
            raise self.error("no room")
        return await self.inner.transact(fn)

    def read(self, fn):
        return self.inner.read(fn)

    def close(self):
        self.inner.close()


def refuse(cluster, left):
    """The store of the running write path refuses that many transactions from now on."""
    writes = cluster.writes
    parts = [writes.log, writes.sequencer, writes.completion, writes.tasks, writes.prober, writes.registry]
    wrapped = Refusing(parts[0]._store)
    wrapped.left = left
    for part in parts:
        part._store = wrapped
    return wrapped


def test_a_write_that_the_disk_refuses_is_refused_and_leaves_nothing(tmp_path):
    async def story(c):
        await c.done("POST", "/indexes/m/documents", docs(1))
        before = dict(c.writes.log.ops), c.writes.log.kept_bytes, c.writes.log.open_count
        store = refuse(c, 1)
        reply = await c.ask("POST", "/indexes/m/documents", docs(2))
        assert (reply.status, orjson.loads(reply.body)["code"]) == (422, "no_space_left_on_device")
        assert store.refused == 1
        assert (dict(c.writes.log.ops), c.writes.log.kept_bytes, c.writes.log.open_count) == before
        assert (await c.get("/tasks"))["total"] == 1
        task = await c.done("POST", "/indexes/m/documents", docs(3))
        assert task["status"] == "succeeded"
        assert task["uid"] == 1, "the refused write took no uid"
        assert set(c.merged("m")) == {"1", "3"}

    in_cluster(tmp_path, story)


@pytest.mark.parametrize("refusals", [1, 3, 7])
def test_an_acknowledged_write_is_finished_once_there_is_room(tmp_path, refusals):
    async def story(c):
        uids = [await c.write("POST", "/indexes/m/documents", docs(n)) for n in range(5)]
        store = refuse(c, refusals)
        for uid in uids:
            assert (await c.wait(uid))["status"] == "succeeded"
        assert store.refused == refusals
        assert set(c.merged("m")) == {str(n) for n in range(5)}

    in_cluster(tmp_path, story)


def test_a_full_log_answers_503_and_logs_nothing(tmp_path):
    """Bytes of payloads are bounded; a client is told when to come back."""

    async def story(c):
        c.stop(*c.names[1:])
        uid = await c.write("POST", "/indexes/m/documents", docs(1, text="x" * 3000))
        reply = await c.ask("POST", "/indexes/m/documents", docs(2, text="x" * 3000))
        assert (reply.status, orjson.loads(reply.body)["code"]) == (503, "miroir_overloaded")
        assert {name.lower(): value for name, value in reply.headers.items()}["retry-after"] == "5"
        assert (await c.get("/tasks"))["total"] == 1
        assert len(c.writes.log.ops) == 1
        c.start_all()
        assert (await c.wait(uid))["status"] == "succeeded"
        async with asyncio.timeout(600):
            while (reply := await c.ask("POST", "/indexes/m/documents", docs(3))).status != 202:
                assert reply.status == 503
                await asyncio.sleep(1)
        assert orjson.loads(reply.body)["taskUid"] == 1

    limits = dataclasses.replace(LIMITS, log_bytes_max=5000, keep_done_s=1.0)
    in_cluster(tmp_path, story, limits=limits)


def test_ids_that_a_filter_came_to_count_as_what_the_log_keeps(tmp_path):
    """The op itself has no payload, however many documents it names."""

    async def story(c):
        await c.done("PATCH", "/indexes/m/settings", {"filterableAttributes": ["kind"]})
        await c.done(
            "POST", "/indexes/m/documents", [{"id": f"{n}{'x' * 400}", "kind": 1} for n in range(50)]
        )
        before = c.writes.log.kept_bytes
        task = await c.done("POST", "/indexes/m/documents/delete", {"filter": "kind = 1"})
        assert task["details"]["deletedDocuments"] == 50
        assert c.writes.log.kept_bytes - before > 50 * 400

    in_cluster(tmp_path, story)


def test_only_refusals_of_the_disk_are_tried_again():
    async def main():
        class Losing:
            async def transact(self, fn):
                raise Conflict("lost")

        with pytest.raises(Conflict):
            await persist(Losing(), lambda tx: None)

    run_virtual(main())


@pytest.mark.parametrize("inline", [True, False])
def test_a_full_disk_undoes_the_transaction_and_the_store_goes_on(tmp_path, inline):
    """With SQLite's own refusal, in a statement of a transaction that shares its commit with others."""
    store = SqliteStore(tmp_path / "s.db", inline=inline)
    pages = store._writer.execute("PRAGMA page_count").fetchone()[0]
    store._writer.execute(f"PRAGMA max_page_count = {pages + 3}")

    def large(tx):
        tx.put(Table.META, ("small",), b"1")
        tx.put(Table.PAYLOADS, (1,), b"x" * 100_000)

    async def main():
        with pytest.raises(StoreFullError, match="full"):
            await store.transact(large)
        assert store.read(lambda r: list(r.scan(Table.META))) == []
        await store.transact(lambda tx: tx.put(Table.META, ("a",), b"1"))
        store._writer.execute("PRAGMA max_page_count = 1000000")
        await store.transact(large)

    asyncio.run(main())
    assert store.read(lambda r: [k for k, _ in r.scan(Table.META)]) == [("a",), ("small",)]
    store.close()


def test_a_broken_statement_is_a_store_error(tmp_path):
    store = SqliteStore(tmp_path / "s.db")

    def broken(tx):
        raise sqlite3.OperationalError("disk I/O error")

    with pytest.raises(StoreError, match="disk I/O error"):
        asyncio.run(store.transact(broken))
    store.close()


def test_settling_what_was_refused_waits_for_room_though_its_index_is_gone(tmp_path):
    async def story(c):
        await c.done("POST", "/indexes/m/documents", docs(1))
        mending = c.writes.mending
        mending._store = store = Refusing(mending._store)
        store.left = 3
        mending.add({0: MendingRecord(physical="miroir-000099", ids=["1"], whole=True)})
        async with asyncio.timeout(600):
            while mending.open_records:  # noqa: ASYNC110 - virtual time
                await asyncio.sleep(0.1)
        assert store.refused == 3
        assert (await c.done("POST", "/indexes/m/documents", docs(2)))["status"] == "succeeded"

    in_cluster(tmp_path, story)


def test_readers_see_nothing_that_is_not_on_the_disk_yet(tmp_path):
    """Whoever hands out a picture of the cluster while the end of a task is on its way to the disk."""

    async def story(c):
        await c.done("POST", "/indexes/old/documents", docs(1))
        cluster, store = c.writes.cluster, Refusing(c.writes.completion._store)
        c.writes.completion._store, store.left = store, 10**9
        made = await c.write("POST", "/indexes/m/documents", docs(1))
        renamed = await c.write("PATCH", "/indexes/old", {"uid": "new"})
        while not store.refused:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.01)
        cluster.publish()
        assert set(cluster.snapshot().indexes) == {"old"}
        assert (await c.get("/stats"))["indexes"].keys() == {"old"}
        store.left = 0
        for uid in (made, renamed):
            assert (await c.wait(uid))["status"] == "succeeded"
        assert set(cluster.snapshot().indexes) == {"m", "new"}

    in_cluster(tmp_path, story)

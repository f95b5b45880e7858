"""The write path over embedded nodes: what the client sees, what the nodes hold, what survives."""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import AsyncExitStack

import orjson
import pytest

from miroir.core.topology import ReplicaState
from tests.support.virtual_time import run_virtual
from tests.unit.services.small_cluster import LIMITS, SmallCluster


def in_cluster(tmp_path, story, **options):
    """Run `story(cluster)` with nodes and an orchestrator up."""
    cluster = SmallCluster(tmp_path / "miroir.db", **options)

    async def main():
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(cluster.running_nodes())
            await stack.enter_async_context(cluster.orchestrator())
            await cluster.live()
            await story(cluster)

    run_virtual(main())


def docs(*numbers, **more):
    return [{"id": n, "title": f"t{n}", **more} for n in numbers]


def test_documents_reach_every_replica_of_their_shard_once(tmp_path):
    async def story(c):
        task = await c.done("POST", "/indexes/m/documents", docs(*range(50)))
        assert task["status"] == "succeeded"
        assert task["details"] == {"receivedDocuments": 50, "indexedDocuments": 50}
        assert c.merged("m") == {str(n): d for n, d in enumerate(docs(*range(50)))}
        stats = await c.get("/indexes/m/stats")
        assert stats["numberOfDocuments"] == 50
        sizes = (stats["rawDocumentDbSize"], stats["avgDocumentSize"])
        assert sizes == (4096, (4096 - 8 * 50) // 50), "as if one node had them all in one page"
        assert stats["fieldDistribution"] == {"id": 50, "title": 50}
        index = await c.get("/indexes/m")
        assert index["primaryKey"] == "id"

    in_cluster(tmp_path, story)


def test_replace_merge_and_delete_by_ids_filter_and_all(tmp_path):
    async def story(c):
        await c.done("PATCH", "/indexes/m/settings", {"filterableAttributes": ["kind"]})
        await c.done("POST", "/indexes/m/documents", docs(*range(10), kind="x"))
        await c.done("PUT", "/indexes/m/documents", [{"id": 3, "extra": 1}])
        await c.done("POST", "/indexes/m/documents", [{"id": 4, "kind": "y"}])
        held = c.merged("m")
        assert held["3"] == {"id": 3, "title": "t3", "kind": "x", "extra": 1}
        assert held["4"] == {"id": 4, "kind": "y"}
        task = await c.done("POST", "/indexes/m/documents/delete-batch", [1, 2, "2", 77])
        assert task["details"] == {"providedIds": 4, "deletedDocuments": 2, "originalFilter": None}
        task = await c.done("POST", "/indexes/m/documents/delete", {"filter": "kind = x"})
        assert task["details"]["deletedDocuments"] == 7
        assert set(c.merged("m")) == {"4"}
        task = await c.done("DELETE", "/indexes/m/documents")
        assert task["details"] == {"deletedDocuments": 1}
        assert c.merged("m") == {}
        # also of an index without documents the filter is judged
        task = await c.done("POST", "/indexes/m/documents/delete", {"filter": "_geoRadius(1, 2, 3)"})
        assert task["error"]["code"] == "invalid_document_filter"

    in_cluster(tmp_path, story)


def test_a_deletion_by_filter_sees_writes_whose_end_is_still_on_its_way_to_the_disk(tmp_path):
    async def story(c):
        await c.done("PATCH", "/indexes/m/settings", {"filterableAttributes": ["kind"]})
        committing = asyncio.Event()

        class Slow:
            async def transact(self, fn, *, store=c.writes.completion._store):
                committing.set()
                await asyncio.sleep(1)
                return await store.transact(fn)

        c.writes.completion._store = Slow()
        # The first documents: only once they are committed do readers know of a primary key.
        await c.write("POST", "/indexes/m/documents", docs(*range(10), kind="x"))
        await committing.wait()
        task = await c.done("POST", "/indexes/m/documents/delete", {"filter": "kind = x"})
        assert task["details"]["deletedDocuments"] == 10
        assert c.merged("m") == {}

    in_cluster(tmp_path, story)


def test_skip_creation_writes_only_what_exists(tmp_path):
    async def story(c):
        await c.done("POST", "/indexes/m/documents", docs(1, 2))
        await c.done("PUT", "/indexes/m/documents", [{"id": 2, "n": 1}, {"id": 3}], query="skipCreation=true")
        assert c.merged("m") == {"1": docs(1)[0], "2": {"id": 2, "title": "t2", "n": 1}}
        # what is left out is not looked at: it has no vectors
        await c.done("PATCH", "/indexes/m/settings", {"sortableAttributes": ["_geo"]})
        left_out = [{"id": 9, "_geo": "nowhere", "_vectors": 1}]
        task = await c.done("PUT", "/indexes/m/documents", left_out, query="skipCreation=true")
        assert (task["status"], task["details"]["indexedDocuments"]) == ("succeeded", 1)

    in_cluster(tmp_path, story)


def test_a_bad_document_fails_the_whole_payload_and_keeps_the_made_index(tmp_path):
    async def story(c):
        task = await c.done("POST", "/indexes/m/documents", [{"id": 1}, {"id": "a b"}])
        assert task["status"] == "failed"
        assert task["error"]["code"] == "invalid_document_id"
        assert task["details"] == {"receivedDocuments": 2, "indexedDocuments": 0}
        assert (await c.get("/indexes/m"))["primaryKey"] is None
        assert c.merged("m") == {}

    in_cluster(tmp_path, story)


def test_reserved_fields_are_refused_before_anything_is_logged(tmp_path):
    async def story(c):
        reply = await c.ask("POST", "/indexes/m/documents", [{"id": 1, "_miroir_shard": 2}])
        assert reply.status == 400
        assert orjson.loads(reply.body)["code"] == "miroir_reserved_field"
        assert (await c.get("/tasks"))["total"] == 0

    in_cluster(tmp_path, story)


def test_settings_come_back_as_the_client_set_them(tmp_path):
    async def story(c):
        wanted = {"rankingRules": ["words", "typo"], "sortableAttributes": ["b", "a"]}
        await c.done("PATCH", "/indexes/m/settings", wanted)
        settings = await c.get("/indexes/m/settings")
        assert settings["rankingRules"] == ["words", "typo"]
        assert settings["sortableAttributes"] == ["a", "b"]
        assert b"_miroir" not in orjson.dumps(settings)
        await c.done("DELETE", "/indexes/m/settings")
        assert (await c.get("/indexes/m/settings"))["sortableAttributes"] == []
        for engine in c.engines.values():
            (live,) = [v for k, v in engine.scheduler.catalog.items() if k.startswith("miroir-0")]
            assert live.index.settings["rankingRules"][-1] == "_miroir_seq:asc"

    in_cluster(tmp_path, story)


def test_indexes_are_made_renamed_swapped_and_deleted_by_name_only(tmp_path):
    async def story(c):
        assert (await c.done("POST", "/indexes", {"uid": "a", "primaryKey": "id"}))["status"] == "succeeded"
        again = await c.done("POST", "/indexes", {"uid": "a"})
        assert again["error"]["code"] == "index_already_exists"
        await c.done("POST", "/indexes/a/documents", docs(1))
        await c.done("POST", "/indexes/b/documents", docs(2))
        await c.done("POST", "/swap-indexes", [{"indexes": ["a", "b"]}])
        assert (set(c.merged("a")), set(c.merged("b"))) == ({"2"}, {"1"})
        await c.done("PATCH", "/indexes/a", {"uid": "z"})
        assert set(c.merged("z")) == {"2"}
        task = await c.done("DELETE", "/indexes/z")
        assert task["details"] == {"deletedDocuments": 1}
        assert [i["uid"] for i in (await c.get("/indexes"))["results"]] == ["b"]
        missing = await c.done("DELETE", "/indexes/z")
        assert missing["error"]["code"] == "index_not_found"
        await c.quiet()
        held = [k for k in c.engines["a"].scheduler.catalog if k.startswith("miroir-0")]
        assert len(held) == 1

    in_cluster(tmp_path, story)


def test_an_idempotency_key_gives_the_same_task_and_refuses_another_body(tmp_path):
    async def story(c):
        from miroir.meili.http import HttpRequest

        headers = {"content-type": "application/json", "idempotency-key": "k"}

        async def post(body: bytes):
            return await c.edge.respond(HttpRequest("POST", "/indexes/m/documents", "", headers, body))

        async with asyncio.TaskGroup() as group:
            both = [group.create_task(post(b'[{"id":1}]')) for _ in range(2)]
        first, second = (orjson.loads(task.result().body)["taskUid"] for task in both)
        assert first == second
        other = await post(b'[{"id":2}]')
        assert (other.status, orjson.loads(other.body)["code"]) == (409, "miroir_idempotency_key_reused")
        assert (await c.get("/tasks"))["total"] == 1

    in_cluster(tmp_path, story)


def test_a_repeated_key_gets_its_task_though_nothing_could_be_accepted_now(tmp_path):
    async def story(c):
        from miroir.meili.http import HttpRequest

        headers = {"content-type": "application/json", "idempotency-key": "k"}

        async def post(body: bytes):
            return await c.edge.respond(HttpRequest("POST", "/indexes/m/documents", "", headers, body))

        first = orjson.loads((await post(b'[{"id":1}]')).body)["taskUid"]
        assert (await c.wait(first))["status"] == "succeeded"
        c.stop("a", "b", "c")
        while c.writes.cluster.live:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.5)
        again = await post(b'[{"id":1}]')
        assert (again.status, orjson.loads(again.body)["taskUid"]) == (202, first)
        assert (await post(b'[{"id":2}]')).status == 409

    in_cluster(tmp_path, story)


def test_expired_idempotency_keys_are_forgotten_and_may_be_used_again(tmp_path):
    async def story(c):
        from miroir.meili.http import HttpRequest
        from miroir.ports.store import Table

        async def post(key: str, body: bytes):
            headers = {"content-type": "application/json", "idempotency-key": key}
            reply = await c.edge.respond(HttpRequest("POST", "/indexes/m/documents", "", headers, body))
            return reply.status, orjson.loads(reply.body).get("taskUid")

        kept = [await post(f"k{n}", b'[{"id":1}]') for n in range(450)]
        assert len({uid for _, uid in kept}) == 450
        await asyncio.sleep(60)
        rows = c.writes.cluster._store.read(lambda reader: list(reader.scan(Table.IDEMPOTENCY)))
        assert rows == []
        assert await post("k0", b'[{"id":2}]') == (202, 450)

    in_cluster(tmp_path, story, limits=dataclasses.replace(LIMITS, idempotency_s=20.0))


def test_writes_go_on_with_one_node_down_and_it_catches_up(tmp_path):
    async def story(c):
        await c.done("POST", "/indexes/m/documents", docs(*range(20)))
        c.stop("b")
        reply = await c.ask("POST", "/indexes/m/documents", docs(*range(20, 40)))
        uid = orjson.loads(reply.body)["taskUid"]
        assert (await c.wait(uid))["status"] == "succeeded"
        lagging = c.writes.cluster.snapshot().lagging
        assert {node for node, _ in lagging} == {"b"}
        reply = await c.ask("POST", "/indexes/m/documents", docs(1, 2, 3, 4, 5, 6))
        assert reply.headers["x-miroir-degraded"].startswith("reason=replicas;ids=")
        await c.done("POST", "/indexes/m/documents/delete-batch", [0, 25])
        c.start_all()
        await c.quiet()
        assert not c.writes.cluster.snapshot().lagging
        assert set(c.merged("m")) == {str(n) for n in range(40)} - {"0", "25"}

    in_cluster(tmp_path, story)


def test_a_node_that_lost_its_disk_is_read_no_more_and_its_replicas_are_stale(tmp_path):
    async def story(c):
        await c.done("POST", "/indexes/m/documents", docs(*range(30)))
        c.stop("b")
        await asyncio.sleep(5)
        await c.fresh_node("b")
        c.down.clear()
        while "b" not in c.writes.cluster.live:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.1)
        view = c.writes.cluster.snapshot().indexes["m"]
        for shard in range(view.shard_count):
            assert "b" not in c.writes.cluster.snapshot().readable(view, shard)
        states = {replicas["b"] for replicas in view.placement if "b" in replicas}
        assert states == {ReplicaState.STALE}
        assert c.writes.cluster.epoch > 0
        task = await c.done("POST", "/indexes/m/documents", docs(*range(30, 40)))
        assert task["status"] == "succeeded"
        held = {**c.on_node("a", view.physical_uid), **c.on_node("c", view.physical_uid)}
        assert set(held) == {str(n) for n in range(40)}

    in_cluster(tmp_path, story)


def test_a_shard_without_any_live_replica_refuses_writes_and_logs_nothing(tmp_path):
    async def story(c):
        await c.done("POST", "/indexes/m/documents", docs(*range(20)))
        c.stop("a", "b")
        while len(c.writes.cluster.live) > 1:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.5)
        before = (await c.get("/tasks"))["total"]
        reply = await c.ask("POST", "/indexes/m/documents", docs(*range(20)))
        assert (reply.status, orjson.loads(reply.body)["code"]) == (503, "miroir_no_quorum")
        assert (await c.get("/tasks"))["total"] == before

    in_cluster(tmp_path, story)


def test_points_and_vectors_are_refused_for_the_whole_payload(tmp_path):
    async def story(c):
        settings = {
            "sortableAttributes": ["_geo"],
            "embedders": {"e": {"source": "userProvided", "dimensions": 2}},
        }
        await c.done("PATCH", "/indexes/m/settings", settings)
        good = {"_vectors": {"e": [1, 2]}}
        for bad, code in (
            ({"_geo": 3, **good}, "invalid_document_geo_field"),
            ({"_vectors": {"e": [1, 2, 3]}}, "invalid_vector_dimensions"),
            ({"title": "none"}, "vector_embedding_error"),
        ):
            task = await c.done(
                "POST", "/indexes/m/documents", [*docs(*range(20), **good), {"id": 99, **bad}]
            )
            assert task["error"]["code"] == code
            assert task["error"]["message"].startswith("Index `m`: ")
            assert c.merged("m") == {}
        task = await c.done("POST", "/indexes/m/documents", docs(*range(20), **good))
        assert task["status"] == "succeeded"
        assert (await c.get("/indexes/m/stats"))["numberOfDocuments"] == 20

    in_cluster(tmp_path, story)


def test_swapping_nothing_succeeds_while_other_writes_wait(tmp_path):
    async def story(c):
        c.network.cut_off.update("abc")
        await c.write("POST", "/indexes/m/documents", docs(1))
        assert (await c.done("POST", "/swap-indexes", []))["status"] == "succeeded"

    in_cluster(tmp_path, story)


def test_tasks_can_be_cancelled_while_they_wait_and_deleted_when_done(tmp_path):
    async def story(c):
        await c.done("PATCH", "/indexes/m/settings", {"filterableAttributes": ["id"]})
        await c.done("POST", "/indexes/m/documents", docs(1))
        c.network.cut_off.update("abc")
        uids = [await c.write("POST", "/indexes/m/documents", docs(2))]
        uids.append(await c.write("POST", "/indexes/m/documents/delete", {"filter": "id = 1"}))
        reply = await c.ask("POST", "/tasks/cancel", query=f"uids={uids[1]}")
        assert reply.status == 200
        c.network.cut_off.clear()
        assert (await c.wait(uids[1]))["status"] == "canceled"
        assert (await c.wait(uids[0]))["status"] == "succeeded"
        assert set(c.merged("m")) == {"1", "2"}
        await c.ask("DELETE", "/tasks", query=f"uids={uids[0]}")
        assert (await c.ask("GET", f"/tasks/{uids[0]}")).status == 404

    in_cluster(tmp_path, story)


class Mortal:
    """A store whose process dies right after the next transaction."""

    def __init__(self, inner):
        self.inner, self.dead = inner, asyncio.Event()

    async def transact(self, fn):
        if not self.dead.is_set():
            await self.inner.transact(fn)
            self.dead.set()
        await asyncio.Event().wait()

    def read(self, fn):
        return self.inner.read(fn)


@pytest.mark.parametrize("verb", ["cancel", "delete"])
def test_a_crash_amid_a_cancelation_or_deletion_leaves_no_half_of_it(tmp_path, verb):
    cluster = SmallCluster(tmp_path / "miroir.db")

    async def begin() -> list[int]:
        await cluster.live()
        await cluster.done("PATCH", "/indexes/m/settings", {"filterableAttributes": ["id"]})
        await cluster.done("POST", "/indexes/m/documents", docs(1))
        uids = [0, 1]
        if verb == "cancel":
            cluster.network.cut_off.update("abc")
            uids = [await cluster.write("POST", "/indexes/m/documents", docs(2))]
            matching = {"filter": "id = 1"}  # it waits for the one before
            uids = [await cluster.write("POST", "/indexes/m/documents/delete", matching) for _ in range(2)]
        mortal = Mortal(cluster.writes.log._store)
        for part in (cluster.writes.log, cluster.writes.tasks, cluster.writes.tasks.deletions):
            part._store = mortal
        method, path = ("POST", "/tasks/cancel") if verb == "cancel" else ("DELETE", "/tasks")
        asking = asyncio.ensure_future(cluster.ask(method, path, query=f"uids={','.join(map(str, uids))}"))
        await mortal.dead.wait()
        asking.cancel()
        return uids

    async def end(uids: list[int]) -> None:
        cluster.network.cut_off.clear()
        await cluster.live()
        done = (await cluster.get("/tasks", query="types=taskCancelation,taskDeletion"))["results"]
        counted = "canceledTasks" if verb == "cancel" else "deletedTasks"
        assert [(task["status"], task["details"][counted]) for task in done] == [("succeeded", 2)]
        for uid in uids:
            if verb == "delete":
                assert (await cluster.ask("GET", f"/tasks/{uid}")).status == 404
            else:
                assert (await cluster.wait(uid))["status"] == "canceled"

    async def main():
        async with cluster.running_nodes():
            async with cluster.orchestrator():
                uids = await begin()
            async with cluster.orchestrator():
                await end(uids)

    run_virtual(main())


@pytest.mark.parametrize("crashes", [False, True])
def test_deleting_the_task_of_a_write_in_progress_waits_for_its_end(tmp_path, crashes):
    cluster = SmallCluster(tmp_path / "miroir.db")

    async def begin() -> list[int]:
        await cluster.live()
        await cluster.done("POST", "/indexes/m/documents", docs(1))
        cluster.network.cut_off.update("abc")
        uids = [await cluster.write("POST", "/indexes/m/documents", docs(2))]
        reply = await cluster.ask("DELETE", "/tasks", query=f"uids={uids[0]}")
        uids.append(orjson.loads(reply.body)["taskUid"])
        await asyncio.sleep(1)
        shown = await cluster.get(f"/tasks/{uids[1]}")
        assert (shown["status"], shown["details"]["deletedTasks"]) == ("enqueued", None)
        assert (await cluster.ask("GET", f"/tasks/{uids[0]}")).status == 200
        return uids

    async def end(uids: list[int]) -> None:
        cluster.network.cut_off.clear()
        shown = await cluster.wait(uids[1])
        assert (shown["status"], shown["details"]["deletedTasks"]) == ("succeeded", 1)
        assert (await cluster.ask("GET", f"/tasks/{uids[0]}")).status == 404
        await cluster.quiet()
        assert set(cluster.merged("m")) == {"1", "2"}

    async def main():
        async with cluster.running_nodes():
            async with cluster.orchestrator():
                uids = await begin()
                if not crashes:
                    await end(uids)
            if crashes:
                async with cluster.orchestrator():
                    await end(uids)

    run_virtual(main())


@pytest.mark.parametrize("pause_s", [0.0, 0.01, 0.03, 0.2, 1.0])
def test_another_orchestrator_finishes_what_a_crashed_one_accepted(tmp_path, pause_s):
    cluster = SmallCluster(tmp_path / "miroir.db", seed=int(pause_s * 100))

    async def main():
        async with cluster.running_nodes():
            async with cluster.orchestrator():
                await cluster.live()
                uids = [
                    await cluster.write("POST", "/indexes/m/documents", docs(*range(n, n + 5)))
                    for n in range(0, 50, 5)
                ]
                uids.append(await cluster.write("POST", "/indexes/m/documents/delete-batch", [1, 2, 3]))
                await asyncio.sleep(pause_s)
            async with cluster.orchestrator():
                for uid in uids:
                    assert (await cluster.wait(uid))["status"] == "succeeded"
                await cluster.quiet()
                assert set(cluster.merged("m")) == {str(n) for n in range(50)} - {"1", "2", "3"}

    run_virtual(main())


def test_an_edition_replaces_and_deletes_in_one_op_on_every_replica(tmp_path):
    async def story(c):
        await c.ask("PATCH", "/experimental-features", {"editDocumentsByFunction": True})
        await c.done("PATCH", "/indexes/m/settings", {"filterableAttributes": ["id"]})
        await c.done("POST", "/indexes/m/documents", docs(*range(40)))
        function = "if doc.id % 3 == 0 { doc = () } else { doc.n = context.k + doc.id }"
        body = {"function": function, "context": {"k": 100}, "filter": "id >= 20"}
        first = await c.write("POST", "/indexes/m/documents/edit", body)
        second = await c.write("PUT", "/indexes/m/documents", docs(20, later=True))
        task = await c.wait(first)
        assert task["status"] == "succeeded", task
        assert task["details"]["editedDocuments"] == task["details"]["deletedDocuments"] == 20
        await c.wait(second)
        await c.quiet()
        wanted = {str(d["id"]): d for d in docs(*range(40)) if d["id"] < 20 or d["id"] % 3}
        for document in wanted.values():
            if document["id"] >= 20:
                document["n"] = 100 + document["id"]
        wanted["20"]["later"] = True
        assert c.merged("m") == wanted
        stats = await c.get("/indexes/m/stats")
        assert stats["numberOfDocuments"] == len(wanted)
        assert stats["fieldDistribution"]["n"] == len(wanted) - 20
        again = await c.done("POST", "/indexes/m/documents", docs(21))
        assert again["status"] == "succeeded"
        assert c.merged("m")["21"] == docs(21)[0]

    in_cluster(tmp_path, story)


def test_an_edition_that_fails_for_one_document_changes_none(tmp_path):
    async def story(c):
        await c.ask("PATCH", "/experimental-features", {"editDocumentsByFunction": True})
        await c.done("POST", "/indexes/m/documents", docs(*range(10)))
        before = c.merged("m")
        task = await c.done(
            "POST", "/indexes/m/documents/edit", {"function": "if doc.id == 7 { doc = 1 } else { doc.x = 1 }"}
        )
        assert task["error"]["code"] == "edit_documents_by_function_error"
        assert task["details"]["editedDocuments"] == 0
        assert task["details"]["deletedDocuments"] is None
        task = await c.done("POST", "/indexes/m/documents/edit", {"function": "doc._miroir_seq = 1"})
        assert task["error"]["code"] == "miroir_reserved_field"
        assert "`_miroir_seq`" in task["error"]["message"]
        assert c.merged("m") == before
        reply = await c.ask("POST", "/indexes/m/documents/edit", {"function": "doc.x = ("})
        assert reply.status == 400

    in_cluster(tmp_path, story)

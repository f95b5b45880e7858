"""The queue of a whole engine in memory: order, cancelation, deletion, crashes, and a model to compare with."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miroir.engine.embedded import Engine, Options, open_engine
from miroir.engine.scheduler import Limits
from miroir.meili.http import HttpRequest


class Client:
    """Asks an engine without a socket."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    async def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        path, _, query = path.partition("?")
        reply = await self.engine.edge.respond(
            HttpRequest(
                method,
                path,
                query,
                {"content-type": "application/json"},
                b"" if body is None else json.dumps(body).encode(),
            )
        )
        return reply.status, json.loads(reply.body) if reply.body else None

    async def write(self, method: str, path: str, body: object = None) -> int:
        status, answer = await self.ask(method, path, body)
        assert status in (200, 202), answer
        uid: int = answer["taskUid"]
        return uid

    async def task(self, uid: int) -> Any:
        return (await self.ask("GET", f"/tasks/{uid}"))[1]

    async def documents(self, uid: str) -> dict[Any, Any]:
        status, answer = await self.ask("GET", f"/indexes/{uid}/documents?limit=1000")
        return {} if status == 404 else {document["id"]: document for document in answer["results"]}


def scenario(run: Callable[[Client], Awaitable[None]], options: Options | None = None) -> None:
    async def main() -> None:
        engine = await open_engine(None, options)
        client = Client(engine)
        try:
            await run(client)
        finally:
            client.engine.close()

    asyncio.run(main())


DOCUMENTS = "/indexes/movies/documents"


def test_tasks_of_one_index_share_a_batch() -> None:
    async def run(client: Client) -> None:
        uids = [await client.write("POST", DOCUMENTS, [{"id": n}]) for n in range(3)]
        uids.append(await client.write("DELETE", f"{DOCUMENTS}/1"))
        other = await client.write("POST", "/indexes/other/documents", [{"id": 1}])
        assert await client.engine.step()
        tasks = [await client.task(uid) for uid in uids]
        assert {task["batchUid"] for task in tasks} == {0}
        assert [task["status"] for task in tasks] == ["succeeded"] * 4
        assert (await client.task(other))["status"] == "enqueued"
        assert set(await client.documents("movies")) == {0, 2}

    scenario(run)


def test_a_bad_payload_fails_alone() -> None:
    async def run(client: Client) -> None:
        good = await client.write("POST", DOCUMENTS, [{"id": 1}])
        bad = await client.write("POST", DOCUMENTS, [{"id": 2}, {"title": "no id"}])
        last = await client.write("POST", DOCUMENTS, [{"id": 3}])
        await client.engine.drain()
        assert (await client.task(bad))["error"]["code"] == "missing_document_id"
        assert (await client.task(bad))["details"] == {"receivedDocuments": 2, "indexedDocuments": 0}
        assert (await client.task(good))["status"] == (await client.task(last))["status"] == "succeeded"
        assert set(await client.documents("movies")) == {1, 3}

    scenario(run)


def test_an_empty_payload_with_another_primary_key_changes_nothing() -> None:
    async def run(client: Client) -> None:
        await client.write("POST", DOCUMENTS, [{"id": 1}])
        await client.engine.drain()
        uid = await client.write("POST", f"{DOCUMENTS}?primaryKey=title", [])
        await client.engine.drain()
        assert (await client.task(uid))["status"] == "succeeded"
        assert (await client.ask("GET", "/indexes/movies"))[1]["primaryKey"] == "id"

    scenario(run)


def test_swallowed_tasks_keep_their_counters_null() -> None:
    async def run(client: Client) -> None:
        await client.write("POST", DOCUMENTS, [{"id": 1}, {"id": 2}])
        await client.engine.drain()
        added = await client.write("POST", DOCUMENTS, [{"id": 3}])
        cleared = await client.write("DELETE", DOCUMENTS)
        await client.engine.drain()
        assert (await client.task(added))["details"] == {"receivedDocuments": 1, "indexedDocuments": None}
        assert (await client.task(cleared))["details"] == {"deletedDocuments": 2}

    scenario(run)


def test_cancelation_stops_the_running_batch_and_takes_its_place() -> None:
    async def run(client: Client) -> None:
        first = await client.write("POST", DOCUMENTS, [{"id": n, "t": "word " * 9} for n in range(2000)])
        second = await client.write("POST", DOCUMENTS, [{"id": 5000}])
        running = asyncio.ensure_future(client.engine.step())
        await asyncio.sleep(0)
        assert (await client.task(first))["status"] == "processing"
        cancelation = await client.write("POST", f"/tasks/cancel?uids={first}")
        await running
        await client.engine.drain()
        stopped, done = await client.task(first), await client.task(cancelation)
        assert (stopped["status"], stopped["canceledBy"]) == ("canceled", cancelation)
        assert stopped["details"]["indexedDocuments"] == 0
        assert stopped["batchUid"] == done["batchUid"] == 0
        assert done["details"]["canceledTasks"] == 1
        assert (await client.task(second))["status"] == "succeeded"
        assert set(await client.documents("movies")) == {5000}

    scenario(run)


def test_deleted_tasks_and_their_batches_are_gone_and_uids_are_not_reused() -> None:
    async def run(client: Client) -> None:
        old = await client.write("POST", DOCUMENTS, [{"id": 1}])
        await client.engine.drain()
        await client.write("DELETE", f"/tasks?uids={old}")
        await client.engine.drain()
        assert (await client.ask("GET", f"/tasks/{old}"))[0] == 404
        assert (await client.ask("GET", "/batches/0"))[0] == 404
        client.engine = await client.engine.crash()
        assert await client.write("POST", DOCUMENTS, [{"id": 2}]) == old + 2

    scenario(run)


def test_tasks_beyond_the_bound_are_dropped_oldest_first() -> None:
    async def run(client: Client) -> None:
        for n in range(12):
            await client.write("POST", DOCUMENTS, [{"id": n}])
            await client.engine.drain()
        assert await client.engine.step() is False
        left = (await client.ask("GET", "/tasks?limit=100"))[1]["results"]
        assert [task["uid"] for task in left] == list(range(11, 11 - len(left), -1))
        assert len(left) <= 10

    scenario(run, Options(limits=Limits(tasks_kept_max=10, tasks_cleaned_at_once=5)))


def test_settings_that_cannot_be_applied_leave_the_index_as_it_was() -> None:
    async def run(client: Client) -> None:
        await client.write("POST", DOCUMENTS, [{"id": 1, "_geo": "nowhere"}])
        await client.engine.drain()
        uid = await client.write("PATCH", "/indexes/movies/settings", {"filterableAttributes": ["_geo"]})
        await client.engine.drain()
        task = await client.task(uid)
        assert task["status"] == "failed"
        assert task["error"]["message"].startswith("Index `movies`: ")
        assert (await client.ask("GET", "/indexes/movies/settings/filterable-attributes"))[1] == []

    scenario(run)


# --- random histories against a plain model -----------------------------------------------------

_ids = st.lists(st.integers(0, 8), min_size=1, max_size=4)
_operations = st.lists(
    st.one_of(
        st.tuples(st.just("POST"), _ids),
        st.tuples(st.just("PUT"), _ids),
        st.tuples(st.just("DELETE"), _ids),
        st.just(("CLEAR", ())),
        st.just(("DROP", ())),
        st.just(("RUN", ())),
        st.just(("CRASH", ())),
        st.just(("HALF", ())),
    ),
    max_size=14,
)


@settings(max_examples=60, deadline=None)
@given(_operations)
def test_any_history_with_crashes_ends_like_the_plain_model(operations: list[tuple[str, Any]]) -> None:
    async def run(client: Client) -> None:
        model: dict[int, dict[str, Any]] = {}
        for version, (kind, ids) in enumerate(operations):
            sent = [{"id": i, f"v{version}": version} for i in ids]
            if kind in ("POST", "PUT"):
                await client.write(kind, f"{DOCUMENTS}?primaryKey=id", sent)
                for document in sent:
                    old = model.get(document["id"], {}) if kind == "PUT" else {}
                    model[document["id"]] = old | document
            elif kind == "DELETE":
                await client.write("POST", f"{DOCUMENTS}/delete-batch", ids)
                for i in ids:
                    model.pop(i, None)
            elif kind == "CLEAR":
                await client.write("DELETE", DOCUMENTS)
                model.clear()
            elif kind == "DROP":
                await client.write("DELETE", "/indexes/movies")
                model.clear()
            elif kind == "RUN":
                await client.engine.step()
            elif kind == "CRASH":
                client.engine = await client.engine.crash()
            else:  # a batch cut in the middle
                half = asyncio.ensure_future(client.engine.step())
                await asyncio.sleep(0)
                half.cancel()
                await asyncio.wait([half])
                client.engine = await client.engine.crash()
        await client.engine.drain()
        assert await client.documents("movies") == model
        tasks = (await client.ask("GET", "/tasks?limit=1000"))[1]["results"]
        assert all(task["status"] in ("succeeded", "failed") for task in tasks)
        failures = {task["error"]["code"] for task in tasks if task["error"]}
        assert failures <= {"index_not_found"}

    scenario(run)


def test_compaction_tells_the_size_of_its_index_alone() -> None:
    async def run(client: Client) -> None:
        await client.write("POST", "/indexes/other/documents", [{"id": 1, "text": "long " * 2_000}])
        await client.write("POST", DOCUMENTS, [{"id": 1}])
        while await client.engine.step():
            pass
        uid = await client.write("POST", "/indexes/movies/compact")
        assert await client.engine.step()
        task = await client.task(uid)
        assert task["details"] == {"preCompactionSize": "4 KiB", "postCompactionSize": "4 KiB"}

    scenario(run)


def test_a_version_names_a_commit_as_clients_read_it() -> None:
    async def run(client: Client) -> None:
        _, version = await client.ask("GET", "/version")
        assert len(bytes.fromhex(version["commitSha"])) == 20
        assert version["pkgVersion"].count(".") == 2

    scenario(run)


def test_a_second_engine_refuses_data_of_another_version(tmp_path: Any) -> None:
    import sqlite3

    from miroir.engine.errors import EngineError

    with sqlite3.connect(tmp_path / "engine.sqlite3") as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(EngineError, match="schema version 99"):
        asyncio.run(open_engine(tmp_path))


def test_shapes_are_checked_once_they_are_filterable() -> None:
    async def run(client: Client) -> None:
        await client.write("POST", "/indexes/a/documents", [{"id": 1, "_geojson": {"type": "Point"}}])
        await client.engine.drain()
        uid = await client.write("PUT", "/indexes/a/settings/filterable-attributes", ["_geojson"])
        await client.engine.drain()
        task = await client.task(uid)
        assert (task["status"], task["error"]["code"]) == ("failed", "invalid_document_geo_field")
        assert (await client.ask("GET", "/indexes/a/settings/filterable-attributes"))[1] == []
        await client.write("DELETE", "/indexes/a/documents/1")
        await client.write("PUT", "/indexes/a/settings/filterable-attributes", ["_geojson"])
        uid = await client.write("POST", "/indexes/a/documents", [{"id": 2, "_geojson": 5}])
        await client.engine.drain()
        assert (await client.task(uid))["error"]["code"] == "invalid_document_geo_field"

    scenario(run)

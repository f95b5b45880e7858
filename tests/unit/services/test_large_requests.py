"""Large payloads on their way: through pages of the log to streams of lines, the same bytes as those of small ones."""

from __future__ import annotations

import asyncio
import itertools
import tracemalloc
from collections.abc import Iterable, Iterator, MutableMapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miroir.adapters.store_sqlite import SqliteStore
from miroir.core.writes.ops import OpKind
from miroir.core.writes.rendering import in_sequence, render_documents
from miroir.core.writes.write_limits import WriteLimits
from miroir.meili import document_payload
from miroir.meili.asgi import asgi_app
from miroir.meili.documents import decode_write
from miroir.meili.http import HttpReply, HttpRequest
from miroir.meili.large_documents import LARGE_BYTES, sent_documents
from miroir.meili.primary_keys import document_ids
from miroir.ports.nodes import BodyGoneError
from miroir.ports.store import Table
from miroir.services.writes.large_requests import LargeLines, LineStream
from miroir.services.writes.oplog import Draft, OpLog
from miroir.services.writes.stored_documents import StoredDocuments, load_pages, store_pages
from tests.support.virtual_time import run_virtual
from tests.unit.services.small_cluster import SmallCluster

SHARDS = 8


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteStore]:
    opened = SqliteStore(tmp_path_factory.mktemp("store") / "s.db", inline=True, durable=False)
    yield opened
    opened.close()


_ops = itertools.count()


def stored(store: SqliteStore, documents: list[dict[str, Any]]) -> StoredDocuments:
    text = orjson.dumps(documents)
    spans, at = [], 1
    for document in documents:
        size = len(orjson.dumps(document))
        spans.append((at, at + size))
        at += size + 1
    sent = sent_documents(text, spans)
    assert sent is not None
    op = next(_ops)
    asyncio.run(store.transact(lambda tx: store_pages(tx, op, sent)))
    found = load_pages(store, op)
    assert found is not None
    return found


@given(st.data())
def test_lines_are_those_of_a_small_payload(store: SqliteStore, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, 29), min_size=1, max_size=40))
    size = data.draw(st.sampled_from([0, 9_000]))
    documents = [{"id": one, "n": place, "text": "x" * size} for place, one in enumerate(ids)]
    places = data.draw(st.permutations(range(-1, 30)))  # a document keeps its number; -1: not written
    seqs = [places[one] for one in ids]
    shards = data.draw(st.sets(st.integers(0, SHARDS - 1)))
    names = [str(one) for one in ids]
    rendered = render_documents(documents, names, seqs, SHARDS)
    expected = in_sequence([line for shard in sorted(shards) for line in rendered.get(shard, [])])
    large = LargeLines(stored(store, documents), names, seqs, SHARDS, shards)
    stream = LineStream([[b"ghost\n"], large])
    chunks = list(stream.chunks())
    assert b"".join(chunks) == b"ghost\n" + b"".join(expected)
    assert stream.size == sum(map(len, chunks))


def test_documents_that_are_gone_say_so(store: SqliteStore) -> None:
    documents = stored(store, [{"id": 1}])
    asyncio.run(store.transact(lambda tx: tx.delete_prefix(Table.PAYLOADS, (documents._op,))))
    with pytest.raises(BodyGoneError):
        list(documents.lines())
    assert load_pages(store, documents._op) is None


# --- through a cluster ------------------------------------------------------------------------


def lines(numbers: Iterable[int], word: str, width: int = 700) -> bytes:
    return b"".join(
        orjson.dumps({"id": number, "text": f"{word} {number} " + "x" * width}) + b"\n" for number in numbers
    )


def test_large_bodies_are_written_replaced_and_replayed_like_small_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document_payload, "LARGE_BYTES", 1)
    count = 150

    async def post(cluster: SmallCluster, numbers: Iterable[int], word: str) -> int:
        assert cluster.edge is not None
        headers = {"content-type": "application/x-ndjson"}
        request = HttpRequest("POST", "/indexes/m/documents", "primaryKey=id", headers, lines(numbers, word))
        reply = await cluster.edge.respond(request)
        assert reply.status == 202, reply.body
        return int(orjson.loads(reply.body)["taskUid"])

    async def main() -> None:
        cluster = SmallCluster(tmp_path / "m.db")
        async with cluster.running_nodes():
            async with cluster.orchestrator():
                await cluster.live()
                task = await cluster.wait(await post(cluster, range(count), "first"))
                assert task["details"] == {"receivedDocuments": count, "indexedDocuments": count}
                cluster.stop("b")
                await post(cluster, range(2 * count - 1, 0, -1), "second")
            cluster.start_all()
            async with cluster.orchestrator():  # what the one before left is read from the log
                await cluster.live()
                await cluster.quiet()
                found = cluster.merged("m")
        words = {number: document["text"].split()[0] for number, document in found.items()}
        assert words == {str(number): "second" if number else "first" for number in range(2 * count)}

    run_virtual(main())


def test_a_large_body_takes_little_more_memory_than_itself(store: SqliteStore) -> None:
    log = OpLog(store, WriteLimits(), now_ns=lambda: 0)
    size = 8 * LARGE_BYTES
    accepted: list[int] = []

    class Accepting:
        def route_name(self, request: HttpRequest) -> str | None:
            return None

        async def respond(self, request: HttpRequest, *, body_error: object = None) -> HttpReply:
            write = decode_write(request, "replace")
            document_ids(write.documents, "id")
            task = await log.append(Draft(OpKind.DOCUMENTS_ADD, ("m",), "m", payload=write.documents))
            accepted.append(task.uid)
            return HttpReply(202)

    async def main() -> int:
        appender = asyncio.create_task(log.run())
        chunks = (lines(range(start, start + 90), "w") for start in itertools.count(0, 90))
        sent = 0

        async def receive() -> MutableMapping[str, Any]:
            nonlocal sent
            chunk = next(chunks)
            sent += len(chunk)
            return {"type": "http.request", "body": chunk, "more_body": sent < size}

        async def send(message: MutableMapping[str, Any]) -> None:
            assert message.get("status", 202) == 202

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/",
            "headers": [(b"content-type", b"application/x-ndjson")],
        }
        tracemalloc.start()
        try:
            await asgi_app(Accepting())(scope, receive, send)
            documents = log.payload(accepted[0])
            ids = document_ids(documents, "id")
            seqs = list(range(len(ids)))
            streams = [
                LineStream([LargeLines(documents, ids, seqs, SHARDS, range(n, SHARDS, 3))]) for n in range(3)
            ]
            whole = sum(
                len(chunk)
                for parts in zip_longest(*(s.chunks() for s in streams))
                for chunk in parts
                if chunk
            )
            assert whole > sent
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            appender.cancel()

    peak = asyncio.run(main())
    assert peak < 1.6 * size, f"{peak / size:.2f} bytes of memory per byte of the body"

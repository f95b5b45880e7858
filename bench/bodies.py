"""How much memory large bodies take on their way through the orchestrator, without any real node.

    .venv/bin/python bench/bodies.py [--megabytes 99] [--posts 3]

Posts bodies of each kind at once and follows their tasks to the end, over nodes that are made of nothing. Prints the
peak of resident memory above what the process had before, and how many bytes that is per byte posted.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import multiprocessing
import random
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import structlog
from scale import HollowNodes, resident_mb, show

from miroir.adapters.store_sqlite import SqliteStore
from miroir.api.backend import OrchestratorBackend
from miroir.api.backend_writes import write_handlers
from miroir.core.records import NodeRecord
from miroir.core.writes.write_limits import WriteLimits
from miroir.meili.asgi import asgi_app
from miroir.meili.edge import Edge
from miroir.meili.http import HttpRequest
from miroir.services.writes.writes import WritePath

_CHUNK = 64 << 10
_WORDS = ("real", "time", "strategy", "game", "server", "library", "for", "python", "documentation")


def rows(seed: int, size: int, row: Callable[[int, str], bytes]) -> Iterator[bytes]:
    """Rows of about 700 bytes, `size` bytes in all, in the chunks in which a server hands them on."""
    rng = random.Random(seed)
    sent, number, chunk = 0, seed << 32, b""
    while sent < size:
        number += 1
        chunk += row(number, " ".join(rng.choices(_WORDS, k=90)))
        if len(chunk) >= _CHUNK:
            sent += len(chunk)
            yield chunk
            chunk = b""


def _document(number: int, text: str) -> bytes:
    return orjson.dumps({"id": number, "name": f"name {number}", "size": number % 1000, "text": text})


def ndjson(seed: int, size: int) -> Iterator[bytes]:
    yield from rows(seed, size, lambda number, text: _document(number, text) + b"\n")


def array(seed: int, size: int) -> Iterator[bytes]:
    yield b"["
    yield from rows(seed, size, lambda number, text: _document(number, text) + b",\n")
    yield _document(seed, "the last") + b"]"


def csv(seed: int, size: int) -> Iterator[bytes]:
    yield b"id,name,size:number,text\n"
    yield from rows(
        seed, size, lambda number, text: f"{number},name {number},{number % 1000},{text}\n".encode()
    )


KINDS = {
    "NDJSON": (ndjson, "application/x-ndjson"),
    "JSON": (array, "application/json"),
    "CSV": (csv, "text/csv"),
}


async def post(app: Any, kind: str, seed: int, size: int) -> int:
    """Post one body; returns the task's uid."""
    make, content_type = KINDS[kind]
    chunks = make(seed, size)
    sent: list[Any] = []

    async def receive() -> Any:
        await asyncio.sleep(0)
        chunk = next(chunks, None)
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/indexes/bodies/documents",
        "raw_path": b"/indexes/bodies/documents",
        "query_string": b"primaryKey=id",
        "headers": [(b"content-type", content_type.encode())],
    }
    await app(scope, receive, send)
    assert sent[0]["status"] == 202, sent
    return int(orjson.loads(sent[1]["body"])["taskUid"])


def peak_mb() -> float:
    """Most memory this process has had since `forget_peak`."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) * 1024 / 1e6


def forget_peak() -> None:
    """Begin anew."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


async def measure(folder: Path, kind: str, posts: int, size: int) -> None:
    """All posts at once, to the end of their tasks."""
    nodes = [NodeRecord(id=f"n{n}", address=f"http://n{n}") for n in range(3)]
    store = SqliteStore(folder / "miroir.db")
    writes = WritePath(store, HollowNodes(), limits=WriteLimits(), now_ns=time.time_ns, rng=random.Random(0))
    await writes.open(nodes)
    running = asyncio.create_task(writes.run())
    await writes.prober.first_round()
    while len(writes.cluster.live) < len(nodes):  # noqa: ASYNC110 - real time
        await asyncio.sleep(0.1)
    backend = OrchestratorBackend(
        write_handlers(writes, master_key=None),
        master_key=None,
        keys=writes.keys,
        now_ns=time.time_ns,
        features=dict,
    )
    edge = Edge(backend)
    app = asgi_app(edge)
    await post(app, kind, 1_000, 10_000)
    before = resident_mb()
    forget_peak()
    cpu = time.process_time()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(post(app, kind, seed, size)) for seed in range(1, posts + 1)]
    uids = [task.result() for task in tasks]
    accepted = peak_mb()
    while writes.log.open_count:  # noqa: ASYNC110 - measured from outside
        await asyncio.sleep(0.01)
    for uid in uids:
        reply = await edge.respond(HttpRequest("GET", f"/tasks/{uid}"))
        assert b'"succeeded"' in reply.body, reply.body
    posted = posts * size / 1e6
    show(f"{kind}, {posts} x {size / 1e6:.0f} MB: peak until accepted", accepted - before, "MB")
    show("  peak until written", peak_mb() - before, "MB")
    show("  bytes of memory per byte", (peak_mb() - before) / posted, "")
    show("  CPU per MB", (time.process_time() - cpu) * 1000 / posted, "ms")
    show("  memory left", resident_mb() - before, "MB")
    running.cancel()
    await asyncio.wait({running})
    store.close()


def one(kind: str, posts: int, size: int) -> None:
    """In a process of its own."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(Path(folder), kind, posts, size))


def main() -> None:
    """Each kind alone."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--megabytes", type=int, default=99)
    parser.add_argument("--posts", type=int, default=3)
    parser.add_argument("--kind", choices=list(KINDS))
    wanted = parser.parse_args()
    for kind in [wanted.kind] if wanted.kind else KINDS:
        process = multiprocessing.get_context("spawn").Process(
            target=one, args=(kind, wanted.posts, wanted.megabytes * 1_000_000)
        )
        process.start()
        process.join()


if __name__ == "__main__":
    main()

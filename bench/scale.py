"""What the orchestrator costs at scale: many indexes, nodes, documents and tasks, without any real node.

    .venv/bin/python bench/scale.py [--indexes 2000] [--nodes 50] [--documents 1000000] [--tasks 100000]

Fills a store as if all that had been written before, opens the write path on it over nodes that are made of nothing
(each takes a request and has done it), and prints what opening, listing, writing and doing nothing cost. Everything
runs in one process on one core; figures of one run on one machine compare with each other only.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import random
import resource
import statistics
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import structlog

from miroir.adapters.store_sqlite import SqliteStore
from miroir.api.backend import OrchestratorBackend
from miroir.api.backend_writes import write_handlers
from miroir.core.catalogue import physical_uid
from miroir.core.records import IndexState, LaneRecord, NodeRecord, encode
from miroir.core.topology import NodeId
from miroir.core.writes.write_limits import WriteLimits
from miroir.meili.edge import Edge
from miroir.meili.http import HttpRequest
from miroir.meili.settings import defaults
from miroir.meili.tasks import KINDS, Task
from miroir.ports.nodes import NodeRequest, NodeResponse
from miroir.ports.store import Table, Tx
from miroir.services.writes.writes import WritePath

_EPOCH_NS = 1_700_000_000_000_000_000


class HollowNodes:
    """A NodeTransport to nodes that hold nothing but their task list; every write has succeeded."""

    def __init__(self) -> None:
        self.tasks: dict[NodeId, list[bytes]] = {}
        self.by_index: dict[tuple[NodeId, str], list[bytes]] = {}
        self.identities: dict[NodeId, bytes] = {}
        self.requests = 0

    def set_address(self, node: NodeId, address: str) -> None:
        """They have none."""

    async def send(self, request: NodeRequest, *, deadline: float) -> NodeResponse:
        """Answer at once."""
        self.requests += 1
        await asyncio.sleep(0)
        for _ in request.stream.chunks() if request.stream is not None else ():
            await asyncio.sleep(0)
        path = request.path
        if path.startswith("/indexes/miroir-node/documents"):
            return self._identity(request)
        if path == "/tasks":
            return NodeResponse(200, self._listed(request.node, request.query))
        if request.method == "GET" or path == "/experimental-features":
            return NodeResponse(200, b"{}")
        tasks = self.tasks.setdefault(request.node, [])
        uid = len(tasks)
        physical = path.split("/")[2]
        tag = next((p[15:] for p in request.query.split("&") if p.startswith("customMetadata=")), "")
        tasks.append(
            orjson.dumps(
                {
                    "uid": uid,
                    "indexUid": physical,
                    "status": "succeeded",
                    "type": "settingsUpdate" if path.endswith("/settings") else "documentAdditionOrUpdate",
                    "customMetadata": tag or None,
                    "error": None,
                }
            )
        )
        self.by_index.setdefault((request.node, physical), []).append(tasks[-1])
        return NodeResponse(202, b'{"taskUid":%d}' % uid)

    def _identity(self, request: NodeRequest) -> NodeResponse:
        if request.method == "POST":
            self.identities[request.node] = orjson.dumps(orjson.loads(request.body)[0])
            return NodeResponse(202, b'{"taskUid":0}')
        found = self.identities.get(request.node)
        return NodeResponse(404, b"{}") if found is None else NodeResponse(200, found)

    def _listed(self, node: NodeId, query: str) -> bytes:
        asked = dict(part.split("=", 1) for part in query.split("&"))
        tasks = self.tasks.get(node, [])
        limit = int(asked.get("limit", 20))
        if "reverse" in asked:
            first = int(asked.get("from", 0))
            shown = tasks[first : first + limit]
        else:
            shown = tasks[::-1][:limit]
        if "indexUids" in asked:
            shown = self.by_index.get((node, asked["indexUids"]), [])[::-1][:limit]
        return b'{"results":[' + b",".join(shown) + b"]}"


def fill(path: Path, nodes: list[NodeRecord], *, indexes: int, documents: int, tasks: int) -> None:
    """A store in which all that was written before; index 0 holds half of the documents."""
    store = SqliteStore(path, inline=True, durable=False)
    writes = WritePath(
        store, HollowNodes(), limits=WriteLimits(), now_ns=lambda: _EPOCH_NS, rng=random.Random(0)
    )
    settings = defaults()
    half = documents // 2
    rest = half // max(1, indexes - 1)

    def put(tx: Tx) -> None:
        for number in range(indexes):
            physical, count = physical_uid(number), half if number == 0 else rest
            record = writes.cluster.propose(64, 2)
            tx.put(Table.PLACEMENT, (physical,), encode(record))
            state = IndexState(
                physical=physical,
                created_at=_EPOCH_NS,
                updated_at=_EPOCH_NS,
                primary_key="id",
                settings=settings,
                field_order=("id", "title"),
                document_count=count,
                field_distribution={"id": count, "title": count},
            )
            for which in ("sequenced", "visible"):
                tx.put(Table.CATALOGUE, (which, "name", f"index-{number}"), physical.encode())
                tx.put(Table.CATALOGUE, (which, "index", physical), encode(state))
            tx.put_many(
                Table.LANES,
                [((physical, n), encode(LaneRecord())) for n in {n for s in record.shards for n in s}],
            )
            tx.put(Table.META, ("fields", physical, 0), encode(("id", "title")))
            tx.put_many(
                Table.DOCUMENTS, (((physical, f"document-{n}"), encode((n, 0))) for n in range(count))
            )
        rng = random.Random(0)
        for uid in range(tasks):
            task = Task(
                uid=uid,
                kind=KINDS[0] if uid % 10 else rng.choice(KINDS[1:8]),
                status="failed" if uid % 50 == 0 else "succeeded",
                index_uid=f"index-{rng.randrange(indexes)}",
                batch_uid=uid,
                details={"receivedDocuments": 10, "indexedDocuments": 10},
                enqueued_at=_EPOCH_NS + uid,
                started_at=_EPOCH_NS + uid,
                finished_at=_EPOCH_NS + uid + 1,
            )
            tx.put(Table.TASKS, (uid,), encode(task))
        tx.put(Table.META, ("next_op",), str(tasks).encode())
        tx.put(Table.META, ("next_index",), str(indexes).encode())

    asyncio.run(writes.cluster.open(nodes))
    asyncio.run(store.transact(put))
    store.close()


def show(name: str, value: float, unit: str) -> None:
    """One line."""
    print(f"{name:<62}{value:>12,.2f} {unit}", flush=True)  # noqa: T201


@contextmanager
def timed(name: str) -> Iterator[None]:
    """Show what the block took, and what it left in memory."""
    gc.collect()
    before, begun = resident_mb(), time.perf_counter()
    yield
    show(name, (time.perf_counter() - begun) * 1000, "ms")
    gc.collect()
    if resident_mb() - before >= 1:
        show("  memory more", resident_mb() - before, "MB")


def resident_mb() -> float:
    """Memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


class Client:
    """Requests to the front desk, without HTTP."""

    def __init__(self, writes: WritePath) -> None:
        backend = OrchestratorBackend(
            write_handlers(writes, master_key=None),
            master_key=None,
            keys=writes.keys,
            now_ns=time.time_ns,
            features=dict,
        )
        self._edge = Edge(backend)

    async def ask(self, method: str, path: str, query: str = "", value: object = None) -> bytes:
        """Body of an answer that must be a success."""
        body = b"" if value is None else orjson.dumps(value)
        headers = {"content-type": "application/json"} if value is not None else {}
        reply = await self._edge.respond(HttpRequest(method, path, query, headers, body))
        assert reply.status < 300, (path, reply.status, reply.body)
        return reply.body


async def best(name: str, call: Callable[[], Awaitable[object]], times: int = 7) -> None:
    """Median time of a call."""
    took = []
    for _ in range(times):
        begun = time.perf_counter()
        await call()
        took.append((time.perf_counter() - begun) * 1000)
    show(name, statistics.median(took), "ms")


async def write_all(client: Client, writes: WritePath, paths: list[str]) -> None:
    """One write to each, and wait until every task has ended."""
    uids = []
    for path in paths:
        body = await client.ask("POST", path, value=[{"id": f"new-{n}", "title": "t"} for n in range(5)])
        uids.append(orjson.loads(body)["taskUid"])
    while writes.log.open_count:  # noqa: ASYNC110 - measured from outside
        await asyncio.sleep(0.01)
    assert all([b'"succeeded"' in await client.ask("GET", f"/tasks/{uid}") for uid in uids[:20]])


def _end_with(running: asyncio.Task[None]) -> None:
    """A write path that ends by itself ends the measurement."""
    if not running.cancelled() and running.exception() is not None:
        traceback.print_exception(running.exception())
        os._exit(1)


async def measure(path: Path, nodes: list[NodeRecord], indexes: int) -> None:
    """Everything after filling."""
    store = SqliteStore(path)
    hollow = HollowNodes()
    writes = WritePath(store, hollow, limits=WriteLimits(), now_ns=time.time_ns, rng=random.Random(0))
    with timed("open on everything"):
        await writes.open(nodes)
    client = Client(writes)
    running = asyncio.create_task(writes.run())
    running.add_done_callback(_end_with)
    await writes.prober.first_round()
    while len(writes.cluster.live) < len(nodes):  # noqa: ASYNC110 - real time
        await asyncio.sleep(0.1)
    await best("GET /tasks, first page", lambda: client.ask("GET", "/tasks"))
    await best("GET /tasks, statuses=failed", lambda: client.ask("GET", "/tasks", "statuses=failed"))
    await best(
        "GET /tasks, one index and type",
        lambda: client.ask("GET", "/tasks", f"indexUids=index-7&types={KINDS[0]}"),
    )
    await best("GET /tasks, from the middle", lambda: client.ask("GET", "/tasks", "from=50000&limit=100"))
    await best(
        "GET /tasks, statuses=enqueued,processing",
        lambda: client.ask("GET", "/tasks", "statuses=enqueued,processing"),
    )
    await best(
        "GET /tasks, finished after a date", lambda: client.ask("GET", "/tasks", "afterFinishedAt=2020-01-01")
    )
    await best("GET /batches, first page", lambda: client.ask("GET", "/batches"))
    await best("GET /batches, statuses=failed", lambda: client.ask("GET", "/batches", "statuses=failed"))
    await best("GET /batches/{uid}", lambda: client.ask("GET", "/batches/777"))

    async def publish() -> None:
        writes.cluster.publish()

    await best("new snapshot", publish)
    with timed("first write to the index with half of all documents"):
        await write_all(client, writes, ["/indexes/index-0/documents"])
    await best(
        "a write to one index, to its task's end",
        lambda: write_all(client, writes, ["/indexes/index-1/documents"]),
    )
    requests, cpu = hollow.requests, time.process_time()
    many = [f"/indexes/index-{n}/documents" for n in range(1, indexes)]
    with timed(f"a write to each of {len(many)} indexes"):
        await write_all(client, writes, many)
    show("  requests to nodes", hollow.requests - requests, "")
    show("  CPU a write", (time.process_time() - cpu) * 1000 / len(many), "ms")
    cpu = time.process_time()
    with timed("the same again"):
        await write_all(client, writes, many)
    show("  CPU a write", (time.process_time() - cpu) * 1000 / len(many), "ms")
    await best(
        "a write to one index, to its task's end",
        lambda: write_all(client, writes, ["/indexes/index-1/documents"]),
    )
    requests, cpu = hollow.requests, time.process_time()
    await asyncio.sleep(5)
    show("doing nothing: CPU", (time.process_time() - cpu) / 5 * 100, "% of a core")
    show("doing nothing: requests to nodes", (hollow.requests - requests) / 5, "a second")
    show("resident memory at the end", resident_mb(), "MB")
    running.cancel()
    await asyncio.wait({running})
    store.close()


def main() -> None:
    """Parse, fill, measure."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    for name, default in (("indexes", 2000), ("nodes", 50), ("documents", 1_000_000), ("tasks", 100_000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    wanted = parser.parse_args()
    nodes = [NodeRecord(id=f"n{n:03}", address=f"http://n{n:03}") for n in range(wanted.nodes)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "miroir.db"
        fill(path, nodes, indexes=wanted.indexes, documents=wanted.documents, tasks=wanted.tasks)
        show("store on disk", sum(f.stat().st_size for f in Path(folder).iterdir()) / 1e6, "MB")
        asyncio.run(measure(path, nodes, wanted.indexes))


if __name__ == "__main__":
    main()

"""`miroir bench`: a local cluster against one node of the same kind, on this machine, in one run.

Everything competes for the same cores (load generator included), so only the ratios mean something.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import click
import orjson

from miroir.cli import bench_moving, sample
from miroir.cli.bench_moving import Moving
from miroir.cli.children import Child, Program
from miroir.cli.client import Client, wait_until
from miroir.cli.cluster_dir import ClusterDir
from miroir.cli.demo import HOST, embedded_argv, meilisearch_argv
from miroir.core.writes.rendering import render_documents

CLIENTS = 8
KEY = "bench-master-key"
BATCH_DOCUMENTS = 500
POLLS = 500

QUERIES: tuple[tuple[str, dict[str, object]], ...] = (
    ("packages", {"q": "library"}),
    ("packages", {"q": "real-time strategy game", "limit": 10}),
    ("packages", {"q": "databse server", "attributesToHighlight": ["summary"]}),
    ("packages", {"q": "python", "filter": "installed_size < 1000", "facets": ["section"]}),
    ("packages", {"q": "", "sort": ["installed_size:desc"]}),
    ("packages", {"q": "fonts for", "facets": ["section", "priority"], "limit": 5}),
    ("cities", {"q": "san"}),
    ("cities", {"q": "paris", "filter": "population > 100000"}),
    ("cities", {"q": "new york", "facets": ["country"]}),
)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line asked for. `seconds`: of each search measurement; `move_documents` 0: none are moved."""

    nodes: int
    replication_factor: int
    port: int
    engine: str
    meilisearch: Path | None
    seconds: float
    move_documents: int


@dataclass(frozen=True, slots=True)
class Searching:
    """Searches a second with several clients at once; median of one client alone; CPU the server took per search."""

    per_second: float
    median_ms: float
    cpu_ms: float | None


@dataclass(frozen=True, slots=True)
class Ingesting:
    """Documents a second; CPU the server took per document, following their tasks included."""

    per_second: float
    cpu_ms: float | None


def run(wishes: Wishes, environ: Mapping[str, str]) -> None:
    """Measure and print."""
    binary = _binary(wishes, environ)
    with tempfile.TemporaryDirectory(prefix="miroir-bench-") as scratch:
        where = Path(scratch)
        click.echo(
            f"{platform.python_implementation()} {platform.python_version()}; {os.cpu_count()} cores, shared by "
            "nodes, orchestrator and load generator"
        )
        click.echo(f"{wishes.nodes} {wishes.engine} nodes, replication factor {wishes.replication_factor}")
        with _one_node(wishes, where / "one", binary) as url:
            node = Client(url, KEY, timeout_s=120.0)
            ingest_one = _ingest(node, None)
            direct = asyncio.run(_search(url, wishes.seconds, None))
        with _cluster(wishes, where / "cluster", binary) as (url, pid):
            client = Client(url, KEY, timeout_s=120.0)
            ingest_cluster = _ingest(client, pid)
            through = asyncio.run(_search(url, wishes.seconds, pid))
            poll_ms = _poll(client, pid)
        _report((ingest_one, direct), (ingest_cluster, through), poll_ms)
        if wishes.move_documents and wishes.nodes > wishes.replication_factor:
            for name, value in _move(wishes, where / "moving", binary).rows():
                click.echo(f"{name:<44}{value:>18}")


def _report(
    one: tuple[Ingesting, Searching], cluster: tuple[Ingesting, Searching], poll_ms: float | None
) -> None:
    (ingest_one, direct), (ingest_cluster, through) = one, cluster
    rows = (
        (f"searches/s, {CLIENTS} clients", direct.per_second, through.per_second, "{:.0f}"),
        ("median search, 1 client, ms", direct.median_ms, through.median_ms, "{:.1f}"),
        ("ingest, documents/s", ingest_one.per_second, ingest_cluster.per_second, "{:.0f}"),
    )
    click.echo(f"{'':<30}{'one node':>12}{'cluster':>12}{'ratio':>8}")
    for name, alone, many, form in rows:
        click.echo(f"{name:<30}{form.format(alone):>12}{form.format(many):>12}{many / alone:>8.2f}")
    costs = (
        ("search", through.cpu_ms),
        ("document written", ingest_cluster.cpu_ms),
        ("task poll", poll_ms),
    )
    for name, cpu_ms in costs:
        cost = "not measured (no /proc)" if cpu_ms is None else f"{cpu_ms:.3f} ms"
        click.echo(f"orchestrator CPU per {name:<21}{cost:>12}")
    click.echo(f"{'split and mark, documents/s':<42}{_split_rate():>12,.0f}")


def _ingest(client: Client, pid: int | None) -> Ingesting:
    """From the first request to the end of the last task."""
    for uid, index in sample.indexes().items():
        client.wait_task(_write(client, "POST", "/indexes", {"uid": uid, "primaryKey": index["primaryKey"]}))
        client.wait_task(_write(client, "PATCH", f"/indexes/{uid}/settings", index["settings"]))
    cpu_before, begun, count, tasks = _cpu_s(pid), time.perf_counter(), 0, []
    for uid in sample.indexes():
        documents = sample.lines(uid)
        count += len(documents)
        for start in range(0, len(documents), BATCH_DOCUMENTS):
            body = b"\n".join(documents[start : start + BATCH_DOCUMENTS])
            tasks.append(_write(client, "POST", f"/indexes/{uid}/documents", body, "application/x-ndjson"))
    for task in tasks:
        client.wait_task(task)
    took = time.perf_counter() - begun
    return Ingesting(count / took, _each_ms(cpu_before, _cpu_s(pid), count))


def _write(client: Client, method: str, path: str, body: Any, content_type: str = "application/json") -> int:
    """Task of a write. On a busy machine a node may be thought dead for a moment: a 503 is asked again."""
    end = time.monotonic() + 30.0
    while True:
        status, value = client.call(method, path, body, content_type=content_type)
        if status == 202:
            return int(value["taskUid"])
        if status != 503 or time.monotonic() >= end:
            raise click.ClickException(f"{method} {path}: {status}: {value}")
        time.sleep(0.1)


def _poll(client: Client, pid: int) -> float | None:
    """CPU the server takes for one look at a task."""
    before = _cpu_s(pid)
    for _ in range(POLLS):
        client.ask("GET", "/tasks/0")
    return _each_ms(before, _cpu_s(pid), POLLS)


def _move(wishes: Wishes, data: Path, binary: Path | None) -> Moving:
    """A cluster of its own, each node holding `move_documents`; the first one is emptied."""
    total = wishes.move_documents * wishes.nodes // wishes.replication_factor
    with _cluster(wishes, data, binary) as (url, _):
        bench_moving.fill(Client(url, KEY, timeout_s=120.0), _write, total)
        cluster = ClusterDir(data).cluster()
        assert cluster is not None
        admin = Client(url, cluster["admin_key"], timeout_s=120.0)
        requests = [
            (f"{url}/indexes/{bench_moving.INDEX}/search", orjson.dumps(query))
            for uid, query in QUERIES
            if uid == "packages"
        ]

        async def searches(going_on: Callable[[], bool]) -> list[float]:
            async with _session() as session:
                return await _while(going_on, session, requests)

        return asyncio.run(bench_moving.empty(admin, cluster["nodes"][0]["id"], searches))


async def _search(url: str, seconds: float, pid: int | None) -> Searching:
    requests = [(f"{url}/indexes/{uid}/search", orjson.dumps(query)) for uid, query in QUERIES]
    async with _session() as session:
        await _for(0.5, session, requests)  # warm up: connections, caches
        alone = await _for(seconds / 2, session, requests)
        cpu_before, begun = _cpu_s(pid), time.perf_counter()
        async with asyncio.TaskGroup() as group:
            clients = [group.create_task(_for(seconds, session, requests, first=i)) for i in range(CLIENTS)]
        took = time.perf_counter() - begun
        cpu_after = _cpu_s(pid)
    count = sum(len(client.result()) for client in clients)
    cpu_ms = _each_ms(cpu_before, cpu_after, count)
    return Searching(count / took, statistics.median(alone) * 1000, cpu_ms)


def _session() -> aiohttp.ClientSession:
    # Plain answers: compressed ones are sent in pieces by some servers and then wait for acknowledgements.
    headers = {
        "Authorization": f"Bearer {KEY}",
        "Content-Type": "application/json",
        "Accept-Encoding": "identity",
    }
    return aiohttp.ClientSession(headers=headers)


async def _for(
    seconds: float, session: aiohttp.ClientSession, requests: list[tuple[str, bytes]], first: int = 0
) -> list[float]:
    """As `_while`, for a time."""
    end = time.perf_counter() + seconds
    return await _while(lambda: time.perf_counter() < end, session, requests, first)


async def _while(
    going_on: Callable[[], bool],
    session: aiohttp.ClientSession,
    requests: list[tuple[str, bytes]],
    first: int = 0,
) -> list[float]:
    """Latencies of one client that asks again as soon as it has its answer."""
    latencies: list[float] = []
    for url, body in itertools.islice(itertools.cycle(requests), first, None):
        if not going_on():
            break
        begun = time.perf_counter()
        while True:  # on a busy machine a node may be thought dead for a moment; the wait counts
            async with session.post(url, data=body) as answer:
                text = await answer.read()
            if answer.status == 200:
                break
            if answer.status != 503 or time.perf_counter() - begun > 30.0:
                raise click.ClickException(f"{url}: {answer.status}: {text[:200]!r}")
            await asyncio.sleep(0.1)
        latencies.append(time.perf_counter() - begun)
    return latencies


def _split_rate() -> float:
    """Documents a second that are hashed, assigned, marked and rendered for their shards, on one core."""
    documents = [orjson.loads(line) for line in sample.lines("packages")]
    ids, numbers = [str(document["id"]) for document in documents], range(len(documents))
    begun, rounds = time.perf_counter(), 0
    while time.perf_counter() - begun < 1.0:
        render_documents(documents, ids, numbers, 64)
        rounds += 1
    return rounds * len(documents) / (time.perf_counter() - begun)


@contextmanager
def _one_node(wishes: Wishes, data: Path, binary: Path | None) -> Iterator[str]:
    folder = ClusterDir(data)
    folder.prepare()
    folder.write_text("node.key", KEY)
    folder.write_text("node.toml", f'master_key = "{KEY}"\n')
    store, port = folder.path("node-1"), wishes.port
    store.mkdir()
    if binary is None:
        argv = embedded_argv(port, store, folder.path("node.key"))
    else:
        argv = meilisearch_argv(str(binary), port, store, folder.path("node.toml"))
    url = f"http://{HOST}:{port}"
    child = Child(Program("node-1", url, argv, folder.path("logs", "node-1.log")))
    try:
        _await(lambda: Client(url, timeout_s=2.0).answers("/health"), child.last_words)
        yield url
    finally:
        child.stop(grace_s=10.0)


@contextmanager
def _cluster(wishes: Wishes, data: Path, binary: Path | None) -> Iterator[tuple[str, int]]:
    argv = [sys.executable, "-m", "miroir", "demo", "--data", str(data), "--no-sample", "--master-key", KEY]
    argv += ["--port", str(wishes.port), "--nodes", str(wishes.nodes), "--engine", wishes.engine]
    argv += ["--replication-factor", str(wishes.replication_factor)]
    argv += ["--meilisearch", str(binary)] if binary else []
    demo = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    url = f"http://{HOST}:{wishes.port}"
    try:
        _await(lambda: Client(url, timeout_s=2.0).answers("/_miroir/ready"), lambda: "see the lines above")
        cluster = ClusterDir(data).cluster()
        assert cluster is not None
        yield url, cluster["orchestrator"]["pid"]
    finally:
        demo.terminate()
        demo.wait()


def _await(holds: Callable[[], bool], why_not: Callable[[], str]) -> None:
    if not wait_until(holds, timeout_s=60.0):
        raise click.ClickException(f"did not start: {why_not()}")


def _each_ms(before_s: float | None, after_s: float | None, count: int) -> float | None:
    return None if before_s is None or after_s is None else (after_s - before_s) * 1000 / count


def _cpu_s(pid: int | None) -> float | None:
    """CPU seconds a process has used, all threads; None where that cannot be known."""
    if pid is None:
        return None
    try:
        threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
        return sum(int(one.read_text().split()[0]) for one in threads) / 1e9
    except (OSError, IndexError):
        return None


def _binary(wishes: Wishes, environ: Mapping[str, str]) -> Path | None:
    if wishes.engine == "embedded":
        return None
    named = wishes.meilisearch or environ.get("MIROIR_MEILISEARCH")
    if named is None:
        raise click.ClickException("name the Meilisearch program with --meilisearch or MIROIR_MEILISEARCH")
    return Path(named).resolve()

"""What emptying a node costs: how fast documents move to the others, and what a search takes meanwhile."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from miroir.cli import sample
from miroir.cli.client import Client

INDEX = "moving"
BATCH_DOCUMENTS = 5_000
QUIET_S = 8.0
_POLL_S = 0.25
_OPEN = frozenset({"running", "paused", "cancelling"})

#: searches as long as `going_on()`; returns the latency of each in seconds
Searches = Callable[[Callable[[], bool]], Coroutine[Any, Any, list[float]]]
Write = Callable[[Client, str, str, Any, str], int]


@dataclass(frozen=True, slots=True)
class Moving:
    """Documents and bytes that moved, the seconds it took, and latencies of one client (seconds) before and meanwhile."""

    documents: int
    size_bytes: int
    seconds: float
    before: list[float]
    meanwhile: list[float]

    def rows(self) -> Iterator[tuple[str, str]]:
        """(name, value) to print."""
        yield (
            f"moved off a node: {self.documents:,} documents",
            f"{self.documents / self.seconds:,.0f} docs/s",
        )
        yield "  ... in bytes", f"{self.size_bytes / self.seconds / 1e6:.2f} MB/s"
        for name, part in (("p50", 49), ("p95", 94)):
            before, meanwhile = _percentile(self.before, part), _percentile(self.meanwhile, part)
            yield f"search {name}, 1 client: quiet, while moving", f"{before:.1f}, {meanwhile:.1f} ms"


def fill(client: Client, write: Write, count: int) -> None:
    """`count` documents in one index: the sample's packages again and again, with ids of their own."""
    settings = sample.indexes()["packages"]["settings"]
    client.wait_task(
        write(client, "POST", "/indexes", {"uid": INDEX, "primaryKey": "id"}, "application/json")
    )
    client.wait_task(write(client, "PATCH", f"/indexes/{INDEX}/settings", settings, "application/json"))
    documents, tasks = _documents(count), []
    while batch := list(itertools.islice(documents, BATCH_DOCUMENTS)):
        lines = b"\n".join(batch)
        tasks.append(write(client, "POST", f"/indexes/{INDEX}/documents", lines, "application/x-ndjson"))
    for task in tasks:
        client.wait_task(task)


async def empty(admin: Client, node: str, searches: Searches) -> Moving:
    """Drain `node` to its end, one client searching before and meanwhile. Raises CallError."""
    end = time.monotonic() + QUIET_S
    before = await searches(lambda: time.monotonic() < end)
    begun = time.perf_counter()
    number = (await asyncio.to_thread(admin.ask, "POST", f"/_miroir/nodes/{node}/drain"))["operation"]
    following = asyncio.create_task(_follow(admin, number))
    meanwhile = await searches(lambda: not following.done())
    operation = await following
    took = time.perf_counter() - begun
    actual = operation["actual"]
    return Moving(actual["documents"], actual["size_bytes"], took, before, meanwhile)


async def _follow(admin: Client, number: int) -> dict[str, Any]:
    while True:
        operation: dict[str, Any] = await asyncio.to_thread(admin.ask, "GET", f"/_miroir/operations/{number}")
        if operation["state"] not in _OPEN:
            assert operation["state"] == "done", operation["reason"]
            return operation
        await asyncio.sleep(_POLL_S)


def _documents(count: int) -> Iterator[bytes]:
    originals = [orjson.loads(line) for line in sample.lines("packages")]
    for number, document in zip(range(count), itertools.cycle(originals), strict=False):
        yield orjson.dumps({**document, "id": f"{document['id']}-{number}"})


def _percentile(latencies: list[float], part: int) -> float:
    """In milliseconds."""
    return statistics.quantiles(latencies, n=100)[part] * 1000

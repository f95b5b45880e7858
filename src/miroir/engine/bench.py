"""How fast one engine is: `python -m miroir.engine.bench --documents FILE.ndjson.gz --queries FILE.jsonl`.

Documents are copied with other ids and words until there are as many as asked for. Everything runs in this
process, on one core, with the data in a folder that is removed afterwards. The figures of one run compare
with each other; those of different machines do not. Times are those of the processor, so that company on the
machine does not count; only the longest block is by the clock on the wall.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Iterator, Sequence
from pathlib import Path
from typing import Any

from miroir.engine.embedded import Engine, open_engine
from miroir.engine.memory import settle, spare_full_collections
from miroir.meili.http import HttpRequest

_UID = "bench"
_BATCH = 5000
_SMALL = 50


def copies(documents: Sequence[dict[str, Any]], wanted: int) -> Iterator[dict[str, Any]]:
    """The documents again and again, later copies with other ids and some other words."""
    for place in range(wanted):
        turn, document = divmod(place, len(documents))
        made = dict(documents[document])
        if turn:
            made["id"] = f"{made['id']}-{turn}"
            for name in ("name", "summary"):
                if isinstance(made.get(name), str):
                    made[name] = made[name].replace("e", chr(97 + turn % 26)) + f" {turn}"
        yield made


class _Bench:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._longest = 0.0

    async def ask(self, method: str, path: str, body: object) -> None:
        reply = await self._engine.edge.respond(
            HttpRequest(method, path, "", {"content-type": "application/json"}, json.dumps(body).encode())
        )
        if reply.status >= 300:
            sys.exit(f"{method} {path}: {reply.status} {reply.body!r}")

    async def timed(self, name: str, work: Awaitable[None]) -> float:
        """CPU seconds until the work and the tasks it made are done; prints the longest time nothing else ran."""
        self._longest = 0.0
        watch = asyncio.create_task(self._watch())
        start = time.process_time()
        await work
        await self._engine.drain()
        took = time.process_time() - start
        watch.cancel()
        print(f"{name:32} {took:8.2f} s   longest block {self._longest * 1000:5.0f} ms")  # noqa: T201
        return took

    async def _watch(self) -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0)
            now = time.perf_counter()
            self._longest = max(self._longest, now - last)
            last = now

    async def search(self, bodies: Sequence[object]) -> list[float]:
        """CPU milliseconds of each search, ascending."""
        times = []
        for body in bodies:
            start = time.process_time()
            await self.ask("POST", f"/indexes/{_UID}/search", body)
            times.append((time.process_time() - start) * 1000)
        return sorted(times)


def read_inputs(
    documents: Path, queries: Path, settings: Path | None
) -> tuple[list[dict[str, Any]], list[object], dict[str, Any]]:
    """(documents, bodies of searches, settings)."""
    with gzip.open(documents, "rt", encoding="utf-8") as file:
        base = [json.loads(line) for line in file]
    lines = [json.loads(line) for line in queries.read_text("utf-8").splitlines()]
    bodies = [
        line["body"] for line in lines if line["path"].endswith("/search") and line.get("kind") != "error"
    ]
    wanted = json.loads(settings.read_text("utf-8"))["packages"]["settings"] if settings else {}
    return base, [body for body in bodies if body][::5], wanted


async def run(
    count: int, base: Sequence[dict[str, Any]], bodies: Sequence[object], wanted: dict[str, Any]
) -> None:
    """Measure everything once and print it."""
    with tempfile.TemporaryDirectory() as folder:
        engine = await open_engine(Path(folder))
        spare_full_collections()
        engine.scheduler.finished = lambda _: settle()
        bench = _Bench(engine)
        await bench.timed("settings, empty", bench.ask("PATCH", f"/indexes/{_UID}/settings", wanted))

        async def load() -> None:
            part: list[dict[str, Any]] = []
            for document in copies(base, count):
                part.append(document)
                if len(part) == _BATCH:
                    await bench.ask("POST", f"/indexes/{_UID}/documents", part)
                    part = []
            if part:
                await bench.ask("POST", f"/indexes/{_UID}/documents", part)

        took = await bench.timed(f"index {count} documents", load())
        print(f"{'':32} {count / took:8.0f} documents/s")  # noqa: T201
        small = [{**document, "summary": "another text"} for document in base[:_SMALL]]
        await bench.timed(
            f"replace {_SMALL} documents", bench.ask("POST", f"/indexes/{_UID}/documents", small)
        )
        times = await bench.search(bodies)
        print(  # noqa: T201
            f"{len(times)} searches: median {statistics.median(times):.1f} ms,"
            f" 95 % {times[int(len(times) * 0.95)]:.1f} ms, slowest {times[-1]:.0f} ms"
        )
        filterable = [*wanted.get("filterableAttributes", ()), "version"]
        await bench.timed(
            "change filterable attributes",
            bench.ask("PATCH", f"/indexes/{_UID}/settings", {"filterableAttributes": filterable}),
        )
        await bench.timed(
            "change stop words", bench.ask("PATCH", f"/indexes/{_UID}/settings", {"stopWords": ["the"]})
        )
        print(f"memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB at most")  # noqa: T201
        engine.close()
        start = time.process_time()
        (await open_engine(Path(folder))).close()
        print(f"start {time.process_time() - start:.2f} s")  # noqa: T201


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m miroir.engine.bench", description=__doc__)
    parser.add_argument("--documents", type=Path, required=True, help="gzipped, one JSON object a line")
    parser.add_argument(
        "--queries", type=Path, required=True, help="one object with `path` and `body` a line"
    )
    parser.add_argument("--settings", type=Path, help='JSON: {"packages": {"settings": {...}}}')
    parser.add_argument("--count", type=int, default=5000, help="documents to index")
    arguments = parser.parse_args()
    inputs = read_inputs(arguments.documents, arguments.queries, arguments.settings)
    asyncio.run(run(arguments.count, *inputs))


if __name__ == "__main__":
    main()

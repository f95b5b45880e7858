"""One embedded engine: open, run in the background or step by step, crash, close.

engine = await open_engine(path)        # None: everything in memory
reply = await engine.edge.respond(HttpRequest("GET", "/health"))
await engine.run()                      # for ever; or `await engine.step()` until it returns False
engine = await engine.crash()           # what was not durable is lost; a successor on the same store
engine.close()
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import orjson

from miroir.engine.backend import EngineBackend
from miroir.engine.dump_import import import_dump
from miroir.engine.jobs import decode_job, summary
from miroir.engine.loading import load_catalog
from miroir.engine.scheduler import Limits, Scheduler
from miroir.engine.state import State
from miroir.engine.store import Store
from miroir.engine.task_queue import TaskQueue
from miroir.meili.edge import Edge
from miroir.meili.http import HttpRequest
from miroir.meili.tasks import Batch

_decode_batch = msgspec.msgpack.Decoder(Batch).decode


def _random_uuid() -> str:
    return str(uuid.uuid4())


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What an engine is told at its start; the clock and randomness are the caller's to give."""

    master_key: str | None = None
    features: tuple[str, ...] = ()  #: experimental features that are on from the start
    limits: Limits = field(default_factory=Limits)
    now_ns: Callable[[], int] = time.time_ns
    new_uuid: Callable[[], str] = _random_uuid
    on_error: Callable[[HttpRequest, Exception], None] | None = None


class Engine:
    """A running engine. `edge` answers requests; `run` or `step` works the queue off."""

    def __init__(
        self, store: Store, state: State, scheduler: Scheduler, edge: Edge, options: Options
    ) -> None:
        self.store = store
        self.state = state
        self.scheduler = scheduler
        self.edge = edge
        self._options = options

    async def run(self) -> None:
        """Work the queue off for ever; meant to be cancelled."""
        await self.scheduler.run()

    async def step(self) -> bool:
        """Run one batch; False when nothing is queued."""
        return await self.scheduler.step()

    async def drain(self) -> None:
        """Run batches until nothing is queued."""
        while await self.step():
            pass

    async def crash(self) -> Engine:
        """Forget everything that is not durable and start again from the same store.

        The caller has cancelled `run` before. This engine must not be used afterwards.
        """
        return await _start(Store(self.store.connection), self.scheduler.files_dir, self._options)

    def close(self) -> None:
        """Close the store."""
        self.store.close()


async def open_engine(
    path: Path | None = None, options: Options | None = None, *, dump: Path | None = None
) -> Engine:
    """Open or create an engine. `path` is a directory; None keeps everything in memory.

    `dump`: a dump to start from; the directory must be empty then.

    Raises:
        EngineError: the data is of another version, in use by another process, or unreadable.
    """
    store = Store.open(None if path is None else path / "engine.sqlite3")
    options = options or Options()
    try:
        if dump is not None:
            import_dump(store, dump, options.now_ns())
        return await _start(store, path, options)
    except BaseException:
        store.close()
        raise


async def _start(store: Store, files_dir: Path | None, options: Options) -> Engine:
    queue = TaskQueue()
    for task in store.tasks():
        queue.put(task)
    for uid, record in store.batches():
        queue.batches[uid] = _decode_batch(record)
    for uid, body in store.jobs():
        if uid in queue.tasks:
            queue.summaries[uid] = summary(decode_job(body))
    features = dict.fromkeys(options.features, True)
    stored = store.meta("features")
    if stored is not None:
        features = {**orjson.loads(stored), **features}
    scheduler = Scheduler(
        store,
        queue,
        await load_catalog(store, _yield),
        features=features,
        now_ns=options.now_ns,
        limits=options.limits,
        files_dir=files_dir,
    )
    state = State(
        store,
        scheduler,
        features=features,
        master_key=options.master_key,
        now_ns=options.now_ns,
        new_uuid=options.new_uuid,
    )
    edge = Edge(EngineBackend(state), on_error=options.on_error)
    return Engine(store, state, scheduler, edge, options)


async def _yield() -> None:
    await asyncio.sleep(0)

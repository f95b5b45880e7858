"""A whole cluster in one event loop on virtual time: embedded engines, one orchestrator, faults in between.

Everything runs as in production but for four things: the store commits inline, nodes are called in process through
a faulty network, clock and randomness are seeded, and whatever can die has a `crash`. A crash is what kill -9 is:
from that moment on nothing the dead one does reaches the disk or the network, then its tasks are cancelled.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec
import orjson

from miroir.adapters.nodes_inprocess import InProcessNodes
from miroir.adapters.store_sqlite import SqliteStore
from miroir.bootstrap import Orchestrator, running
from miroir.config import Config, TaskStoreConfig, from_tree
from miroir.core.topology import NodeId, ReplicaState
from miroir.engine.embedded import Engine, Options, open_engine
from miroir.meili.http import HttpReply, HttpRequest
from miroir.ports.nodes import NodeError
from miroir.ports.store import Reader, Store, Tx
from tests.support.faults import FaultRates, FaultyTransport, Network

T = TypeVar("T")

NODE_KEY = "key-of-the-nodes"
_EPOCH_NS = 1_700_000_000_000_000_000
_JOURNAL_MAX = 5000


class ConnectionLostError(Exception):
    """The orchestrator died with this request in its hands, or was not there."""


@dataclass(frozen=True)
class Shape:
    """Of a cluster: `nodes` per group, `groups`, copies per group, shards of an index."""

    nodes: int = 3
    groups: int = 1
    replication_factor: int = 2
    shards: int = 8
    exact: bool = False  #: indexes keep the vocabulary of the whole on every node

    @staticmethod
    def random(rng: random.Random, *, shards_max: int = 64) -> Shape:
        """Any shape that is allowed: 1 to 5 nodes in a group, RF 1 to 3, 1 or 2 groups."""
        nodes = rng.randint(1, 5)
        return Shape(
            nodes=nodes,
            groups=rng.choice((1, 1, 2)),
            replication_factor=rng.randint(1, min(3, nodes)),
            shards=rng.choice([n for n in (1, 2, 3, 5, 8, 16, 64) if n <= shards_max]),
        )

    @property
    def copies(self) -> int:
        return self.groups * self.replication_factor

    def node_ids(self) -> list[tuple[str, int]]:
        """(id, group) of every node."""
        return [(f"n{group}-{number}", group) for group in range(self.groups) for number in range(self.nodes)]

    def config(self) -> Config:
        """What the orchestrator is told. Deadlines short enough that a fault costs few polls."""
        return from_tree(
            {
                "nodes": [
                    {"id": node, "address": f"http://{node}:7700", "replica_group": group}
                    for node, group in self.node_ids()
                ],
                "shards": self.shards,
                "search": {"exact": self.exact},
                "replication_factor": self.replication_factor,
                "replica_groups": self.groups,
                "server": {"request_timeout_ms": 10_000},
                "writes": {"node_request_timeout_ms": 5_000, "lag_after_s": 8.0},
            }
        )


class MortalStore:
    """One orchestrator's hold of the store: transactions take a moment each, and none happens after death."""

    def __init__(self, inner: Store, rng: random.Random) -> None:
        self._inner = inner
        self._rng = rng
        self._turn = asyncio.Lock()
        self.dead = False
        self.committed: Callable[[], None] = lambda: None

    async def transact(self, fn: Callable[[Tx], T]) -> T:
        async with self._turn:
            await asyncio.sleep(self._rng.random() * 0.004)
            if self.dead:
                await asyncio.Event().wait()
            result = await self._inner.transact(fn)
            self.committed()
            await asyncio.sleep(self._rng.random() * 0.002)
            if self.dead:
                await asyncio.Event().wait()
            return result

    def read(self, fn: Callable[[Reader], T]) -> T:
        return self._inner.read(fn)

    def close(self) -> None:
        """The file is the simulation's."""


class SimNode:
    """One embedded engine that can crash, come back, and lose its disk. Is a `FrontDesk`."""

    def __init__(self, cluster: SimCluster, node: NodeId) -> None:
        self.id = node
        self._cluster = cluster
        self._engine: Engine | None = None
        self._work: asyncio.Task[None] | None = None
        self._serving: set[asyncio.Task[HttpReply]] = set()
        self.up = False

    @property
    def engine(self) -> Engine:
        assert self._engine is not None
        return self._engine

    async def start(self) -> None:
        """Start, or start again on what is durable."""
        if self.up:
            return
        self._cluster.note(self.id, "starts")
        if self._engine is None:
            options = Options(
                master_key=NODE_KEY, now_ns=self._cluster.now_ns, on_error=self._cluster.note_node_error
            )
            self._engine = await open_engine(None, options)
        else:
            self._engine = await self._engine.crash()
        scheduler = self._engine.scheduler
        rested = scheduler.breathe

        async def breathe() -> None:
            await asyncio.sleep(self._cluster.rng.random() * self._cluster.batch_step_s)
            await rested()

        scheduler.breathe = breathe  # type: ignore[method-assign]  # a batch takes time
        self._work = self._cluster.background(self._engine.run(), f"engine {self.id}")
        self.up = True

    async def crash(self) -> None:
        """kill -9: what is not committed is gone, callers see the connection reset."""
        if not self.up:
            return
        self._cluster.note(self.id, "crashes")
        self.up = False
        assert self._work is not None
        await _end({self._work, *self._serving})

    async def wipe(self) -> None:
        """kill -9, and the disk is gone too."""
        await self.crash()
        self._cluster.note(self.id, "loses its disk")
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def disk(self) -> sqlite3.Connection:
        """A copy of what is on its disk now."""
        copy = sqlite3.connect(":memory:")
        self.engine.store.connection.backup(copy)
        return copy

    async def roll_back(self, copy: sqlite3.Connection) -> None:
        """kill -9, and an older copy of its disk takes the place of what it had."""
        await self.crash()
        self._cluster.note(self.id, "is rolled back")
        copy.backup(self.engine.store.connection)

    async def respond(self, request: HttpRequest) -> HttpReply:
        """A server goes on working when the caller hangs up."""
        if not self.up:
            raise NodeError(self.id, "connection refused", refused=True)
        task = asyncio.get_running_loop().create_task(self.engine.edge.respond(request))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        await asyncio.wait({task})
        if task.cancelled():
            raise NodeError(self.id, "connection reset")
        reply = task.result()
        if request.path != "/health":
            self._cluster.note(
                self.id,
                request.method,
                request.path,
                request.query,
                request.body,
                "->",
                reply.status,
                reply.body,
            )
        return reply

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The decoded body of a request to the node itself, which must succeed."""
        raw = b"" if body is None else orjson.dumps(body)
        headers = {"authorization": f"Bearer {NODE_KEY}", "content-type": "application/json"}
        path, _, query = path.partition("?")
        reply = await self.engine.edge.respond(HttpRequest(method, path, query, headers, raw))
        assert reply.status == 200, (reply.status, reply.body)
        return orjson.loads(reply.body)


class Life:
    """One orchestrator process, from its start to its death."""

    def __init__(self, cluster: SimCluster, store: MortalStore, transport: FaultyTransport) -> None:
        self.store = store
        self.transport = transport
        self.requests: set[asyncio.Task[HttpReply]] = set()
        self.orchestrator: Orchestrator | None = None
        self._cluster = cluster
        self.task = cluster.background(self._live(), "orchestrator")

    async def _live(self) -> None:
        cluster = self._cluster
        # What it writes beside the store goes where the store is.
        place = TaskStoreConfig(path=str(cluster.directory / "miroir.db"))
        config = msgspec.structs.replace(cluster.config, task_store=place)
        async with running(
            config, self.store, self.transport, now_ns=cluster.now_ns, rng=cluster.rng
        ) as orchestrator:
            self.orchestrator = orchestrator
            await asyncio.Event().wait()

    @property
    def dead(self) -> bool:
        return self.store.dead

    async def crash(self) -> None:
        """kill -9: nothing durable or sent from here on, then every task of it ends."""
        self.kill()
        await _end({self.task, *self.requests})

    def kill(self) -> None:
        """The moment of death alone, for places that cannot wait."""
        self.store.dead = True
        self.transport.dead = True


@dataclass(frozen=True)
class Reply:
    """An answer, decoded."""

    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)


class SimCluster:
    """Nodes, the network, the store, and the orchestrator that lives now."""

    def __init__(self, shape: Shape, rng: random.Random, directory: Path) -> None:
        self.shape = shape
        self.rng = rng
        self.config = shape.config()
        self.directory = directory
        self.network = Network(random.Random(rng.random()))
        self.batch_step_s = 0.002
        self.broken: list[str] = []  #: failures that no simulated fault explains
        self._journal: deque[tuple[Any, ...]] = deque(maxlen=_JOURNAL_MAX)
        self._tasks: set[asyncio.Task[None]] = set()
        self._desks = InProcessNodes(NODE_KEY)
        self._store = SqliteStore(directory / "miroir.db", inline=True, durable=False)
        self.nodes = {node: SimNode(self, NodeId(node)) for node, _ in shape.node_ids()}
        self.life: Life | None = None
        for node in self.nodes.values():
            self._desks.attach(node.id, node)

    # --- life and death -----------------------------------------------------------------------

    async def start(self) -> None:
        """Every node, then the orchestrator; returns when it takes writes."""
        for node in self.nodes.values():
            await node.start()
        await self.start_orchestrator()
        await self.until("every node is live", self.all_live)

    async def start_orchestrator(self) -> None:
        """A new orchestrator on the same store, unless one lives."""
        if self.life is None or self.life.dead:
            self.note("orchestrator starts")
            store = MortalStore(self._store, self.rng)
            self.life = Life(self, store, FaultyTransport(self._desks, self.network))

    async def crash_orchestrator(self) -> None:
        """kill -9 of the orchestrator."""
        if self.life is not None:
            self.note("orchestrator crashes")
            life, self.life = self.life, None
            await life.crash()

    async def stop(self) -> None:
        """The end of the simulation."""
        await self.crash_orchestrator()
        for node in self.nodes.values():
            await node.wipe()
        await _end({*self._tasks, *self.network.strays})
        self._store.close()

    def background(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run `work`; an exception of it is a failure of the simulation."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                self.broken.append(f"{name} ended: {_describe(error)}")

        task.add_done_callback(ended)
        return task

    def now_ns(self) -> int:
        """Wall-clock time of everybody."""
        return _EPOCH_NS + int(asyncio.get_running_loop().time() * 1e9)

    def note_node_error(self, request: HttpRequest, error: Exception) -> None:
        """A node answered 500."""
        self.broken.append(f"node: {request.method} {request.path}: {_describe(error)}")

    # --- what happened ------------------------------------------------------------------------

    def note(self, *parts: Any) -> None:
        """Remember an event for the message of a failure."""
        self._journal.append((asyncio.get_running_loop().time(), *parts))

    def journal(self) -> str:
        """The last events, one a line."""
        return "\n".join(
            f"{event[0]:9.4f} " + " ".join(_short(part) for part in event[1:]) for event in self._journal
        )

    # --- asking -------------------------------------------------------------------------------

    async def ask(
        self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None, **query: Any
    ) -> Reply:
        """One client request. Raises ConnectionLostError when the orchestrator dies meanwhile or is not there."""
        life = self.life
        if life is None or life.dead or life.orchestrator is None:
            raise ConnectionLostError
        raw = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        sent = {"content-type": "application/json"} if raw else {}
        path, _, inline = path.partition("?")
        request = HttpRequest(method, path, inline or urlencode(query), {**sent, **(headers or {})}, raw)
        self.note("client asks", method, path, inline or query, raw)
        task = asyncio.get_running_loop().create_task(life.orchestrator.front.respond(request))
        life.requests.add(task)
        task.add_done_callback(life.requests.discard)
        await asyncio.wait({task, life.task}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
            await asyncio.sleep(0)
            assert life.dead, f"the orchestrator ended by itself: {self.broken}"
        if task.cancelled() or life.dead:
            raise ConnectionLostError
        reply = task.result()
        self.note("client hears", method, path, reply.status, reply.body)
        if reply.status == 500:
            self.broken.append(f"500 for {method} {path}: {reply.body!r}")
        value: Any = reply.body.decode() if (reply.content_type or "").startswith("text/") else None
        if value is None and reply.body:
            value = orjson.loads(reply.body)
        return Reply(reply.status, value, dict(reply.headers))

    @property
    def orchestrator(self) -> Orchestrator:
        """The living one's object graph."""
        assert self.life is not None
        assert self.life.orchestrator is not None
        return self.life.orchestrator

    # --- waiting ------------------------------------------------------------------------------

    def all_live(self) -> bool:
        """Whether the orchestrator lives and knows every node to be up."""
        if self.life is None or self.life.orchestrator is None:
            return False
        return len(self.orchestrator.writes.cluster.live) == len(self.nodes)

    def is_quiet(self) -> bool:
        """Every task ended, every lane idle and caught up, nothing on its way."""
        if not self.all_live() or self.network.strays:
            return False
        writes = self.orchestrator.writes
        return (
            all(op.stage == "done" for op in writes.log.ops.values())
            and all(
                track.lane.idle and track.lane.phase != "recovering"
                for track in writes.delivery.tracks.values()
            )
            and not any(self._lags(physical, node) for physical, node in writes.cluster.lanes)
        )

    def _lags(self, physical: str, node: str) -> bool:
        cluster = self.orchestrator.writes.cluster
        if cluster.index_of(physical) is None or not cluster.lanes[physical, node].lagging:
            return False
        return node in cluster.members(physical)

    async def until(self, what: str, check: Callable[[], bool], *, within_s: float = 600.0) -> None:
        """Wait for `check`; fails when it does not become true."""
        end = asyncio.get_running_loop().time() + within_s
        while not check():
            assert not self.broken, self.broken
            assert asyncio.get_running_loop().time() < end, f"not within {within_s} s: {what}: {self.stuck()}"
            await asyncio.sleep(0.25)

    def stuck(self) -> str:
        """What is not done yet, for a failure's message."""
        if self.life is None or self.life.orchestrator is None:
            return "no orchestrator"
        writes = self.orchestrator.writes
        lines = [f"live: {sorted(writes.cluster.live)}; strays: {len(self.network.strays)}"]
        lines += [f"op {op.id} {op.kind}: {op.stage}" for op in writes.log.ops.values() if op.stage != "done"]
        lines += [
            f"lane {key}: {track.lane.phase} undone {track.lane.undone} replaying {track.lane.replaying}"
            for key, track in writes.delivery.tracks.items()
            if not track.lane.idle or track.lane.phase == "recovering"
        ]
        lines += [f"lagging: {key}" for key, lane in writes.cluster.lanes.items() if lane.lagging]
        return "; ".join(lines)

    async def quiet(self) -> None:
        """All faults over, everybody up; wait until nothing is left to do, and late duplicates were noticed."""
        self.network.rates = FaultRates()
        self.network.cut_off.clear()
        self.network.slow.clear()
        for node in self.nodes.values():
            await node.start()
        await self.start_orchestrator()
        await self.until("quiet", self.is_quiet)
        await asyncio.sleep(12.0)  # longer than the slowest poll, and than the sweep of what was dropped
        await self.until("quiet again", self.is_quiet)
        assert not self.broken, self.broken

    def may_lose(self, node: str) -> bool:
        """Whether every shard of the node has another readable copy, and nothing waits for this node alone."""
        if self.life is None or self.life.orchestrator is None:
            return False
        snapshot = self.orchestrator.writes.cluster.snapshot()
        placements = self.orchestrator.writes.cluster.placement
        if set(placements) - {view.physical_uid for view in snapshot.indexes.values()}:
            return False
        return all(
            set(snapshot.readable(view, shard)) - {NodeId(node)}
            for view in snapshot.indexes.values()
            for shard, replicas in enumerate(view.placement)
            if replicas.get(NodeId(node)) is ReplicaState.IN_SYNC
        )


async def _end(tasks: set[asyncio.Task[Any]]) -> None:
    """Cancel until they are gone; they may be in the middle of cleaning up."""
    waiting = {task for task in tasks if not task.done()}
    while waiting:
        for task in waiting:
            task.cancel()
        _, waiting = await asyncio.wait(waiting, timeout=0.5)


def _short(part: Any) -> str:
    text = part.decode(errors="replace") if isinstance(part, bytes) else str(part)
    return text if len(text) < 300 else text[:300] + "…"


def _describe(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_describe(inner) for inner in error.exceptions)
    trace: TracebackType | None = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else ""
    return f"{type(error).__name__}: {error}{place}"


@asynccontextmanager
async def sim_cluster(shape: Shape, rng: random.Random) -> AsyncIterator[SimCluster]:
    """A started cluster, stopped at the end."""
    with tempfile.TemporaryDirectory(dir=_fast_directory()) as directory:
        cluster = SimCluster(shape, rng, Path(directory))
        try:
            await cluster.start()
            yield cluster
        except BaseException as error:
            error.add_note(cluster.journal())
            raise
        finally:
            await cluster.stop()


def _fast_directory() -> str | None:
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() else None

"""A whole cluster in one loop on virtual time, for tests of the write path: embedded nodes, our routes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from miroir.adapters.nodes_inprocess import InProcessNodes
from miroir.adapters.store_sqlite import SqliteStore
from miroir.api.backend import OrchestratorBackend
from miroir.api.backend_writes import write_handlers
from miroir.core.hashing import shard_of
from miroir.core.records import NodeRecord
from miroir.core.reserved import SEQ_FIELD, decode_seq
from miroir.core.topology import NodeId, ReplicaState
from miroir.core.writes.write_limits import WriteLimits
from miroir.engine.embedded import Engine, Options, open_engine
from miroir.engine.outcome import Outcome, failed
from miroir.engine.task_queue import Chosen
from miroir.meili.codes import ApiError
from miroir.meili.edge import Edge
from miroir.meili.http import HttpReply, HttpRequest
from miroir.meili.tasks import Task
from miroir.ports.nodes import NodeTransport
from miroir.services.writes.writes import WritePath
from tests.support.faults import FaultRates, FaultyTransport, Network

LIMITS = WriteLimits(shards=8, replication_factor=2, request_timeout_s=2.0, lag_after_s=5.0)


@dataclass
class SmallCluster:
    """Nodes survive `orchestrator()`; the store is a file, so that another orchestrator can take over."""

    path: Path
    seed: int = 0
    names: tuple[str, ...] = ("a", "b", "c")
    rates: FaultRates = field(default_factory=FaultRates)
    limits: WriteLimits = LIMITS
    engines: dict[str, Engine] = field(default_factory=dict)
    nodes: InProcessNodes = field(default_factory=InProcessNodes)
    transport: FaultyTransport | None = None
    down: set[str] = field(default_factory=set)
    writes: WritePath | None = None
    edge: Edge | None = None
    clock_ns: int = 1_700_000_000_000_000_000

    def __post_init__(self) -> None:
        self.network = Network(random.Random(self.seed), self.rates)

    def stop(self, *names: str) -> None:
        """These nodes refuse connections; what they hold stays."""
        for name in names:
            self.down.add(name)
            self.nodes.detach(NodeId(name))

    def start_all(self) -> None:
        """Every node answers again."""
        for name in self.down:
            self.nodes.attach(NodeId(name), self.engines[name].edge)
        self.down.clear()

    def no_room(self, *names: str) -> None:
        """The disks of these nodes are full, and of no others: every task fails, and nothing of it is kept."""
        for name, engine in self.engines.items():
            vars(engine.scheduler).pop("_execute", None)
            if name in names:
                engine.scheduler._execute = _refuse  # type: ignore[method-assign]

    def now_ns(self) -> int:
        self.clock_ns += 1000
        return self.clock_ns + int(asyncio.get_running_loop().time() * 1e9)

    @asynccontextmanager
    async def running_nodes(self) -> AsyncIterator[None]:
        self._opened: list[Engine] = []
        try:
            async with asyncio.TaskGroup() as group:
                self._loops = {}
                self._group = group
                for name in self.names:
                    await self.fresh_node(name)
                yield
                for loop in self._loops.values():
                    loop.cancel()
        finally:
            for engine in self._opened:
                engine.close()

    async def fresh_node(self, name: str) -> None:
        """An empty engine under this name, in the place of another one if there was one."""
        if name in self._loops:
            self._loops[name].cancel()
        engine = await open_engine(None, Options(now_ns=self.now_ns))
        self._opened.append(engine)
        self.engines[name] = engine
        self.nodes.attach(NodeId(name), engine.edge)
        self._loops[name] = self._group.create_task(engine.run())

    @asynccontextmanager
    async def orchestrator(self) -> AsyncIterator[None]:
        """Leaving it is a crash: nothing is finished, the transport goes dead."""
        rng = random.Random(self.seed)
        self.transport = FaultyTransport(self.nodes, self.network)
        transport: NodeTransport = self.transport
        store = SqliteStore(self.path, inline=True, durable=False)
        writes = WritePath(store, transport, limits=self.limits, now_ns=self.now_ns, rng=rng)
        self.writes = writes
        backend = OrchestratorBackend(
            write_handlers(writes, master_key=None),
            master_key=None,
            keys=writes.keys,
            now_ns=self.now_ns,
            features=lambda: writes.registry.features,
        )
        self.edge = Edge(backend)
        await writes.open(NodeRecord(id=name, address=f"http://{name}") for name in self.names)
        async with asyncio.TaskGroup() as group:
            loop = group.create_task(writes.run())
            await writes.prober.first_round()
            try:
                yield
            finally:
                self.transport.dead = True
                loop.cancel()
        store.close()

    async def ask(self, method: str, path: str, value: Any = None, query: str = "") -> HttpReply:
        assert self.edge is not None
        body = b"" if value is None else orjson.dumps(value)
        headers = {"content-type": "application/json"} if value is not None else {}
        return await self.edge.respond(HttpRequest(method, path, query, headers, body))

    async def get(self, path: str, query: str = "") -> Any:
        reply = await self.ask("GET", path, query=query)
        assert reply.status == 200, reply.body
        return orjson.loads(reply.body)

    async def write(self, method: str, path: str, value: Any = None, query: str = "") -> int:
        """An accepted write; its task uid."""
        reply = await self.ask(method, path, value, query)
        assert reply.status == 202, reply.body
        return int(orjson.loads(reply.body)["taskUid"])

    async def wait(self, uid: int, limit_s: float = 600) -> Any:
        """The task once it has ended."""
        async with asyncio.timeout(limit_s):
            while True:
                task = await self.get(f"/tasks/{uid}")
                if task["status"] in ("succeeded", "failed", "canceled"):
                    return task
                await asyncio.sleep(0.05)

    async def done(self, method: str, path: str, value: Any = None, query: str = "") -> Any:
        return await self.wait(await self.write(method, path, value, query))

    async def live(self) -> None:
        """Wait until every node that is not down is live."""
        assert self.writes is not None
        async with asyncio.timeout(600):
            while len(self.writes.cluster.live) < len(self.names) - len(self.down):  # noqa: ASYNC110 - virtual time
                await asyncio.sleep(0.1)

    async def quiet(self) -> None:
        """Wait until every lane is idle and caught up, and no stray request is under way."""
        assert self.writes is not None
        async with asyncio.timeout(3000):
            calm = 0
            while calm < 4:
                lanes = [track.lane for track in self.writes.delivery.tracks.values()]
                lagging = self.writes.cluster.snapshot().lagging
                idle = all(lane.idle and not lane.replaying for lane in lanes)
                settled = idle and not lagging and not self.network.strays
                calm = calm + 1 if settled else 0
                await asyncio.sleep(1.0)

    def on_node(self, name: str, physical: str) -> dict[str, dict[str, Any]]:
        """Documents of one index as a node holds them."""
        live = self.engines[name].scheduler.catalog.get(physical)
        if live is None:
            return {}
        documents = list(live.index.documents.values())
        assert live.index.primary_key is not None or not documents
        return {str(d[live.index.primary_key]): dict(d) for d in documents}

    def merged(self, uid: str) -> dict[str, dict[str, Any]]:
        """Documents of a visible index by id, every replica in sync of every shard compared on the way."""
        assert self.writes is not None
        view = self.writes.cluster.snapshot().indexes[uid]
        merged: dict[str, dict[str, Any]] = {}
        holders: dict[str, set[str]] = {}
        for name in self.names:
            for document_id, document in self.on_node(name, view.physical_uid).items():
                replicas = view.placement[shard_of(document_id, view.shard_count)]
                if replicas.get(NodeId(name)) is ReplicaState.STALE:
                    continue  # to be rebuilt by a copy, and read by nobody
                other = merged.setdefault(document_id, document)
                assert other == document, f"{document_id} differs on {name}"
                holders.setdefault(document_id, set()).add(name)
        for document_id, names in holders.items():
            replicas = view.placement[shard_of(document_id, view.shard_count)]
            owners = {str(node) for node, state in replicas.items() if state is not ReplicaState.STALE}
            assert names == owners, document_id
        numbers = [decode_seq(d[SEQ_FIELD]) for d in merged.values()]
        assert len(set(numbers)) == len(numbers), "two documents share a number"
        return {
            document_id: {k: v for k, v in d.items() if not k.startswith("_miroir_")}
            for document_id, d in merged.items()
        }


async def _refuse(chosen: Chosen, tasks: list[Task]) -> Outcome:
    full = ApiError("no_space_left_on_device", "No space left on device (os error 28)")
    return Outcome(tasks=[failed(task, full) for task in tasks])

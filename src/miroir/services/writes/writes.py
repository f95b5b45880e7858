"""The write path as one object: what bootstrap builds, starts and runs.

    writes = WritePath(store, transport, limits=..., now_ns=..., rng=...)
    await writes.open(nodes)          # load the store, take up the node list
    await writes.run()                # log, sequencer, lanes, completion, prober; until cancelled
    writes.cluster.snapshot()         # for readers

After a crash `open` finds every accepted op in the store: those not sequenced are sequenced, those not ended are
delivered on from where each node's own task list says the lane stands.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping

from miroir.core.records import NodeRecord, OpRecord, Resolution
from miroir.core.topology import NodeId
from miroir.core.writes.ops import OpKind
from miroir.core.writes.write_limits import WriteLimits
from miroir.meili.keys import Key
from miroir.meili.tasks import Task
from miroir.ports.dumps import DumpFiles
from miroir.ports.nodes import NodeTransport
from miroir.ports.posts import Poster
from miroir.ports.store import Store
from miroir.services.cluster import Cluster
from miroir.services.dumps import Dumps
from miroir.services.prober import Prober
from miroir.services.readers import Readers
from miroir.services.reads.stats import Stats
from miroir.services.registry import Registry
from miroir.services.tasks import Tasks
from miroir.services.webhooks import Webhooks
from miroir.services.writes.barriers import Barriers
from miroir.services.writes.compaction import Compaction
from miroir.services.writes.completion import Completion
from miroir.services.writes.drift import Drift
from miroir.services.writes.ingest import Ingest
from miroir.services.writes.lanes import Delivery
from miroir.services.writes.leftovers import Leftovers
from miroir.services.writes.mending import Mending
from miroir.services.writes.node_requests import RequestWriter
from miroir.services.writes.oplog import OpLog
from miroir.services.writes.retention import Retention
from miroir.services.writes.rollouts import Rollouts
from miroir.services.writes.sequencer import Sequencer


class WritePath:
    """All services of the write path, wired."""

    def __init__(
        self,
        store: Store,
        transport: NodeTransport,
        *,
        limits: WriteLimits,
        now_ns: Callable[[], int],
        rng: random.Random,
        poster: Poster | None = None,
        dumps: DumpFiles | None = None,
    ) -> None:
        """`poster` None: webhooks are kept but nobody is told. `dumps` None: there is nowhere to put dumps."""
        self.limits = limits
        self.now_ns = now_ns
        self.cluster = Cluster(store, transport)
        self.log = OpLog(store, limits, now_ns)
        self.registry = Registry(store, now_ns, rng)
        self.ingest = Ingest(self.log, self.cluster, limits)
        self.writer = writer = RequestWriter(self.log, self.cluster, limits.rendered_bytes_max)
        self.completion = Completion(store, self.log, self.cluster, writer, limits, now_ns)
        self.barriers = Barriers(transport, self.cluster, self.completion, limits, rng)
        self.sequencer = Sequencer(
            store, self.log, self.cluster, limits, now_ns, deliver=self._deliver, ask=self.barriers.ask
        )
        self.delivery = Delivery(
            transport,
            self.cluster,
            writer,
            limits,
            rng,
            ended=self.completion.ended,
            changed=self.completion.lane_moved,
            hold_from=lambda physical, node: self.rollouts.hold_from(physical, node),
        )
        self.readers = Readers()
        self.rollouts = Rollouts(
            self.cluster,
            self.readers,
            limits,
            wake_lanes=self.delivery.wake_index,
            wake_completion=self.completion.wake,
        )
        self.drift = Drift(
            transport, self.cluster, self.delivery, limits, is_changing=self.rollouts.is_changing
        )
        self.tasks = Tasks(store, self.log, now_ns, changed=self.sequencer.wake, turn=self.sequencer.turn)
        self.stats = Stats(transport, self.cluster, self.log)
        self.retention = Retention(
            store, self.log, self.cluster, self.delivery, writer, self.tasks, limits, now_ns
        )
        self.leftovers = Leftovers(transport, self.cluster, limits)
        self.prober = Prober(
            store,
            transport,
            self.cluster,
            limits,
            rng,
            features=lambda: self.registry.features,
            lose=self._lose_node,
            changed=self._node_changed,
        )
        self.mending = Mending(store, self.log, self.cluster, self.sequencer, self.barriers.pages)
        self.on_node_lost: Callable[[str], None] = lambda node: None  #: its replicas are stale by then
        self._webhooks = None if poster is None else Webhooks(poster, lambda: self.registry.webhooks)
        self.barriers.works[OpKind.INDEX_COMPACT] = Compaction(transport, self.cluster, limits).run
        if dumps is not None:
            self.barriers.works[OpKind.DUMP] = self._dumps(dumps, store).run
        self._connect()

    def _dumps(self, files: DumpFiles, store: Store) -> Dumps:
        pages = self.barriers.pages
        return Dumps(
            files, store, self.cluster, self.registry, pages, self.limits, self.now_ns, lambda: self.log.tasks
        )

    def _connect(self) -> None:
        """What services need of others that are made after them."""
        self.completion.is_second = self.rollouts.is_second
        self.completion.on_commit = self.rollouts.end
        self.completion.mending = self.mending
        self.mending.everything = self.barriers.every_id
        self.mending.drifted = self.delivery.suspect
        self.completion.delivery = self.delivery
        self.barriers.sequencer = self.sequencer
        self.barriers.trusted = self.leftovers.trusted = self.prober.is_itself
        self.prober.is_rolled_back = self.delivery.watches.is_rolled_back
        self.delivery.watches.on_rolled_back = self.prober.distrust
        self.completion.on_round(self.barriers.wake)
        self.completion.on_round(self.sequencer.wake)
        self.completion.on_round(self.tasks.deletions.look)
        self.tasks.on_end = self.tasks.deletions.on_end = self.completion.tell
        self.log.on_append(self._appended)
        if self._webhooks is not None:
            self.completion.on_end(self._webhooks.announce)

    def keys(self) -> Mapping[str, Key]:
        """Every API key by uid."""
        return self.registry.keys

    def on_task_end(self, listener: Callable[[list[Task]], None]) -> None:
        """Call `listener` with tasks that ended (webhooks, metrics)."""
        self.completion.on_end(listener)

    async def open(self, nodes: Iterable[NodeRecord]) -> None:
        """Load the store and go on where the last process stopped; nothing runs before `run`."""
        await self.cluster.open(nodes)
        await self.registry.open()
        self.log.open()
        self.completion.open()
        self.sequencer.open()
        self.mending.open()
        self.tasks.deletions.open()
        for op_id in sorted(self.log.ops):
            op, resolution = self.log.ops[op_id], self.log.resolutions.get(op_id)
            if op.stage != "accepted" and resolution is not None:
                if op.stage == "sequenced":
                    self.rollouts.begin(op, resolution)
                self.delivery.add(op, resolution)
                if op.stage == "sequenced":
                    self.completion.started(op)

    async def run(self) -> None:
        """Every background loop, as one group; until cancelled. An exception of one ends all."""
        async with asyncio.TaskGroup() as group:
            for name, loop in (
                ("log", self.log.run()),
                ("sequencer", self.sequencer.run()),
                ("barriers", self.barriers.run()),
                ("delivery", self.delivery.run()),
                ("mending", self.mending.run()),
                ("completion", self.completion.run()),
                ("rollouts", self.rollouts.run()),
                ("drift", self.drift.run()),
                ("prober", self.prober.run()),
                ("deletions", self.tasks.deletions.run()),
                ("retention", self.retention.run()),
                ("leftovers", self.leftovers.run()),
            ):
                group.create_task(loop, name=name)
            if self._webhooks is not None:
                group.create_task(self._webhooks.run(), name="webhooks")

    def _appended(self, op: OpRecord) -> None:
        self.completion.add(op)
        self.sequencer.add(op)

    def _deliver(self, op: OpRecord, resolution: Resolution) -> None:
        self.rollouts.begin(op, resolution)
        self.delivery.add(op, resolution)
        self.completion.started(op)

    async def _lose_node(self, node: str) -> None:
        await self.completion.lose_node(node)
        self.delivery.reset_node(NodeId(node))
        self.on_node_lost(node)

    def _node_changed(self, node: NodeId) -> None:
        self.delivery.wake_node(node)
        self.completion.wake()

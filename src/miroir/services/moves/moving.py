"""Moving data as one object: what bootstrap builds beside the write path, opens after it, and runs."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable

from miroir.core.moves.cluster_view import MoveLimits
from miroir.core.topology import NodeId
from miroir.ports.nodes import NodeTransport
from miroir.ports.store import Store
from miroir.services.moves.cluster_sight import ClusterSight
from miroir.services.moves.copier import Copier
from miroir.services.moves.ghost_delivery import GhostDelivery
from miroir.services.moves.held_ops import HeldOps
from miroir.services.moves.late import LateArrivals
from miroir.services.moves.layout_check import LayoutCheck
from miroir.services.moves.layouts import Layouts
from miroir.services.moves.operations import Operations
from miroir.services.moves.patrol import Patrol
from miroir.services.moves.replica_check import ReplicaCheck
from miroir.services.moves.resharding import Resharding
from miroir.services.moves.retiring import Retiring
from miroir.services.moves.scrub import Scrub
from miroir.services.moves.shard_calls import ShardCalls
from miroir.services.moves.sizing import Sizing
from miroir.services.moves.standing import Standing
from miroir.services.observation import MoveSight
from miroir.services.writes.writes import WritePath


class Moving:
    """Copies, deletions of old copies, operations; wired to the write path's hooks."""

    def __init__(
        self,
        store: Store,
        transport: NodeTransport,
        writes: WritePath,
        *,
        limits: MoveLimits,
        rng: random.Random,
    ) -> None:
        cluster = writes.cluster
        calls = ShardCalls(
            transport, timeout_s=limits.request_timeout_s, fetch_documents=limits.page_documents
        )
        watches = writes.delivery.watches
        calls.newest = watches.newest
        calls.took = lambda node, task, newest: watches.took(node, task, newest=newest)
        held = HeldOps(writes.log, writes.writer, cluster)
        self.on_incident: Callable[[str], None] = lambda node: None  #: a replica differed; its node
        self.copier = Copier(
            store, cluster, writes.sequencer, writes.delivery, held, calls, limits, writes.now_ns, rng
        )
        self.copier.trusted = writes.prober.is_itself
        self.retiring = Retiring(cluster, writes.delivery, calls, reader_timeout_s=limits.reader_timeout_s)
        self.copier.late = LateArrivals(
            cluster, self._spoil, calls.is_own, self.retiring.give_up, writes.delivery.may_know
        )
        watches.look = self.copier.late.look
        self._store, self._writes = store, writes
        sight = ClusterSight(cluster, writes.limits.replication_factor)
        standing = Standing(cluster, writes.delivery, held)
        replicas = ReplicaCheck(store, cluster, writes.sequencer, writes.delivery, standing, calls)
        replicas.incident = lambda node: self.on_incident(node)
        check = LayoutCheck(
            cluster, writes.sequencer, standing, held, calls, is_busy=writes.mending.is_unsettled
        )
        check.trusted = writes.prober.is_itself
        check.is_copied = lambda layout: any(
            copy.active and copy.physical == layout for copy in self.copier.copies.values()
        )
        self.check = check
        writes.mending.bring_ghosts = GhostDelivery(cluster, writes.sequencer, standing, calls).bring
        writes.completion.on_refused = check.refused
        self.copier.unverified = check.suspect
        layouts = Layouts(store, cluster, writes.sequencer)
        self.resharding = Resharding(cluster, layouts, check, sight, Sizing(calls), writes.now_ns)
        self.operations = Operations(
            store,
            cluster,
            self.copier,
            self.retiring,
            calls,
            limits,
            writes.now_ns,
            scrub=Scrub(replicas),
            sight=sight,
            resharding=self.resharding,
            joined=self._joined,
        )
        self.patrol = Patrol(store, cluster, replicas, calls, self.retiring, limits, writes.now_ns)
        writes.retention.copies_need = lambda: _first_of(self.copier.needed_from(), check.needed_from())
        writes.on_node_lost = self.copier.node_lost

    def open(self) -> None:
        """Load what was begun; the write path is open by then."""
        self._writes.delivery.watches.open(self._store)
        self.operations.open()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.operations.run(), name="operations")
            group.create_task(self.patrol.run(), name="patrol")

    def sight(self) -> MoveSight:
        """What moves now."""
        under_way = [operation for operation in self.operations.all.values() if operation.open]
        built, kept, unverified = self.resharding.count()
        return MoveSight(
            operations=Counter((operation.kind.value, operation.state.value) for operation in under_way),
            copies=Counter(copy.phase.value for copy in self.copier.copies.values()),
            layouts_built=built,
            layouts_kept=kept,
            shards_unverified=unverified,
            patrol_ended_s=(self.patrol.state.round_ended_at or 0) / 1e9,
        )

    def _spoil(self, physical: str, node: str, shards: set[int]) -> None:
        self.on_incident(node)
        self._writes.completion.sights.spoil(physical, node, shards)
        self._writes.completion.lane_moved(physical, node)

    def _joined(self, node: NodeId) -> None:
        self._writes.prober.add(node)
        self._writes.delivery.wake_node(node)


def _first_of(left: dict[str, int], right: dict[str, int]) -> dict[str, int]:
    """The smaller number of each layout."""
    return {one: min(left.get(one, op), right.get(one, op)) for one, op in {**left, **right}.items()}

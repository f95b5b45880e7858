"""Nobody asks, and yet every replica is compared with its peers, again and again, slowly.

Round and round over all shards: a round begins soon after every start of the process, and then once in a while. It goes
on where the process before was, so that rounds end however often processes do. What is found is what nobody could see
happen: a page of a copy that reached its node late while no orchestrator ran, a bit that flipped, somebody's hand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import structlog

from miroir.core.moves.cluster_view import MoveLimits
from miroir.core.moves.copying import UnsafeChangeError
from miroir.core.topology import NodeId
from miroir.ports.nodes import NodeError
from miroir.ports.store import Conflict, Store, Table
from miroir.services.cluster import Cluster
from miroir.services.moves.replica_check import ReplicaCheck
from miroir.services.moves.retiring import Retiring
from miroir.services.moves.shard_calls import NodeRefusedError, ShardCalls
from miroir.services.writes.persisting import persist

log = structlog.get_logger()

#: a process that has just begun has other things to do
_FIRST_S = 60.0
#: between two shards, however few documents they have
_PAUSE_S = 0.05
#: how far a round is is stored so often
_SAVE_S = 60.0
_CURSOR = ("patrol",)


class PatrolState(msgspec.Struct, kw_only=True):
    """What is shown of it. Times in ns since 1970, None when it was not yet."""

    round_began_at: int | None = None
    round_ended_at: int | None = None  #: of the last one that was whole
    replicas: int = 0  #: compared by this process
    differed: int = 0
    leftovers: int = 0  #: shards that lay on nodes where they do not belong


class Patrol:
    """One loop."""

    def __init__(
        self,
        store: Store,
        cluster: Cluster,
        check: ReplicaCheck,
        calls: ShardCalls,
        retiring: Retiring,
        limits: MoveLimits,
        now_ns: Callable[[], int],
    ) -> None:
        self._store = store
        self._cluster = cluster
        self._check = check
        self._calls = calls
        self._retiring = retiring
        self._limits = limits
        self._now_ns = now_ns
        self._saved_s = 0.0
        self.state = PatrolState()
        self.compared: Callable[[int], None] = lambda replicas: None  #: hears of replicas that were compared

    async def run(self) -> None:
        """Until cancelled."""
        if not self._limits.scrub_interval_s:
            return
        await asyncio.sleep(_FIRST_S)
        while True:
            began_s = asyncio.get_running_loop().time()
            await self.round()
            left_s = began_s + self._limits.scrub_interval_s - asyncio.get_running_loop().time()
            await asyncio.sleep(max(_PAUSE_S, left_s))

    async def round(self) -> None:
        """Every shard there is once, from where the last round stopped."""
        self.state.round_began_at = self._now_ns()
        places, cursor = self._check.places(), self._cursor()
        later = [place for place in places if cursor is not None and place <= cursor]
        for place in [*places[len(later) :], *later]:
            await self._look(*place)
            await self._note(place)
            await asyncio.sleep(_PAUSE_S)
        self.state.round_ended_at = self._now_ns()
        log.info(
            "patrol_round_ended",
            shards=len(places),
            differed=self.state.differed,
            leftovers=self.state.leftovers,
        )

    async def _look(self, layout: str, shard: int) -> None:
        """One shard. What cannot be compared now has its turn in the next round."""
        if self._cluster.index_of(layout) is None:
            return
        limits = self._limits
        try:
            if not shard:
                await self._look_for_leftovers(layout)
            seen = await self._check.compare(
                layout, shard, limits, documents_per_s=limits.scrub_documents_per_s
            )
        except (NodeError, NodeRefusedError, Conflict, UnsafeChangeError) as error:
            log.info("patrol_passes_by", index=layout, shard=shard, reason=str(error))
            return
        if seen is None:
            return
        self.state.replicas += seen.replicas
        self.state.differed += seen.differed
        self.compared(seen.replicas)

    async def _look_for_leftovers(self, layout: str) -> None:
        """Documents on nodes that hold other shards of the layout, but not theirs: searches might show them."""
        for node in sorted(
            {node for replicas in self._cluster.placement[layout].shards for node in replicas}
        ):
            index = self._cluster.index_of(layout)
            if NodeId(node) not in self._cluster.live or index is None:
                continue
            known = [s for s, r in enumerate(self._cluster.placement[layout].shards) if node in r]
            found = await self._calls.shards_besides(node, layout, known)
            if found:
                self.state.leftovers += len(found)
                self._check.incident(node)
                self._retiring.give_up(layout, node, found)

    # --- where it is --------------------------------------------------------------------------

    def _cursor(self) -> tuple[str, int] | None:
        row = self._store.read(lambda reader: reader.get(Table.META, _CURSOR))
        if row is None:
            return None
        layout, _, shard = row.decode().rpartition(" ")
        return layout, int(shard)

    async def _note(self, place: tuple[str, int]) -> None:
        now_s = asyncio.get_running_loop().time()
        if now_s - self._saved_s >= _SAVE_S:
            self._saved_s = now_s
            row = f"{place[0]} {place[1]}".encode()
            await persist(self._store, lambda tx: tx.put(Table.META, _CURSOR, row))

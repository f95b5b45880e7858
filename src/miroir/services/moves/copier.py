"""Carries copies out: one task per copy that asks `core/moves/copying.next_act` and does one idempotent step at a time.

Whatever a step achieved is stored before the next begins; after a crash the copy goes on from there. A request whose
answer was lost may still arrive later: the copy then pauses until it can no longer, and repeats the step.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection

import msgspec
import structlog

from miroir.core.moves import copying
from miroir.core.moves.cluster_view import MoveLimits
from miroir.core.moves.copying import CopyAct, CopySight, UnsafeChangeError
from miroir.core.moves.operation_records import CopyPhase, CopyRecord
from miroir.core.records import LaneRecord, PlacementRecord, decode, encode
from miroir.core.topology import NodeId, ReplicaState
from miroir.ports.nodes import NodeError
from miroir.ports.store import Conflict, Reader, Store, Table, Tx
from miroir.services.cluster import Cluster
from miroir.services.moves.comparison import Comparison
from miroir.services.moves.copy_pages import CopyPages
from miroir.services.moves.held_ops import HeldOps
from miroir.services.moves.late import LateArrivals
from miroir.services.moves.shard_calls import NodeRefusedError, ShardCalls
from miroir.services.moves.sources import Cut, Source, SourceReader
from miroir.services.moves.standing import Standing
from miroir.services.writes.lanes import Delivery
from miroir.services.writes.node_requests import last_step
from miroir.services.writes.persisting import persist
from miroir.services.writes.sequencer import Sequencer

log = structlog.get_logger()

_WAIT_S = 0.1
_RETRY_S = 0.5


class Copier:
    """Every copy that is not over, and the tasks that work on them."""

    def __init__(
        self,
        store: Store,
        cluster: Cluster,
        sequencer: Sequencer,
        delivery: Delivery,
        held: HeldOps,
        calls: ShardCalls,
        limits: MoveLimits,
        now_ns: Callable[[], int],
        rng: random.Random,
    ) -> None:
        self._store = store
        self._cluster = cluster
        self._sequencer = sequencer
        self._delivery = delivery
        self._held = held
        self._calls = calls
        self._reader = SourceReader(calls)
        self._standing = Standing(cluster, delivery, held)
        self._comparison = Comparison(calls, held)
        self._pages = CopyPages(calls, self._reader)
        self.limits = limits
        self._now_ns = now_ns
        self._rng = rng
        self.copies: dict[int, CopyRecord] = {}
        self.wanted: Callable[[CopyRecord], bool] = lambda copy: True  #: set by the operations
        self.paused: Callable[[CopyRecord], bool] = lambda copy: False
        self.gone: Callable[[str], bool] = lambda node: False
        self.ended: Callable[[CopyRecord], None] = lambda copy: None
        self.copied: Callable[[int, int], None] = lambda documents, size_bytes: None
        #: (layout, shards): copied from the other layout without a comparison
        self.unverified: Callable[[str, Collection[int]], None] = lambda layout, shards: None
        self.late = LateArrivals(cluster, lambda physical, node, shards: None)
        self.trusted: Callable[[NodeId], Awaitable[bool]]  #: whether a node has the disk it is known by
        self._listings: dict[int, list[str]] = {}
        self._readers: dict[int, tuple[int, float]] = {}  #: copy -> (epoch, loop time) of its beginning
        self._running: set[int] = set()
        self._again: set[int] = set()  #: whose target lost what it had

    def load(self, reader: Reader) -> None:
        """Take up copies that were not over."""
        for key, row in reader.scan(Table.COPIES):
            copy = decode(CopyRecord, row)
            if not copy.over:
                self.copies[int(key[0])] = copy

    def start_all(self, group: asyncio.TaskGroup) -> None:
        """Give every copy without a task one."""
        for number in self.copies.keys() - self._running:
            self._running.add(number)
            group.create_task(self._run(number), name=f"copy {number}")

    def node_lost(self, node: str) -> None:
        """The node lost its disk: what was copied to it is gone."""
        self._calls.forget(node)
        self.late.forget(node)
        self._again.update(n for n, copy in self.copies.items() if copy.target == node and copy.active)

    def needed_from(self) -> dict[str, int]:
        """Layout -> the first op whose payload a copy may still need."""
        needed: dict[str, int] = {}
        for copy in self.copies.values():
            if copy.active:
                first = copy.boundary + 1
                needed[copy.physical] = min(needed.get(copy.physical, first), first)
        return needed

    # --- one copy -----------------------------------------------------------------------------

    async def _run(self, number: int) -> None:
        while number in self.copies:
            copy = self.copies[number]
            try:
                if not await self._step(copy):
                    await asyncio.sleep(_WAIT_S * (0.5 + self._rng.random()))
            except (NodeError, NodeRefusedError) as error:
                await self._recover(copy, error)
            except UnsafeChangeError as error:
                # The placement went another way meanwhile: nothing of this copy may be read.
                log.error("copy_given_up", copy=number, reason=str(error))
                await self._abandon(self.copies[number])
            except Conflict:
                log.warning("placement_changed_meanwhile", copy=number)
        self._running.discard(number)

    async def _recover(self, copy: CopyRecord, error: NodeError | NodeRefusedError) -> None:
        """What passes is waited out; after a refusal all pages are written once more."""
        passing = isinstance(error, NodeError) or error.passing
        log.warning("copy_waits" if passing else "copy_refused", copy=copy.id, reason=str(error))
        may_arrive = passing and not (isinstance(error, NodeError) and error.refused)
        settle_s = min(self.limits.request_timeout_s, 5.0) if may_arrive else 0.0
        await asyncio.sleep(settle_s + _RETRY_S * (0.5 + self._rng.random()))
        if not passing and copy.active and copy.id in self.copies:
            await self._begin_again(self.copies[copy.id])

    async def _step(self, copy: CopyRecord) -> bool:
        """One step; False when there was nothing to do now."""
        if copy.id in self._again:
            self._again.discard(copy.id)
            await self._begin_again(copy)
            return True
        act = copying.next_act(copy, self._sight(copy))
        if act is CopyAct.BEGIN:
            return await self._begin(copy)
        if act is CopyAct.WRITE_PAGES:
            return await self._write_page(copy)
        if act is CopyAct.FOLLOW:
            return await self._follow(copy)
        if act is CopyAct.ABANDON:
            await self._abandon(copy)
            return True
        if act is CopyAct.NOTHING:
            self.copies.pop(copy.id, None)
        return False

    def _sight(self, copy: CopyRecord) -> CopySight:
        record = self._cluster.placement.get(copy.physical)
        exists = record is not None and self._cluster.index_of(copy.physical) is not None
        return CopySight(
            index_exists=exists,
            wanted=self.wanted(copy)
            and copy.attempts <= self.limits.attempts_max
            and (copy.phase is CopyPhase.PLANNED or not self._orphaned(copy, record))
            and not (copy.active and self._held.fills_the_log(copy)),
            paused=self.paused(copy) or (self._held.log_is_nearly_full and not copy.active),
            target_live=NodeId(copy.target) in self._cluster.live,
            target_gone=self.gone(copy.target),
            cleaning=record is not None
            and any(replicas.get(copy.target) is ReplicaState.RETIRING for replicas in record.shards),
            source=None if not exists or (source := self._source(copy)) is None else source.nodes[0],
        )

    def _orphaned(self, copy: CopyRecord, record: PlacementRecord | None) -> bool:
        """No node has all these shards in sync any more: to be planned anew, in other groups."""
        if copy.origin is not None:
            return self._cluster.index_of(copy.origin) is None
        return record is not None and not any(
            all(record.shards[shard].get(node) is ReplicaState.IN_SYNC for shard in copy.shards)
            for node in record.shards[copy.shards[0]]
            if node != copy.target and (NodeId(node) in self._cluster.live or not self.gone(node))
        )

    def _source(self, copy: CopyRecord) -> Source | None:
        """Where to read: live nodes, in sync for the shards, their lanes at or past the boundary."""
        record = self._cluster.placement.get(copy.physical)
        if record is None:
            return None
        if copy.origin is None:
            return self._standing.one_node(copy.physical, copy.shards, copy.boundary, but=(copy.target,))
        wanted = Cut(copy.physical, len(record.shards), frozenset(copy.shards))
        return self._standing.other_layout(copy.origin, wanted, copy.boundary)

    async def _save(self, copy: CopyRecord) -> None:
        await persist(self._store, lambda tx: tx.put(Table.COPIES, (copy.id,), encode(copy)))
        self.copies[copy.id] = copy

    async def _begin(self, copy: CopyRecord) -> bool:
        """Boundary and placement in one transaction, at a point between two ops of the index."""
        physical, target = copy.physical, copy.target
        async with self._sequencer.hold(self._cluster.owner(physical)), self._cluster.changing:
            before = self._cluster.placement.get(physical)
            if before is None or self._cluster.index_of(physical) is None:
                return False
            boundary = self._held.last_op(physical)
            fresh = not self._takes_part(before, target)
            after, begun = copying.begin(before, copy, boundary=boundary)
            if begun is copy:
                return False
            begun = msgspec.structs.replace(begun, started_at=self._now_ns())
            step = last_step(boundary) if boundary >= 0 else -1
            lane = LaneRecord(applied=step, forgotten=step)

            def also(tx: Tx) -> None:
                tx.put(Table.COPIES, (copy.id,), encode(begun))
                if fresh and begun.active:
                    tx.put(Table.LANES, (physical, target), encode(lane))

            await self._cluster.change_placement(physical, after, also)
            if fresh and begun.active:
                self._cluster.lanes[physical, target] = lane
                self._delivery.renew(physical, target)
            # Who reads by an older placement leaves nothing out that is copied from now on.
            self._readers[copy.id] = (self._cluster.epoch, asyncio.get_running_loop().time())
            self._ended(begun)
        return True

    def _is_seen(self, copy: CopyRecord) -> bool:
        """Whether a request may still be under way that does not know of the copy: it would show documents twice."""
        epoch, since = self._readers.get(copy.id, (0, 0.0))
        waited = asyncio.get_running_loop().time() - since
        if waited < self.limits.reader_timeout_s and self._cluster.readers_before(epoch):
            return True
        self._readers.pop(copy.id, None)
        return False

    def _takes_part(self, record: PlacementRecord, node: str) -> bool:
        feeding = (ReplicaState.IN_SYNC, ReplicaState.COPYING)
        return any(replicas.get(node) in feeding for replicas in record.shards)

    # --- pages --------------------------------------------------------------------------------

    async def _write_page(self, copy: CopyRecord) -> bool:
        record = self._cluster.placement[copy.physical]
        source = self._source(copy)
        index = self._cluster.index_of(copy.physical)
        reached = self._standing.reached(copy.physical, copy.target, copy.boundary)
        if source is None or index is None or not reached or self._is_seen(copy):
            return False
        listing = self._listings.get(copy.id)
        if listing is None:
            listing = await self._pages.prepare(copy, record, index, source)
        if not listing or index.primary_key is None:
            self._listings.pop(copy.id, None)
            await self._save(msgspec.structs.replace(copy, phase=CopyPhase.FOLLOWING))
            return True
        further, self._listings[copy.id], pause_s = await self._pages.write(
            copy, index.primary_key, source, listing, self.limits
        )
        await self._save(further)
        self.copied(further.documents - copy.documents, further.size_bytes - copy.size_bytes)
        if pause_s:
            await asyncio.sleep(pause_s)
        return True

    # --- held ops, and the flip ---------------------------------------------------------------

    async def _follow(self, copy: CopyRecord) -> bool:
        """Replay some held ops; when few are left, flip."""
        done = await self._replay(copy)
        if done is not None:
            await self._save(msgspec.structs.replace(self.copies[copy.id], followed=done))
            if self._held.last_op(copy.physical) > done:
                return True
        copy = self.copies[copy.id]
        if self._comparison.is_due(copy):
            return await self._compare_ahead(copy)
        return await self._try_flip(copy)

    async def _compare_ahead(self, copy: CopyRecord) -> bool:
        """The long part of the comparison, while writes go on; False when it cannot be now."""
        index, source = self._cluster.index_of(copy.physical), self._source(copy)
        if index is None or source is None:
            return False
        if index.primary_key is None or source.is_other_layout:
            return await self._try_flip(copy)
        watermark = self._comparison.watermark(copy)
        if not all(self._standing.reached(copy.physical, node, watermark) for node in source.nodes):
            return False
        await self._comparison.ahead(copy, source, index.primary_key)
        return True

    async def _replay(self, copy: CopyRecord) -> int | None:
        """The next run of held ops to the target; returns the last op replayed, None when there was none."""
        batch = self._held.next_batch(copy)
        if batch is None:
            return None
        if batch.behind_lane and not self._standing.reached(copy.physical, copy.target, batch.last):
            return None
        error = await self._held.send(self._calls, copy, batch)
        if error is not None and batch.ops > 1:
            for single in self._held.singly(copy, batch):
                await self._held.send(self._calls, copy, single)
        return batch.last

    async def _try_flip(self, copy: CopyRecord) -> bool:
        """Under a barrier: no new op of the index, all earlier ones applied, both copies equal; then flip."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self.limits.barrier_s
        async with self._sequencer.hold(self._cluster.owner(copy.physical)):
            while True:
                copy = self.copies[copy.id]
                source = self._source(copy)
                if source is None or copy.id in self._again or not self.wanted(copy):
                    return False
                if self._cluster.index_of(copy.physical) is None:
                    return False
                if loop.time() > until:
                    break
                done = await self._replay(copy)
                if done is not None:
                    await self._save(msgspec.structs.replace(copy, followed=done))
                elif not self._at_rest(copy, source):
                    await asyncio.sleep(0.02)
                else:
                    return await self._settle(copy, source)
        # Writes go on for a while before the next try.
        await asyncio.sleep(self.limits.barrier_s)
        return False

    async def _settle(self, copy: CopyRecord, source: Source) -> bool:
        """Nothing moves: compare, and flip or begin again."""
        index = self._cluster.index_of(copy.physical)
        if index is not None and index.exact and index.primary_key is not None:
            await self._pages.write_ghosts(copy, index.primary_key, source)
        newest = await self._calls.newest_task(copy.target, copy.physical)
        equal = await self._equal(copy, source)
        # One that lost its disk since its last probe would agree with anything that is empty.
        for node in (*source.nodes, copy.target):
            if not await self.trusted(NodeId(node)):
                return False
        if equal is None:
            return False
        if not equal:
            log.warning("copies_differ", copy=copy.id, index=copy.physical, node=copy.target)
            await self._begin_again(copy)
            return True
        return await self._flip(copy, newest)

    def _at_rest(self, copy: CopyRecord, source: Source) -> bool:
        """Whether source and target have applied every op of the index."""
        return (
            self._held.next_batch(copy) is None
            and all(self._standing.at_rest(source.layout, node) for node in source.nodes)
            and self._standing.at_rest(copy.physical, copy.target)
        )

    async def _equal(self, copy: CopyRecord, source: Source) -> bool | None:
        index = self._cluster.index_of(copy.physical)
        if index is None or index.primary_key is None:
            return True
        if source.is_other_layout and index.layout != copy.physical:
            self.unverified(copy.physical, copy.shards)  # as a whole, before it is read
            return True
        return await self._comparison.is_equal(copy, source, index.primary_key)

    async def _flip(self, copy: CopyRecord, newest: int) -> bool:
        """`newest` task of the target: what comes after it was not compared."""
        async with self._cluster.changing:
            if copy.id in self._again or NodeId(copy.target) not in self._cluster.live:
                return False
            before = self._cluster.placement[copy.physical]
            last = self._held.last_op(copy.physical)
            after, done = copying.flip(before, copy, last_op=last)
            done = msgspec.structs.replace(done, ended_at=self._now_ns())

            def also(tx: Tx) -> None:
                tx.put(Table.COPIES, (copy.id,), encode(done))
                self._delivery.watches.note_newest(tx, copy.target)

            await self._cluster.change_placement(copy.physical, after, also)
            self._delivery.raise_floor(copy.physical, copy.target)
            self.late.fence(copy.physical, copy.target, copy.shards, newest, copy.boundary)
            log.info("shards_moved", index=copy.physical, node=copy.target, shards=len(copy.shards))
            self._ended(done)
        return True

    async def _begin_again(self, copy: CopyRecord) -> None:
        self._listings.pop(copy.id, None)
        await self._save(copying.begin_again(copy))

    async def _abandon(self, copy: CopyRecord) -> None:
        async with self._cluster.changing:
            before = self._cluster.placement.get(copy.physical)
            after, ended = copying.abandon(before, copy)
            ended = msgspec.structs.replace(ended, ended_at=self._now_ns())

            def also(tx: Tx) -> None:
                tx.put(Table.COPIES, (copy.id,), encode(ended))

            if before is None or after is None:
                await persist(self._store, also)
            else:
                await self._cluster.change_placement(copy.physical, after, also)
            log.info("copy_abandoned", copy=copy.id, index=copy.physical, node=copy.target)
            self._ended(ended)

    def _ended(self, copy: CopyRecord) -> None:
        self.copies[copy.id] = copy
        if copy.over:
            self._listings.pop(copy.id, None)
            self._comparison.forget(copy)
            del self.copies[copy.id]
            self.ended(copy)

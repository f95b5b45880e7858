"""Operations: stored, taken step by step as `core/moves/operations.next_step` says, resumed after any crash.

The loop also begins by itself what nobody should have to ask for: rebuilding stale replicas, and replacing those of
nodes that are gone for longer than the grace time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import msgspec
import structlog

from miroir.core.moves import copying, node_list
from miroir.core.moves.cluster_view import ClusterView, MoveLimits
from miroir.core.moves.node_list import RefusedError
from miroir.core.moves.operation_records import (
    CopyPhase,
    CopyRecord,
    Move,
    OperationKind,
    OperationRecord,
    OperationState,
)
from miroir.core.moves.operations import DropReplicas, Finish, Replan, StartCopy, Step, Wait, next_step
from miroir.core.moves.planning import check_plan, moves_to, rebuilds
from miroir.core.moves.preview import preview, rate_of
from miroir.core.records import NodeRecord, decode, encode
from miroir.core.topology import NodeId, NodeLifecycle
from miroir.ports.store import Conflict, Reader, Store, Table, Tx
from miroir.services.cluster import Cluster
from miroir.services.moves.cluster_sight import ClusterSight
from miroir.services.moves.copier import Copier
from miroir.services.moves.joining import check_reachable
from miroir.services.moves.resharding import Resharding
from miroir.services.moves.retiring import Retiring
from miroir.services.moves.scrub import Scrub
from miroir.services.moves.shard_calls import ShardCalls
from miroir.services.moves.sizing import Sizing
from miroir.services.writes.persisting import persist

log = structlog.get_logger()

_TICK_S = 0.2
_KEPT = 200
_RETRY_FAILED_S = 60.0
_NEXT, _NEXT_COPY = ("next_operation",), ("next_copy",)


class Operations:
    """All operations, and the loop that carries them out."""

    def __init__(
        self,
        store: Store,
        cluster: Cluster,
        copier: Copier,
        retiring: Retiring,
        calls: ShardCalls,
        limits: MoveLimits,
        now_ns: Callable[[], int],
        *,
        sight: ClusterSight,
        scrub: Scrub,
        resharding: Resharding,
        joined: Callable[[NodeId], None],
    ) -> None:
        self._store = store
        self._cluster = cluster
        self._copier = copier
        self._retiring = retiring
        self._calls = calls
        self.limits = limits
        self._now_ns = now_ns
        self._joined = joined
        self._sight = sight
        self._sizing = Sizing(calls)
        self._scrub = scrub
        self._resharding = resharding
        self.all: dict[int, OperationRecord] = {}
        self.waits: dict[int, str] = {}  #: operation -> what it waits for
        self._quiet_until = 0.0  #: no automatic operation before, after one failed
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()  #: one change of an operation at a time
        resharding.connect(self._turn, lambda: self.all)
        copier.wanted = self._wanted
        copier.paused = self._paused
        copier.gone = lambda node: self._sight.gone(node, self.limits)
        copier.ended = self._copy_ended
        retiring.copied_to = lambda physical, node: any(
            c.active and (c.physical, c.target) == (physical, node) for c in copier.copies.values()
        )

    def open(self) -> None:
        """Load; operations that were open go on when `run` does."""

        def load(reader: Reader) -> None:
            self.all = {int(k[0]): decode(OperationRecord, v) for k, v in reader.scan(Table.OPERATIONS)}
            self._copier.load(reader)

        self._store.read(load)
        restored = [o for o in self.all.values() if o.open and o.kind is OperationKind.RESTORE]
        self._sight.give_up(move.leaves for o in restored for move in o.moves if move.leaves is not None)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._copier.start_all(group)
                self._resharding.group = group
                await self._begin_automatic()
                moved = await self._retiring.sweep()
                for number in sorted(n for n, operation in self.all.items() if operation.open):
                    moved = await self._advance_safely(number) or moved
                if not moved:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_TICK_S):
                            await self._wake.wait()
                self._wake.clear()

    # --- asking for operations ----------------------------------------------------------------

    async def request(
        self, kind: OperationKind, args: Mapping[str, Any], *, dry_run: bool = False
    ) -> OperationRecord:
        """Begin an operation; with `dry_run` only show what it would do (its id is then 0). Raises RefusedError."""
        async with self._turn:
            return await self._request(kind, args, dry_run=dry_run)

    async def reshard(
        self, uid: str, shards: int, retention_s: float | None = None, *, dry_run: bool = False
    ) -> OperationRecord:
        """Begin to give an index another number of shards, or show what that would do. Raises RefusedError."""
        async with self._turn:
            operation = await self._resharding.plan(uid, shards, retention_s, self.limits)
            # Its moves are of a layout that has no name yet.
            begun = msgspec.structs.replace(operation, moves=())
            return operation if dry_run else await self._store_new(begun, {}, None)

    async def _request(
        self, kind: OperationKind, args: Mapping[str, Any], *, dry_run: bool
    ) -> OperationRecord:
        node_list.check_free(kind, self.all.values())
        changed = node_list.edited(kind, args, self._cluster.nodes, self.everything())
        factor = args.get("replication_factor")
        view = self._sight.view(self.limits, changed, factor, without=self._resharding.building())
        moves = () if kind is OperationKind.VERIFY else moves_to(view)
        problems = check_plan(moves, view)
        if problems:
            raise RefusedError(f"No safe plan: {problems[0]}.")
        joins = kind in (OperationKind.ADD_NODES, OperationKind.ADD_GROUP)
        if joins and not dry_run:
            await check_reachable(self._cluster, self._calls, changed)
        sizes = await self._sizing.measure(moves, view, fresh=changed if joins else ())
        planned = preview(moves, view, self.limits, sizes=sizes, rate=rate_of(self.all.values()))
        operation = OperationRecord(
            id=0, kind=kind, args=dict(args), moves=moves, planned=planned, created_at=self._now_ns()
        )
        if dry_run:
            return operation
        async with self._cluster.changing:  # what was a spare copy may be the last one by now
            changed = node_list.edited(kind, args, self._cluster.nodes, self.everything())
            return await self._store_new(operation, changed, factor)

    async def _store_new(
        self, operation: OperationRecord, changed: Mapping[str, NodeRecord], factor: int | None
    ) -> OperationRecord:
        """Node list and operation in one transaction."""
        undone = [
            msgspec.structs.replace(other, state=OperationState.CANCELLING, reason="undrained")
            for other in self.all.values()
            if other.open and operation.kind is OperationKind.UNDRAIN and other.kind is OperationKind.DRAIN
        ]

        def store(tx: Tx) -> OperationRecord:
            row = tx.get(Table.META, _NEXT)
            number = 1 if row is None else int(row)
            stored = msgspec.structs.replace(operation, id=number)
            tx.put(Table.META, _NEXT, str(number + 1).encode())
            for other in (stored, *undone):
                tx.put(Table.OPERATIONS, (other.id,), encode(other))
            for node in changed.values():
                tx.put(Table.NODES, (node.id,), encode(node))
            if factor is not None:
                tx.put(Table.META, ("replication_factor",), str(factor).encode())
            return stored

        stored = await persist(self._store, store)
        self.all.update({other.id: other for other in (stored, *undone)})
        if factor is not None:
            self._cluster.replication_factor = factor
        self._take_over(changed)
        log.info("operation_began", operation=stored.id, kind=stored.kind.value, moves=len(stored.moves))
        self._wake.set()
        return stored

    def _take_over(self, changed: Mapping[str, NodeRecord]) -> None:
        for node in changed.values():
            self._cluster.nodes[node.id] = node
            self._cluster.introduce(node)
            if node.lifecycle == NodeLifecycle.REMOVED:
                self._cluster.set_health(NodeId(node.id), up=False)
            else:
                self._joined(NodeId(node.id))
        self._cluster.publish()

    async def control(self, number: int, wanted: OperationState) -> OperationRecord:
        """Pause, resume (running) or cancel (cancelling). Raises RefusedError."""
        async with self._turn:
            operation = self.all.get(number)
            if operation is None:
                raise RefusedError(f"Operation `{number}` not found.", missing=True)
            if not operation.open:
                raise RefusedError(f"Operation {number} is {operation.state.value}: nothing can be changed.")
            if operation.state is OperationState.CANCELLING:
                raise RefusedError(f"Operation {number} is being cancelled.")
            changed = msgspec.structs.replace(operation, state=wanted)
            await self._save(changed)
        self._wake.set()
        return changed

    def throttle(self, limits: MoveLimits) -> None:
        """Other bounds, from now on."""
        self.limits = self._copier.limits = limits

    # --- what is ------------------------------------------------------------------------------

    def view(self) -> ClusterView:
        """The cluster as planning sees it: without layouts that a change of the number of shards still builds."""
        return self._sight.view(self.limits, without=self._resharding.building())

    def everything(self) -> ClusterView:
        """The cluster with every layout that is fed."""
        return self._sight.view(self.limits)

    def copies(self) -> list[CopyRecord]:
        """Copies that are not over."""
        return list(self._copier.copies.values())

    def index_names(self) -> dict[str, str]:
        """Name on the nodes -> the name clients use."""
        names, indexes = self._cluster.sequenced.names, self._cluster.sequenced.indexes
        return {layout: name for name, key in names.items() for layout in indexes[key].layouts}

    def _wanted(self, copy: CopyRecord) -> bool:
        operation = self.all.get(copy.operation)
        return operation is not None and operation.state in (OperationState.RUNNING, OperationState.PAUSED)

    def _paused(self, copy: CopyRecord) -> bool:
        operation = self.all.get(copy.operation)
        return operation is not None and operation.state is OperationState.PAUSED

    # --- the loop -----------------------------------------------------------------------------

    async def _begin_automatic(self) -> None:
        self._sight.look()
        if asyncio.get_running_loop().time() < self._quiet_until:
            return
        view = self.view()
        under_way = [operation for operation in self.all.values() if operation.open]
        kinds = {operation.kind for operation in under_way}
        stale = rebuilds(view, under_way)
        if stale and OperationKind.RESYNC not in kinds:
            await self._automatic(OperationKind.RESYNC, stale, view)
        if kinds <= {OperationKind.RESYNC, OperationKind.VERIFY, OperationKind.RESHARD}:
            gone = {m.id for m in view.members.values() if m.gone and m.lifecycle is NodeLifecycle.ACTIVE}
            due = tuple(m for m in moves_to(view) if m.leaves in gone) if gone else ()
            if due:
                await self._automatic(OperationKind.RESTORE, due, view)

    async def _automatic(self, kind: OperationKind, moves: tuple[Move, ...], view: ClusterView) -> None:
        planned = preview(moves, view, self.limits, rate=rate_of(self.all.values()))
        operation = OperationRecord(id=0, kind=kind, moves=moves, planned=planned, created_at=self._now_ns())
        await self._store_new(operation, {}, None)

    async def _advance_safely(self, number: int) -> bool:
        """One step; what the placement does not allow is told and tried again."""
        async with self._turn:
            try:
                return await self._advance(number)
            except (copying.UnsafeChangeError, Conflict) as error:
                log.error("operation_step_refused", operation=number, reason=str(error))
                return False

    async def _advance(self, number: int) -> bool:
        """One step of one operation; False when it waits."""
        operation = self.all[number]
        if operation.kind is OperationKind.VERIFY:
            return await self._verify(operation)
        step: Step | None
        resting = sum(map(self._paused, self.copies()))  # they take nobody's place
        limits = replace(self.limits, copies_max=self.limits.copies_max + resting)
        if operation.reshard is None:
            step = next_step(operation, self.view(), self.copies(), limits)
        else:
            step = await self._resharding.step(operation, self.copies(), limits)
        match step:
            case StartCopy(moves, origin):
                await self._start_copy(operation, moves, origin)
            case DropReplicas(moves):
                await self._drop(moves)
            case Replan(moves):
                # What was planned first is kept, to be compared with what it came to.
                further = msgspec.structs.replace(operation, moves=moves, replans=operation.replans + 1)
                await self._save(further)
            case Finish(state, reason):
                await self._finish(operation, state, reason)
            case Wait(reason):
                self.waits[number] = reason
                return False
        self.waits.pop(number, None)
        return True

    async def _verify(self, operation: OperationRecord) -> bool:
        """The next shards to compare."""
        if operation.state is OperationState.PAUSED:
            return False
        if operation.state is OperationState.RUNNING:
            further = await self._scrub.step(operation, self.limits)
            if further is None:
                return False
            await self._save(further)
            if not self._scrub.is_over(further):
                return True
        operation = self.all[operation.id]
        await self._finish(operation, *self._scrub.end(operation))
        return True

    async def _start_copy(
        self, operation: OperationRecord, moves: tuple[Move, ...], origin: str | None
    ) -> None:
        target = moves[0].target
        assert target is not None

        def store(tx: Tx) -> CopyRecord:
            row = tx.get(Table.META, _NEXT_COPY)
            number = 1 if row is None else int(row)
            copy = CopyRecord(
                id=number,
                operation=operation.id,
                physical=moves[0].physical,
                target=target,
                shards=tuple(move.shard for move in moves),
                leaves=tuple(move.leaves for move in moves),
                origin=origin,
            )
            tx.put(Table.META, _NEXT_COPY, str(number + 1).encode())
            tx.put(Table.COPIES, (number,), encode(copy))
            return copy

        copy = await persist(self._store, store)
        self._copier.copies[copy.id] = copy

    async def _drop(self, moves: tuple[Move, ...]) -> None:
        physical, node = moves[0].physical, moves[0].leaves
        assert node is not None
        async with self._cluster.changing:
            before = self._cluster.placement.get(physical)
            if before is None:
                return  # the index was dropped meanwhile
            after = copying.drop(before, node, [move.shard for move in moves])
            await self._cluster.change_placement(physical, after)

    async def _finish(self, operation: OperationRecord, state: OperationState, reason: str | None) -> None:
        changed: dict[str, NodeRecord] = {}
        if operation.kind is OperationKind.REMOVE_GROUP and state is OperationState.DONE:
            for node in self._cluster.nodes.values():
                if node.group == int(operation.args["group"]):
                    changed[node.id] = msgspec.structs.replace(node, lifecycle=NodeLifecycle.REMOVED.value)
        ended = msgspec.structs.replace(
            operation, state=state, reason=reason or operation.reason, ended_at=self._now_ns()
        )
        over = sorted(number for number, other in self.all.items() if not other.open)[:-_KEPT]

        def store(tx: Tx) -> None:
            tx.put(Table.OPERATIONS, (ended.id,), encode(ended))
            for node in changed.values():
                tx.put(Table.NODES, (node.id,), encode(node))
            tx.delete_many(Table.OPERATIONS, ((number,) for number in over))
            for key, row in list(tx.scan(Table.COPIES)):
                if decode(CopyRecord, row).operation == ended.id:
                    tx.delete(Table.COPIES, key)

        await persist(self._store, store)
        self.all[ended.id] = ended
        for number in over:
            self.all.pop(number, None)
        self._take_over(changed)
        log.info("operation_ended", operation=ended.id, kind=ended.kind.value, state=state.value)

    def _copy_ended(self, copy: CopyRecord) -> None:
        """Plan versus actual; a copy that cannot be made equal fails its operation."""
        operation = self.all.get(copy.operation)
        if operation is None or not operation.open:
            return
        changed = msgspec.structs.replace(
            operation,
            documents_moved=operation.documents_moved + copy.documents,
            bytes_moved=operation.bytes_moved + copy.size_bytes,
            replicas_moved=operation.replicas_moved
            + (len(copy.shards) if copy.phase is CopyPhase.DONE else 0),
            copies_again=operation.copies_again + copy.attempts,
        )
        if copy.phase is CopyPhase.ABANDONED and copy.attempts > self.limits.attempts_max:
            reason = (
                f"shards of {copy.physical} on {copy.target} differ from their source however often copied"
            )
            changed = msgspec.structs.replace(changed, state=OperationState.CANCELLING, reason=reason)
            self._quiet_until = asyncio.get_running_loop().time() + _RETRY_FAILED_S
        self.all[operation.id] = changed
        self._wake.set()

    async def _save(self, operation: OperationRecord) -> None:
        await persist(self._store, lambda tx: tx.put(Table.OPERATIONS, (operation.id,), encode(operation)))
        self.all[operation.id] = operation

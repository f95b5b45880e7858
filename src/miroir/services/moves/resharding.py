"""Carries out changes of the number of shards, step by step as `core/moves/resharding.next_act` says.

The copies are those of any operation; here are the moments around them: the second layout comes, is verified, is read,
and one of the two goes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import structlog

from miroir.core.moves import resharding
from miroir.core.moves.cluster_view import ClusterView, MoveLimits
from miroir.core.moves.node_list import RefusedError
from miroir.core.moves.operation_records import (
    CopyRecord,
    OperationKind,
    OperationRecord,
    OperationState,
    Reshard,
)
from miroir.core.moves.operations import Finish, Step, Wait, next_step
from miroir.core.moves.planning import moves_to
from miroir.core.moves.preview import preview, rate_of
from miroir.core.moves.resharding import Act, ReshardSight
from miroir.core.records import IndexState, encode
from miroir.core.reserved import SHARDS_MAX
from miroir.core.topology import NodeId, ReplicaState
from miroir.ports.nodes import NodeError
from miroir.ports.store import Conflict, Table, Tx
from miroir.services.cluster import Cluster
from miroir.services.moves.cluster_sight import ClusterSight
from miroir.services.moves.layout_check import LayoutCheck
from miroir.services.moves.layouts import Layouts
from miroir.services.moves.shard_calls import NodeRefusedError
from miroir.services.moves.sizing import Sizing

log = structlog.get_logger()

_RETRY_S = 1.0


class Resharding:
    """Operations of one kind; the caller of `step` holds `turn`."""

    def __init__(
        self,
        cluster: Cluster,
        layouts: Layouts,
        check: LayoutCheck,
        sight: ClusterSight,
        sizing: Sizing,
        now_ns: Callable[[], int],
    ) -> None:
        self._cluster = cluster
        self._layouts = layouts
        self._check = check
        self._sight = sight
        self._sizing = sizing
        self._now_ns = now_ns
        self._verifying: set[int] = set()  #: operations whose layout is being verified
        self._turn = asyncio.Lock()
        self._all: Callable[[], dict[int, OperationRecord]] = dict
        self.group: asyncio.TaskGroup | None = None  #: of the operations, once they run
        self.switched: Callable[[str], None] = lambda to: (
            None
        )  #: hears where readers went: to the `new`, the `old`

    def connect(self, turn: asyncio.Lock, operations: Callable[[], dict[int, OperationRecord]]) -> None:
        """`turn` is held by whoever changes an operation; `operations` are those in memory, stored before."""
        self._turn, self._all = turn, operations

    def building(self) -> set[str]:
        """Layouts that other operations leave alone: they are not to be read yet."""
        found = set()
        for operation in self._all().values():
            if operation.open and operation.reshard is not None and operation.reshard.new is not None:
                index = self._index(operation.reshard)
                if resharding.is_building(operation, None if index is None else index.layout):
                    found.add(operation.reshard.new)
        return found

    def count(self) -> tuple[int, int, int]:
        """(layouts being built, layouts kept though they are not read, shards of the first that are unverified)."""
        built = self.building()
        second = {
            one for i in self._cluster.sequenced.indexes.values() if (one := i.other_layout) is not None
        }
        return len(built), len(second - built), sum(map(self._check.left, built))

    # --- asked for ----------------------------------------------------------------------------

    async def plan(
        self, uid: str, shards: int, retention_s: float | None, limits: MoveLimits
    ) -> OperationRecord:
        """The operation that gives an index another number of shards. Raises RefusedError."""
        retention_s = limits.retention_s if retention_s is None else retention_s
        index = self._cluster.sequenced.find(uid)
        if index is None:
            raise RefusedError(f"Index `{uid}` not found.", missing=True)
        if not 1 <= shards <= SHARDS_MAX:
            raise RefusedError(f"The number of shards is 1 to {SHARDS_MAX}.")
        for other in self._all().values():
            if other.open and other.reshard is not None and other.reshard.index == index.physical:
                raise RefusedError(
                    f"Operation {other.id} is changing the number of shards of `{uid}` already. Wait for its end, or go "
                    f"back with POST /_miroir/operations/{other.id}/cancel."
                )
        count = len(self._cluster.placement[index.layout].shards)
        if count == shards:
            raise RefusedError(f"Index `{uid}` has {shards} shards already.")
        args = {"index": uid, "shards": shards, "shards_before": count, "retention_s": retention_s}
        view = self._sight.view_of({index.layout: tuple({} for _ in range(shards))}, limits)
        if not view.takers():
            raise RefusedError("No active node could hold the shards.")
        moves = moves_to(view)
        sizes = await self._sizing.measure(moves, view)
        return OperationRecord(
            id=0,
            kind=OperationKind.RESHARD,
            args=args,
            moves=moves,
            planned=preview(moves, view, limits, sizes=sizes, rate=rate_of(self._all().values())),
            created_at=self._now_ns(),
            reshard=Reshard(index=index.physical, old=index.layout, retention_s=retention_s),
        )

    # --- one step -----------------------------------------------------------------------------

    async def step(
        self, operation: OperationRecord, copies: list[CopyRecord], limits: MoveLimits
    ) -> Step | None:
        """What is to be done by the operations now; None when something was done here."""
        reshard = operation.reshard
        assert reshard is not None
        view = self._view(reshard, limits)
        act = resharding.next_act(operation, self._seen(operation, view, copies))
        match act:
            case Wait() | Finish():
                if isinstance(act, Finish):
                    self._check.forget(reshard.old, reshard.new)
                return act
            case Act.BEGIN:
                return await self._begin(operation, reshard, limits)
            case Act.COPY:
                step = next_step(operation, view, copies, limits)
                return Wait("replicas are being planned") if isinstance(step, Finish) else step
            case Act.SWITCH:
                return self._go_on(operation, reshard.new, limits)
            case Act.GO_BACK:
                return self._go_on(operation, reshard.old, limits)
            case Act.LET_GO_OLD | Act.LET_GO_NEW:
                gone = reshard.old if act is Act.LET_GO_OLD else reshard.new
                assert gone is not None
                await self._layouts.let_go(reshard.index, gone)
                log.info("layout_let_go", operation=operation.id, index=reshard.index, layout=gone)
                return None

    def _view(self, reshard: Reshard, limits: MoveLimits) -> ClusterView:
        """The cluster, with nothing in it but the new layout."""
        new = reshard.new
        record = (
            None if new is None or self._cluster.index_of(new) is None else self._cluster.placement.get(new)
        )
        return self._sight.view_of({} if new is None or record is None else {new: record.shards}, limits)

    def _seen(self, operation: OperationRecord, view: ClusterView, copies: list[CopyRecord]) -> ReshardSight:
        reshard = operation.reshard
        assert reshard is not None
        index = self._index(reshard)
        layouts = {reshard.old, reshard.new} - {None}
        mine = any(copy.operation == operation.id and not copy.over for copy in copies)
        return ReshardSight(
            read=None if index is None else index.layout,
            other=None if index is None else index.other_layout,
            copied=not mine and not moves_to(view),
            copies=mine,
            whole=index is None or self._is_whole(index.layout),
            remains=frozenset(layout for layout in layouts if layout is not None and self._remains(layout)),
            now_ns=self._now_ns(),
        )

    def _is_whole(self, layout: str) -> bool:
        shards = self._cluster.placement[layout].shards
        return all(ReplicaState.IN_SYNC in replicas.values() for replicas in shards)

    def _remains(self, layout: str) -> bool:
        """Whether a live node holds something of it; others give it up when they are back."""
        record = self._cluster.placement.get(layout)
        shards = () if record is None else record.shards
        return any(NodeId(node) in self._cluster.live for replicas in shards for node in replicas)

    async def _begin(self, operation: OperationRecord, reshard: Reshard, limits: MoveLimits) -> Step | None:
        begun = operation
        count = int(operation.args["shards"])

        def also(layout: str) -> Callable[[Tx], None]:
            nonlocal begun
            moves = moves_to(self._sight.view_of({layout: ({},) * count}, limits))
            known = msgspec.structs.replace(reshard, new=layout)
            changed = begun = msgspec.structs.replace(operation, moves=moves, reshard=known)
            return lambda tx: tx.put(Table.OPERATIONS, (operation.id,), encode(changed))

        layout = await self._layouts.begin(reshard.index, count, also)
        if layout is None:
            return Finish(OperationState.CANCELLED, "the index was deleted, or has two layouts already")
        self._all()[operation.id] = begun
        log.info("layout_began", operation=operation.id, index=reshard.index, layout=layout)
        return None

    # --- verify and switch --------------------------------------------------------------------

    def _go_on(self, operation: OperationRecord, layout: str | None, limits: MoveLimits) -> Wait | None:
        """See to it that the layout is being verified, to be read then."""
        assert layout is not None
        if self._check.failures[layout] > limits.attempts_max and operation.state is OperationState.RUNNING:
            ended = msgspec.structs.replace(operation, state=OperationState.CANCELLING, reason=_UNEQUAL)
            self._all()[operation.id] = ended  # as if somebody had cancelled it; a crash tries again
            return None
        if operation.id not in self._verifying and self.group is not None:
            self._verifying.add(operation.id)
            self.group.create_task(self._verify(operation.id, layout, limits), name=f"layout {layout}")
        return Wait(f"{self._check.left(layout)} shards are to be verified")

    async def _verify(self, number: int, layout: str, limits: MoveLimits) -> None:
        """Until the layout is read, or nobody wants that any more."""
        try:
            while self._wanted(number, layout):
                try:
                    done = await self._check.step(
                        layout, limits, then=lambda behind: self._switch(number, layout, behind)
                    )
                except (NodeError, NodeRefusedError) as error:
                    log.warning("verification_waits", layout=layout, reason=str(error))
                    done = False
                except Conflict:
                    log.warning("placement_changed_meanwhile", layout=layout)
                    done = False
                if not done:
                    await asyncio.sleep(_RETRY_S)
        finally:
            self._verifying.discard(number)

    def _wanted(self, number: int, layout: str) -> bool:
        """Whether the operation still wants the layout to be read next."""
        operation = self._all().get(number)
        index = None if operation is None or operation.reshard is None else self._index(operation.reshard)
        if operation is None or operation.reshard is None or index is None or index.other_layout != layout:
            return False
        if layout == operation.reshard.new:
            return operation.state is OperationState.RUNNING
        return operation.state is OperationState.CANCELLING

    def _index(self, reshard: Reshard) -> IndexState | None:
        return self._cluster.sequenced.indexes.get(reshard.index)

    async def _switch(self, number: int, layout: str, behind: list[str]) -> bool:
        """Everything is equal and at rest: readers go to the layout."""
        async with self._turn, self._cluster.changing:
            operation = self._all().get(number)
            if operation is None or operation.reshard is None or not self._wanted(number, layout):
                return False
            reshard = operation.reshard
            if layout == reshard.new:
                until = self._now_ns() + int(reshard.retention_s * 1e9)
                reshard = msgspec.structs.replace(reshard, kept_until=until)
            changed = msgspec.structs.replace(operation, reshard=reshard)
            state = self._index(reshard)
            assert state is not None
            await self._layouts.switch(
                reshard.index,
                layout,
                behind,
                lambda tx: tx.put(Table.OPERATIONS, (number,), encode(changed)),
            )
            self._all()[number] = changed
            self._check.equal(state.layout)
            self.switched("new" if layout == reshard.new else "old")
            log.info("layout_switched", operation=number, index=reshard.index, layout=layout)
        return True


_UNEQUAL = "the new layout could not be made equal to the one that is read"

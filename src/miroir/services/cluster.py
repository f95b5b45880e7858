"""The current picture of the cluster, and its only writer.

`snapshot()` is one immutable value; a request takes it once. Everything here is in memory and follows what the
store already holds: callers commit first and tell the cluster afterwards, without awaiting in between.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from uuid import uuid4

import msgspec

from miroir.core import placement
from miroir.core.catalogue import Catalogue
from miroir.core.changes import Changes
from miroir.core.moves import copying
from miroir.core.records import (
    IndexState,
    LaneRecord,
    NodeRecord,
    PlacementRecord,
    decode,
    encode,
    weight_of,
)
from miroir.core.topology import (
    GroupId,
    IndexView,
    Node,
    NodeId,
    NodeLifecycle,
    PhysicalUid,
    Placement,
    ReplicaState,
    Snapshot,
)
from miroir.ports.nodes import NodeTransport
from miroir.ports.store import Conflict, Reader, Store, Table, Tx
from miroir.services.writes.persisting import persist

SEQUENCED = "sequenced"
VISIBLE = "visible"
_CARRIED_MAX = 4096
_TABLES_KEPT = 1000


class Cluster:
    """Nodes, placement, health, lanes behind, and both catalogues."""

    def __init__(self, store: Store, transport: NodeTransport) -> None:
        self._store = store
        self._transport = transport
        self.cluster_id = ""
        self.epoch = 0
        self.nodes: dict[str, NodeRecord] = {}
        self.placement: Changes[str, PlacementRecord] = Changes()
        self.sequenced = Catalogue()
        self.visible = Catalogue()
        self.lanes: Changes[tuple[str, str], LaneRecord] = Changes()  #: (physical, node) -> as stored
        self.live: set[NodeId] = set()
        self.doubted: set[NodeId] = set()  #: of the live ones
        self.suspects: set[NodeId] = set()  #: not live, but a moment ago
        self.rolling: set[tuple[str, str]] = set()  #: (physical, node) not read while its rules change
        self.replication_factor: int | None = (
            None  #: set by an operation; it then overrides the configuration
        )
        self.changing = asyncio.Lock()  #: held by whoever changes the placement of an index that exists
        self._past: list[weakref.ref[Snapshot]] = []
        self._bearer: dict[str, str] = {}  #: physical -> the name under which readers see it
        self._tables: dict[bytes, tuple[dict[str, ReplicaState], ...]] = {}
        #: what `carried` found for placements without copies, which many indexes share
        self._carried: dict[int, tuple[PlacementRecord, dict[str, frozenset[int]]]] = {}
        #: lanes whose record says so, and the shards of which it does (None: all)
        self._behind: dict[tuple[NodeId, PhysicalUid], frozenset[int] | None] = {}
        self._snapshot = Snapshot(epoch=0)
        self._listeners: list[Callable[[Snapshot], None]] = []

    def snapshot(self) -> Snapshot:
        """The cluster as of now."""
        return self._snapshot

    def subscribe(self, listener: Callable[[Snapshot], None]) -> None:
        """Call `listener` with every new snapshot, from now on."""
        self._listeners.append(listener)

    async def open(self, configured: Iterable[NodeRecord]) -> None:
        """Load everything; nodes of the configuration that are not known yet join as active members.

        A changed address in the configuration is taken over, and a weight that is given; nothing else of a known
        node is, and a node that left the configuration stays: the node list never moves ownership by itself
        (design.md, D3).
        """
        wanted = {node.id: node for node in configured}
        fresh_id = str(uuid4())

        def join(tx: Tx) -> None:
            if tx.get(Table.META, ("cluster_id",)) is None:
                tx.put(Table.META, ("cluster_id",), fresh_id.encode())
            for node in wanted.values():
                row = tx.get(Table.NODES, (node.id,))
                known = node if row is None else decode(NodeRecord, row)
                taken = _taken_over(known, node)
                if row is None or taken != known:
                    tx.put(Table.NODES, (node.id,), encode(taken))

        await self._store.transact(join)
        self._store.read(self._load)
        for record in self.nodes.values():
            self._transport.set_address(NodeId(record.id), record.address)
        self.publish()

    def _load(self, reader: Reader) -> None:
        row = reader.get(Table.META, ("cluster_id",))
        self.cluster_id = (row or b"").decode()
        epoch = reader.get(Table.META, ("epoch",))
        self.epoch = int(epoch) if epoch else 0
        factor = reader.get(Table.META, ("replication_factor",))
        self.replication_factor = int(factor) if factor else None
        self.nodes = {str(k[0]): decode(NodeRecord, v) for k, v in reader.scan(Table.NODES)}
        self.placement = Changes(
            (str(k[0]), self._interned(decode(PlacementRecord, v))) for k, v in reader.scan(Table.PLACEMENT)
        )
        self.lanes = Changes(
            ((str(k[0]), str(k[1])), decode(LaneRecord, v)) for k, v in reader.scan(Table.LANES)
        )
        for which, catalogue in ((SEQUENCED, self.sequenced), (VISIBLE, self.visible)):
            catalogue.names = Changes(
                (str(k[2]), v.decode()) for k, v in reader.scan(Table.CATALOGUE, (which, "name"))
            )
            catalogue.indexes = Changes(
                (str(k[2]), decode(IndexState, v)) for k, v in reader.scan(Table.CATALOGUE, (which, "index"))
            )

    def publish(self) -> None:
        """Make a new snapshot of the current state and hand it out from now on.

        Parts that did not change are the same objects as before, and only indexes that were touched are looked
        at: there may be thousands, and every completed task comes by here.
        """
        before = self._snapshot
        nodes = {NodeId(record.id): _node(record) for record in self.nodes.values()}
        live = frozenset(self.live)
        self._past = [past for past in (*self._past, weakref.ref(before)) if past() is not None]
        self._snapshot = Snapshot(
            epoch=self.epoch,
            nodes=before.nodes if before.nodes == nodes else nodes,
            live=before.live if before.live == live else live,
            lagging=self._lagging(before.lagging),
            behind=self._behind_shards(before.behind),
            doubted=before.doubted if before.doubted == self.doubted else frozenset(self.doubted),
            suspects=before.suspects if before.suspects == self.suspects else frozenset(self.suspects),
            indexes=self._views(before.indexes),
        )
        for listener in self._listeners:
            listener(self._snapshot)

    def _lagging(
        self, before: frozenset[tuple[NodeId, PhysicalUid]]
    ) -> frozenset[tuple[NodeId, PhysicalUid]]:
        for physical, node in self.lanes.take_changed():
            lane = self.lanes.get((physical, node))
            if lane is not None and lane.lagging:
                self._behind[NodeId(node), PhysicalUid(physical)] = lane.behind
            else:
                self._behind.pop((NodeId(node), PhysicalUid(physical)), None)
        lagging = self._behind.keys() | self._rolling_lanes()
        return before if before == lagging else frozenset(lagging)

    def _behind_shards(
        self, before: Mapping[tuple[NodeId, PhysicalUid], frozenset[int]]
    ) -> Mapping[tuple[NodeId, PhysicalUid], frozenset[int]]:
        """Lanes that lag in some shards only. Those whose rules change are not read at all."""
        rolling = self._rolling_lanes()
        behind = {
            lane: shards
            for lane, shards in self._behind.items()
            if shards is not None and lane not in rolling
        }
        return before if before == behind else behind

    def _rolling_lanes(self) -> set[tuple[NodeId, PhysicalUid]]:
        return {(NodeId(node), PhysicalUid(physical)) for physical, node in self.rolling}

    def _views(self, before: Mapping[str, IndexView]) -> Mapping[str, IndexView]:
        """The indexes as readers see them: those of `before`, the touched ones made again."""
        visible = self.visible
        placed = {self.owner(layout) for layout in self.placement.take_changed()}
        touched = visible.indexes.take_changed() | placed
        stale = visible.names.take_changed() | {self._bearer[p] for p in touched if p in self._bearer}
        if not stale:
            return before
        views = dict(before)
        for logical in stale:
            old = views.get(logical)
            if old is not None and self._bearer.get(old.key) == logical:
                del self._bearer[old.key]
            physical = visible.names.get(logical)
            if physical is None:
                views.pop(logical, None)
            else:
                state = visible.indexes[physical]
                views[logical] = _view(logical, state, self.placed(state.layout))
                self._bearer[physical] = logical
        return views

    def owner(self, layout: str) -> str:
        """Key of the index that a layout belongs to."""
        record = self.placement.get(layout)
        return layout if record is None or record.index is None else record.index

    def index_of(self, layout: str) -> IndexState | None:
        """The index as of the last sequenced op, None when it does not feed this layout."""
        index = self.sequenced.indexes.get(self.owner(layout))
        return index if index is not None and layout in index.layouts else None

    def placed(self, physical: str) -> Placement:
        """Placement of one layout; the same object until it changes."""
        record = self.placement[physical]
        return record.shards  # type: ignore[return-value]  # node ids are plain strings on disk

    def members(self, physical: str) -> dict[str, frozenset[int]]:
        """Nodes that take part in writes of this layout -> their shards (in sync, or being copied to)."""
        found: dict[str, set[int]] = {}
        for shard, replicas in enumerate(self.placement[physical].shards):
            for node, state in replicas.items():
                if state in (ReplicaState.IN_SYNC, ReplicaState.COPYING):
                    found.setdefault(node, set()).add(shard)
        return {node: frozenset(shards) for node, shards in found.items()}

    def carried(self, physical: str, op: int) -> dict[str, frozenset[int]]:
        """Nodes whose lanes get `op` -> the shards whose part of it they carry.

        A replica that came by a copy gets ops through its lane only after the copy's last one; while it is being
        copied to, its node gets only what concerns the whole index.
        """
        record = self.placement[physical]
        if not record.since:
            cached = self._carried.get(id(record))
            if cached is not None and cached[0] is record:
                return cached[1]
        carried = self._carried_by(record, op)
        if not record.since:
            if len(self._carried) >= _CARRIED_MAX:
                self._carried.clear()
            self._carried[id(record)] = (record, carried)
        return carried

    @staticmethod
    def _carried_by(record: PlacementRecord, op: int) -> dict[str, frozenset[int]]:
        found: dict[str, set[int]] = {}
        for shard, replicas in enumerate(record.shards):
            for node, state in replicas.items():
                if state is ReplicaState.COPYING:
                    found.setdefault(node, set())
                elif state is ReplicaState.IN_SYNC:
                    mine = found.setdefault(node, set())
                    if not record.since or op > record.since.get(node, {}).get(shard, -1):
                        mine.add(shard)
        return {node: frozenset(shards) for node, shards in found.items()}

    async def change_placement(
        self, physical: str, after: PlacementRecord, also: Callable[[Tx], None] = lambda tx: None
    ) -> None:
        """Compare and set on the epoch: `after` and what goes with it, or nothing. The caller holds `changing`.

        Raises UnsafeChangeError, Conflict.
        """
        assert self.changing.locked()
        before, epoch = self.placement[physical], self.epoch
        copying.check_change(before, after)
        record = msgspec.structs.replace(after, epoch=epoch + 1, index=before.index)

        def store(tx: Tx) -> None:
            row = tx.get(Table.META, ("epoch",))
            if (int(row) if row else 0) != epoch:
                raise Conflict("the placement was changed by somebody else")
            tx.put(Table.META, ("epoch",), str(epoch + 1).encode())
            tx.put(Table.PLACEMENT, (physical,), encode(record))
            also(tx)

        await persist(self._store, store)
        self.placement[physical] = record
        self.epoch = epoch + 1
        self.publish()

    def keeps_ghosts(self, physical: str) -> bool:
        """Whether nodes hold hidden documents of the index, as far as ops were sequenced."""
        index = self.index_of(physical)
        return index is not None and index.exact

    def floor(self, physical: str, node: str) -> int:
        """The last op that reached the node by a copy, -1 without one."""
        record = self.placement.get(physical)
        return -1 if record is None else max(record.since.get(node, {}).values(), default=-1)

    def readers_before(self, epoch: int) -> bool:
        """Whether a request still uses a snapshot older than `epoch`."""
        snapshots = (past() for past in self._past)
        return any(snapshot is not None and snapshot.epoch < epoch for snapshot in snapshots)

    def introduce(self, node: NodeRecord) -> None:
        """Make a node's address known to the transport."""
        self._transport.set_address(NodeId(node.id), node.address)

    def propose(self, shard_count: int, replication_factor: int) -> PlacementRecord:
        """Placement of a new index over the active nodes, `replication_factor` copies in each group."""
        nodes = self.active_nodes()
        groups = {node.group for node in nodes}
        factor = self.replication_factor or replication_factor
        owners = placement.propose(nodes, groups, shard_count, factor)
        shards = tuple(
            {str(node): ReplicaState.IN_SYNC for group in sorted(groups) for node in owners[group][shard]}
            for shard in range(shard_count)
        )
        return self._interned(PlacementRecord(shards=shards, epoch=self.epoch))

    def _interned(self, record: PlacementRecord) -> PlacementRecord:
        """The same, its table shared with the indexes that are placed alike: most are."""
        if len(self._tables) > _TABLES_KEPT:
            self._tables.clear()
        shards = self._tables.setdefault(encode(record.shards), record.shards)
        return msgspec.structs.replace(record, shards=shards)

    def active_nodes(self) -> list[Node]:
        """Nodes that new indexes are placed on, by id."""
        return sorted(
            (_node(n) for n in self.nodes.values() if n.lifecycle == NodeLifecycle.ACTIVE),
            key=lambda node: node.id,
        )

    def set_health(self, node: NodeId, *, up: bool, doubted: bool = False, suspect: bool = False) -> bool:
        """Take over what probes say of a node; True when something changed (a new snapshot is then published)."""
        changed = False
        for nodes, belongs in ((self.live, up), (self.doubted, doubted), (self.suspects, suspect)):
            if (node in nodes) != belongs:
                changed = True
                (nodes.add if belongs else nodes.discard)(node)
        if changed:
            self.publish()
        return changed


def _taken_over(known: NodeRecord, configured: NodeRecord) -> NodeRecord:
    weight = known.weight if configured.weight is None else configured.weight
    return msgspec.structs.replace(known, address=configured.address, weight=weight)


@lru_cache(maxsize=4096)
def _node(record: NodeRecord) -> Node:
    return Node(
        id=NodeId(record.id),
        address=record.address,
        group=GroupId(record.group),
        weight=weight_of(record),
        lifecycle=NodeLifecycle(record.lifecycle),
    )


def _view(logical: str, state: IndexState, placement: Placement) -> IndexView:
    return IndexView(
        uid=logical,
        key=state.physical,
        physical_uid=PhysicalUid(state.layout),
        primary_key=state.primary_key,
        placement=placement,
        settings=state.settings,
        created_at=state.created_at,
        updated_at=state.updated_at,
        field_order=state.field_order,
        exact=state.exact,
    )

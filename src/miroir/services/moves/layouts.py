"""The three moments of a second layout, each one transaction between two ops of its index: it comes, is read, goes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import msgspec

from miroir.core.moves import copying
from miroir.core.records import IndexState, LaneRecord, PlacementRecord, encode
from miroir.ports.store import Conflict, Store, Table, Tx
from miroir.services.cluster import SEQUENCED, VISIBLE, Cluster
from miroir.services.writes.persisting import persist
from miroir.services.writes.sequencer import Sequencer

_EPOCH = ("epoch",)


class Layouts:
    """Compare and set on the epoch, like every change of the placement. Raises Conflict."""

    def __init__(self, store: Store, cluster: Cluster, sequencer: Sequencer) -> None:
        self._store = store
        self._cluster = cluster
        self._sequencer = sequencer

    async def begin(self, index: str, shards: int, also: Callable[[str], Callable[[Tx], None]]) -> str | None:
        """A second layout without any replica; ops are sequenced for it from the next one on.

        Returns its name, None when the index is gone or has two already. `also` makes of the name what is stored in
        the same transaction: in the loop, not in the thread of the store.
        """
        cluster = self._cluster
        async with self._sequencer.hold(index), cluster.changing, self._sequencer.turn():
            state = cluster.sequenced.indexes.get(index)
            if state is None or state.other_layout is not None:
                return None
            layout, take = self._sequencer.next_physical()
            put = also(layout)
            fresh = PlacementRecord(shards=tuple({} for _ in range(shards)), epoch=0, index=index)

            def store(tx: Tx) -> None:
                take(tx)
                put(tx)

            states = {SEQUENCED: msgspec.structs.replace(state, other_layout=layout)}
            await self._commit(states, {layout: fresh}, {}, store)
        return layout

    async def switch(
        self, index: str, layout: str, behind: Collection[str], also: Callable[[Tx], None]
    ) -> None:
        """Readers and tasks go to `layout`, and the one they leave stays fed. The caller holds the index and `changing`.

        Args:
            index: nothing of it is on its way.
            layout: verified.
            behind: nodes with in-sync replicas that have not applied everything: not read until they have.
            also: stored in the same transaction.
        """
        cluster = self._cluster
        assert cluster.changing.locked()
        async with self._sequencer.turn():
            state, shown = cluster.sequenced.indexes.get(index), cluster.visible.indexes.get(index)
            if state is None or shown is None:
                raise Conflict("the index is gone")
            read = None if layout == index else layout
            states = {
                SEQUENCED: msgspec.structs.replace(state, read_layout=read, other_layout=state.layout),
                VISIBLE: msgspec.structs.replace(shown, read_layout=read),
            }
            lanes = {
                (layout, node): msgspec.structs.replace(
                    cluster.lanes.get((layout, node), LaneRecord()), lagging=True, behind=None
                )
                for node in behind
            }
            await self._commit(states, {}, lanes, also)

    async def let_go(self, index: str, layout: str, also: Callable[[Tx], None] = lambda tx: None) -> None:
        """The layout that nobody reads is fed no longer; its replicas retire."""
        cluster = self._cluster
        async with self._sequencer.hold(index), cluster.changing, self._sequencer.turn():
            state, before = cluster.sequenced.indexes.get(index), cluster.placement.get(layout)
            if state is None or before is None or state.other_layout != layout:
                return
            after = copying.let_go(before)
            shown = cluster.visible.indexes.get(index)
            copying.check_change(before, after, unread=shown is None or shown.layout != layout)
            states = {SEQUENCED: msgspec.structs.replace(state, other_layout=None)}
            await self._commit(states, {layout: after}, {}, also)

    async def _commit(
        self,
        states: Mapping[str, IndexState],
        placements: Mapping[str, PlacementRecord],
        lanes: Mapping[tuple[str, str], LaneRecord],
        also: Callable[[Tx], None],
    ) -> None:
        cluster, epoch = self._cluster, self._cluster.epoch
        placed = {
            layout: msgspec.structs.replace(record, epoch=epoch + 1) for layout, record in placements.items()
        }

        def store(tx: Tx) -> None:
            row = tx.get(Table.META, _EPOCH)
            if (int(row) if row else 0) != epoch:
                raise Conflict("the placement was changed by somebody else")
            tx.put(Table.META, _EPOCH, str(epoch + 1).encode())
            for layout, record in placed.items():
                tx.put(Table.PLACEMENT, (layout,), encode(record))
            for which, state in states.items():
                tx.put(Table.CATALOGUE, (which, "index", state.physical), encode(state))
            for key, lane in lanes.items():
                tx.put(Table.LANES, key, encode(lane))
            also(tx)

        await persist(self._store, store)
        cluster.placement.update(placed)
        cluster.lanes.update(lanes)
        cluster.epoch = epoch + 1
        for which, state in states.items():
            catalogue = cluster.sequenced if which == SEQUENCED else cluster.visible
            catalogue.indexes[state.physical] = state
        cluster.publish()

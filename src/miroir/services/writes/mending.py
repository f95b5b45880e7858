"""After an op that nodes refused, some of them or all: the book, the catalogue and the replicas made to agree again.

The op is noted in the transaction that ends its task, so that a crash forgets nothing. Then, with the index held and
everything sequenced applied, its documents are read from a covering set and the book follows what is there. Settings are
taken back: the next op finds those that readers see, and nodes that took the new ones are set right like any others that
drifted (`drift.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from miroir.core.hashing import shard_of
from miroir.core.reads.covering import cover
from miroir.core.records import OpRecord, Resolution, decode, encode
from miroir.core.topology import IndexView, NodeId
from miroir.core.writes.document_ids import document_ids
from miroir.core.writes.mending import MendingRecord
from miroir.core.writes.ops import Action
from miroir.core.writes.task_state import Verdict
from miroir.meili.codes import ApiError
from miroir.ports.store import Reader, Store, Table, Tx
from miroir.services.cluster import Cluster
from miroir.services.document_pages import PAGE, DocumentPages
from miroir.services.writes.oplog import OpLog
from miroir.services.writes.persisting import persist
from miroir.services.writes.sequencer import Sequencer

log = structlog.get_logger()

_PREFIX = "mending"
#: longest time that writes of an index wait for one try, and the pause between two tries
_HOLD_S = 10.0
_PAUSE_S = 1.0
_PAUSE_MAX_S = 15.0
_LOOK_S = 0.02


async def _nothing(view: IndexView) -> list[str] | None:
    return []


class Mending:
    """Remembers refused ops; one loop settles them."""

    def __init__(
        self, store: Store, oplog: OpLog, cluster: Cluster, sequencer: Sequencer, pages: DocumentPages
    ) -> None:
        self._store = store
        self._log = oplog
        self._cluster = cluster
        self._sequencer = sequencer
        self._pages = pages
        self._wake = asyncio.Event()
        #: ids of all documents that nodes hold of an index; None when some shard cannot be read now
        self.everything: Callable[[IndexView], Awaitable[list[str] | None]] = _nothing
        self.drifted: Callable[[str], None] = lambda layout: (
            None
        )  #: nodes may have other settings than they should
        self.open_records: dict[int, MendingRecord] = {}
        self._taken_up: set[str] = set()  #: indexes with refused ops of a process before
        #: brings the ghosts that settling an index changed to its nodes; whether all have them
        self.bring_ghosts: Callable[[str], Awaitable[bool]] = _with_the_next_write

    def open(self) -> None:
        """Take up what a process before did not settle."""

        def load(reader: Reader) -> dict[int, MendingRecord]:
            rows = reader.scan(Table.META, (_PREFIX,))
            return {int(key[1]): decode(MendingRecord, row) for key, row in rows}

        self.open_records = self._store.read(load)
        self._taken_up = {record.physical for record in self.open_records.values()}
        self._wake.set()

    # --- from the completion --------------------------------------------------------------------

    def record(self, op: OpRecord, resolution: Resolution, verdict: Verdict) -> MendingRecord | None:
        """What is to be settled after an op; None when nodes did what the sequencer expected."""
        refused = verdict.error is not None and resolution.error is None
        physical, action = resolution.physical, resolution.action
        if not refused or physical is None:
            return None
        if action == Action.SETTINGS:
            return MendingRecord(physical=physical, ids=[], whole=False, settings=True)
        if action == Action.CLEAR:
            return MendingRecord(physical=physical, ids=None, whole=False)
        if action not in (Action.ADD, Action.DELETE):
            return None
        ids = list(resolution.ids)
        if action == Action.ADD and resolution.primary_key is not None:
            documents = self._log.payload(op.id) or []
            ids.extend(document_ids(documents, resolution.primary_key))
        whole = verdict.failed_shards.issuperset(resolution.shards)
        return MendingRecord(physical=physical, ids=list(dict.fromkeys(ids)), whole=whole)

    @staticmethod
    def store(tx: Tx, records: dict[int, MendingRecord]) -> None:
        """Part of the transaction that ends the ops."""
        tx.put_many(Table.META, (((_PREFIX, op), encode(record)) for op, record in records.items()))

    def add(self, records: dict[int, MendingRecord]) -> None:
        """They are in the store."""
        if records:
            self.open_records.update(records)
            self._wake.set()

    def is_unsettled(self, physical: str) -> bool:
        """Whether an op of the index is on its way, or one that was refused is to be settled."""
        return self._busy(physical) or any(r.physical == physical for r in self.open_records.values())

    # --- settling -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            pause_s = _PAUSE_S
            while self.open_records:
                for physical in sorted({record.physical for record in self.open_records.values()}):
                    await self._try(physical)
                if self.open_records:
                    await asyncio.sleep(pause_s)
                    pause_s = min(pause_s * 1.5, _PAUSE_MAX_S)

    async def _try(self, physical: str) -> None:
        until = asyncio.get_running_loop().time() + _HOLD_S
        async with self._sequencer.hold(physical):
            while self._busy(physical):
                if asyncio.get_running_loop().time() > until:
                    return
                await asyncio.sleep(_LOOK_S)
            await self._settle(physical)

    def _busy(self, physical: str) -> bool:
        """Whether a sequenced op of the index has not ended."""
        ops = self._log.ops
        return any(
            op in ops and ops[op].stage == "sequenced" for op, _ in self._log.resolutions.after(physical, -1)
        )

    async def _settle(self, physical: str) -> None:
        records = {op: record for op, record in self.open_records.items() if record.physical == physical}
        view = next((v for v in self._cluster.snapshot().indexes.values() if v.key == physical), None)

        def settled(tx: Tx) -> None:
            tx.delete_many(Table.META, ((_PREFIX, op) for op in records))

        if view is None:
            await persist(self._store, settled)  # the index is gone
        elif not await self._follow(view, list(records.values()), settled):
            return
        for op in records:
            self.open_records.pop(op, None)
        log.info("refused_ops_settled", index=physical, ops=len(records))

    async def _follow(
        self, view: IndexView, records: list[MendingRecord], settled: Callable[[Tx], None]
    ) -> bool:
        """Bring book and catalogue to what there is; False when some shard cannot be read now."""
        ids = await self._ids(view, records)
        if ids is None:
            return False
        whole = all(record.whole for record in records)
        for start in range(0, len(ids), PAGE):
            page = ids[start : start + PAGE]
            held = await self._held(view, page)
            if held is None:
                return False
            await self._sequencer.mend(view.key, page, held, left_nothing=whole)
        if any(record.settings for record in records):
            await self._sequencer.take_back_settings(view.key)
            for layout in self._cluster.sequenced.indexes[view.key].layouts:
                self.drifted(layout)
        if view.key in self._taken_up:
            # What the process before took back is in the store; whether it reached the nodes is not.
            self._sequencer.vocabularies.mark_all(self._cluster.sequenced.indexes[view.key])
            self._taken_up.discard(view.key)
        if not await self.bring_ghosts(view.key):
            return False
        await persist(self._store, settled)
        return True

    async def _ids(self, view: IndexView, records: list[MendingRecord]) -> list[str] | None:
        """Documents in doubt, each once: those that ops would have changed, or all that nodes hold."""
        ids: dict[str, None] = {}
        for record in records:
            if record.ids is not None:
                ids.update(dict.fromkeys(record.ids))
                continue
            held = await self.everything(view)
            if held is None:
                return None
            ids.update(dict.fromkeys(held))
        return list(ids)

    async def _held(self, view: IndexView, ids: list[str]) -> dict[str, dict[str, Any]] | None:
        """Those of a page of documents that exist, by id; None when some shard cannot be read now."""
        state = self._cluster.sequenced.indexes.get(view.key)
        if state is None or state.primary_key is None:
            return {}
        found: dict[str, dict[str, Any]] = {}
        covering = cover(self._cluster.snapshot(), view, rotation=0)
        if covering.missing:
            return None
        holder = {shard: share.node for share in covering.shares for shard in share.shards}
        wanted: dict[NodeId, list[str]] = {}
        for one in ids:
            wanted.setdefault(holder[shard_of(one, view.shard_count)], []).append(one)
        for node, mine in sorted(wanted.items()):
            answer = await self._pages.fetch(view, node, {"ids": mine, "limit": len(mine)})
            if answer is None or isinstance(answer, ApiError):
                return None
            found.update(zip(document_ids(answer, state.primary_key), answer, strict=True))
        return found


async def _with_the_next_write(physical: str) -> bool:
    return True

"""The sequencer: accepted ops, per logical name in order, become resolutions that lanes can deliver.

Groups of ops are resolved in memory and stored in one transaction before any lane hears of them. Ops whose effect
depends on what documents hold wait until everything before them is applied, and are then resolved to explicit ids
(`services/writes/barriers.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import msgspec
import orjson

from miroir.core.catalogue import Applied, physical_uid
from miroir.core.records import (
    CatalogueChange,
    IndexChange,
    OpRecord,
    Resolution,
    encode,
    kept_bytes,
)
from miroir.core.writes.mending import mend
from miroir.core.writes.ops import BARRIERS, NameQueues, OpKind
from miroir.core.writes.sequencing import BookDelta
from miroir.core.writes.text_pieces import reads_words_alike
from miroir.core.writes.write_limits import WriteLimits
from miroir.meili import settings as meili_settings
from miroir.meili.codes import ApiError
from miroir.ports.store import Store, Table, Tx
from miroir.services.cluster import SEQUENCED, VISIBLE, Cluster
from miroir.services.writes.oplog import OpLog
from miroir.services.writes.persisting import persist
from miroir.services.writes.resolver import Answer, Resolver, settings_write

_GROUP_OPS_MAX = 64
_GROUP_BYTES_MAX = 8 << 20

_NEXT_INDEX = ("next_index",)


class Sequencer:
    """Owns the sequenced catalogue and the books; hands every resolved op to `deliver`."""

    def __init__(
        self,
        store: Store,
        log: OpLog,
        cluster: Cluster,
        limits: WriteLimits,
        now_ns: Callable[[], int],
        *,
        deliver: Callable[[OpRecord, Resolution], None],
        ask: Callable[[OpRecord], None],
    ) -> None:
        """`deliver` gets resolved ops in order; `ask` starts the resolution of a barrier op."""
        self._store = store
        self._log = log
        self._cluster = cluster
        self._limits = limits
        self._now_ns = now_ns
        self._deliver = deliver
        self._ask = ask
        self._resolver = Resolver(store, log, cluster, limits, now_ns)
        self.books = self._resolver.books
        self.vocabularies = self._resolver.vocabularies
        self._queue = NameQueues()
        self._asked: set[int] = set()
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()  #: held while a group is resolved and stored
        self._held: Counter[str] = Counter()

    def open(self) -> None:
        """Take up what was accepted but not sequenced."""
        row = self._store.read(lambda reader: reader.get(Table.META, _NEXT_INDEX))
        self._resolver.next_index = 0 if row is None else int(row)
        for op in sorted(self._log.ops.values(), key=lambda op: op.id):
            if op.stage == "accepted":
                self.add(op)

    def add(self, op: OpRecord) -> None:
        """One more accepted op."""
        self._queue.add(op.id, op.names)
        self._wake.set()

    def wake(self) -> None:
        """Something a waiting op may have waited for has happened."""
        self._wake.set()

    def answer(self, op: int, answer: Answer) -> None:
        """What a barrier op matches, what it makes of that, or the details of its task."""
        if self.waits_with(op):
            self._resolver.answers[op] = answer
            self._wake.set()

    def waits_with(self, op: int) -> bool:
        """Whether the op is not sequenced yet: an answer about it is still of use."""
        return op in self._queue

    async def run(self) -> None:
        """Sequence what comes, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while await self._sequence_group():  # noqa: ASYNC110  (others get a turn between two groups)
                await asyncio.sleep(0)

    async def _sequence_group(self) -> bool:
        async with self._turn:
            group = self._take_group()
            if group:
                await self._store_group(group)
        return bool(group)

    @contextlib.asynccontextmanager
    async def hold(self, physical: str) -> AsyncIterator[None]:
        """No op of this index is sequenced inside; those before it are stored and with their lanes."""
        self._held[physical] += 1
        try:
            async with self._turn:
                pass
            yield
        finally:
            self._held[physical] -= 1
            self._wake.set()

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Nothing at all is sequenced inside: for changes of what the next op of a held index will find."""
        async with self._turn:
            yield

    def next_physical(self) -> tuple[str, Callable[[Tx], None]]:
        """A name on the nodes that was never used, and what stores that it is taken. Inside `turn`."""
        number = self._resolver.next_index
        self._resolver.next_index += 1
        return physical_uid(number), lambda tx: tx.put(Table.META, _NEXT_INDEX, str(number + 1).encode())

    async def mend(
        self,
        physical: str,
        ids: list[str],
        held: Mapping[str, Mapping[str, Any]],
        *,
        left_nothing: bool,
    ) -> None:
        """The book and both catalogues follow what nodes hold of `ids`. The caller holds the index, and everything
        sequenced has ended. `left_nothing`: the refused ops did not give the index its primary key either."""
        async with self._turn:
            cluster = self._cluster
            state, shown = cluster.sequenced.indexes.get(physical), cluster.visible.indexes.get(physical)
            rows: list[tuple[str, Applied]] = []
            if state is not None and shown is not None:
                book = self.books.book(physical)
                known = self.books.known(physical, ids)
                mended = mend(ids, known, held, book)
                self.vocabularies.mended(state, {known[one].seq for one in mended.gone}, held.values())
                self.books.remove(physical, mended.gone, mended.freed)
                self.books.put(physical, mended.rows, mended.delta)
                size = book.size_after(BookDelta())
                unset = left_nothing and shown.primary_key is None and not size
                change = IndexChange(
                    primary_key=None if unset else state.primary_key,
                    new_fields=mended.names,
                    document_count=size,
                    field_distribution=book.distribution_after(BookDelta()),
                )
                both = CatalogueChange(indexes={physical: change})
                for which, catalogue in ((SEQUENCED, cluster.sequenced), (VISIBLE, cluster.visible)):
                    rows.append((which, catalogue.apply(both, now_ns=self._now_ns())))
            changes = self.books.take_changes()
            vocabulary_changes = self.vocabularies.take_changes()

            def store(tx: Tx) -> None:
                changes.store(tx)
                vocabulary_changes.store(tx)
                for which, applied in rows:
                    store_applied(tx, which, applied)

            await persist(self._store, store)
            self.books.committed()
            cluster.publish()

    async def take_back_settings(self, physical: str) -> None:
        """The next op finds the settings that readers see. The caller holds the index, and everything sequenced has ended."""
        async with self._turn:
            catalogue = self._cluster.sequenced
            shown = self._cluster.visible.indexes.get(physical)
            if shown is None or physical not in catalogue.indexes:
                return
            change = IndexChange(settings=shown.settings, exact=shown.exact)
            applied = catalogue.apply(CatalogueChange(indexes={physical: change}), now_ns=self._now_ns())
            await persist(self._store, lambda tx: store_applied(tx, SEQUENCED, applied))

    def _is_held(self, op: OpRecord) -> bool:
        names = self._cluster.sequenced.names
        return any(self._held[names[name]] > 0 for name in op.names if name in names)

    def _take_group(self) -> list[tuple[OpRecord, Resolution]]:
        group: list[tuple[OpRecord, Resolution]] = []
        size = 0
        heads = self._queue.heads()
        while heads and len(group) < _GROUP_OPS_MAX and size < _GROUP_BYTES_MAX:
            op = self._log.ops[heads.pop(0)]
            if self._is_held(op) or self._must_wait(op):
                continue
            self._log.claimed.add(op.id)
            group.append((op, self._resolver.resolve(op)))
            size += op.payload_bytes
            heads.extend(self._queue.remove(op.id))
        return group

    def _must_wait(self, op: OpRecord) -> bool:
        if self._resolver.finished(op) or op.id in self._resolver.answers:
            return False
        if op.kind not in BARRIERS and not self._changes_words(op):
            return False
        if op.index_uid is not None and self._cluster.sequenced.find(op.index_uid) is None:
            return False
        if op.id not in self._asked:
            self._asked.add(op.id)
            self._ask(op)
        return True

    def _changes_words(self, op: OpRecord) -> bool:
        """Whether settings cut the text of an exact index differently: its ghosts are then made anew."""
        if op.kind != OpKind.SETTINGS or op.index_uid is None:
            return False
        index = self._cluster.sequenced.find(op.index_uid)
        if index is None or self.vocabularies.find(index) is None:
            return False
        try:
            wanted = meili_settings.apply_write(index.settings, settings_write(op))
        except ApiError:
            return False
        return not reads_words_alike(index.settings, wanted)

    async def _store_group(self, group: list[tuple[OpRecord, Resolution]]) -> None:
        changes = self.books.take_changes()
        vocabulary_changes = self.vocabularies.take_changes()
        placements, self._resolver.placements = self._resolver.placements, {}
        applied, self._resolver.applied = self._resolver.applied, []
        next_index = self._resolver.next_index
        edited, self._resolver.edited = self._resolver.edited, {}
        payloads = {op: orjson.dumps(documents) for op, documents in edited.items()}
        sequenced = [
            msgspec.structs.replace(
                op, stage="sequenced", payload_bytes=len(payloads.get(op.id, b"")) or op.payload_bytes
            )
            for op, _ in group
        ]

        def store(tx: Tx) -> None:
            changes.store(tx)
            vocabulary_changes.store(tx)
            for op, (_, resolution) in zip(sequenced, group, strict=True):
                tx.put(Table.OPS, (op.id,), encode(op))
                tx.put(Table.RESOLUTIONS, (op.id,), encode(resolution))
            for op_id, payload in payloads.items():
                tx.put(Table.PAYLOADS, (op_id,), payload)
            for physical, record in placements.items():
                tx.put(Table.PLACEMENT, (physical,), encode(record))
            for change in applied:
                store_applied(tx, SEQUENCED, change)
            tx.put(Table.META, _NEXT_INDEX, str(next_index).encode())

        await persist(self._store, store)
        self.books.committed()
        self._cluster.placement.update(placements)
        for op, (_, resolution) in zip(sequenced, group, strict=True):
            self._log.kept_bytes += kept_bytes(op, resolution) - kept_bytes(self._log.ops[op.id], None)
            self._log.ops[op.id] = op
            self._log.resolutions[op.id] = resolution
            self._log.claimed.discard(op.id)
            self._asked.discard(op.id)
            self._resolver.answers.pop(op.id, None)
            self._deliver(op, resolution)


def store_applied(tx: Tx, which: str, applied: Applied) -> None:
    """Write the rows of one catalogue that changed."""
    for logical, physical in applied.names.items():
        if physical is None:
            tx.delete(Table.CATALOGUE, (which, "name", logical))
        else:
            tx.put(Table.CATALOGUE, (which, "name", logical), physical.encode())
    for physical, state in applied.indexes.items():
        if state is None:
            tx.delete(Table.CATALOGUE, (which, "index", physical))
        else:
            tx.put(Table.CATALOGUE, (which, "index", physical), encode(state))

"""The sequencer: accepted ops, per logical name in order, become resolutions that lanes can deliver.

Groups of ops are resolved in memory and stored in one transaction before any lane hears of them. Ops whose effect
depends on what documents hold wait until everything before them is applied, and are then resolved to explicit ids
(`services/barriers.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import msgspec
import orjson

from miroir.core import resolving
from miroir.core.catalogue import Applied, physical_uid
from miroir.core.document_checks import check_documents, check_field_count
from miroir.core.document_edits import Edits
from miroir.core.document_ids import document_ids, infer_primary_key, primary_key_taken
from miroir.core.mending import mend
from miroir.core.node_settings import node_settings
from miroir.core.ops import BARRIERS, Action, NameQueues, OpKind
from miroir.core.records import (
    CatalogueChange,
    IndexChange,
    IndexState,
    OpRecord,
    PlacementRecord,
    Resolution,
    encode,
)
from miroir.core.sequencing import BookDelta, sequence_add, sequence_delete
from miroir.core.text_pieces import reads_words_alike
from miroir.core.vocabulary import Vocabulary
from miroir.core.write_limits import WriteLimits
from miroir.meili import settings as meili_settings
from miroir.meili.codes import ApiError
from miroir.meili.commands import SettingsWrite
from miroir.meili.indexes import index_not_found
from miroir.ports.store import Store, Table, Tx
from miroir.services.books import Books
from miroir.services.cluster import SEQUENCED, VISIBLE, Cluster
from miroir.services.oplog import OpLog
from miroir.services.persisting import persist
from miroir.services.vocabularies import Vocabularies

_GROUP_OPS_MAX = 64
_GROUP_BYTES_MAX = 8 << 20

_NEXT_INDEX = ("next_index",)


Answer = list[str] | Edits | Vocabulary | dict[str, Any] | ApiError


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
        self.books = Books(store)
        self.vocabularies = Vocabularies(store)
        self._queue = NameQueues()
        self._asked: set[int] = set()
        self._answers: dict[int, Answer] = {}
        self._edited: dict[int, list[Any]] = {}  #: documents that editions of the group write
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()  #: held while a group is resolved and stored
        self._held: Counter[str] = Counter()
        self._next_index = 0
        self._placements: dict[str, PlacementRecord] = {}
        self._applied: list[Applied] = []

    def open(self) -> None:
        """Take up what was accepted but not sequenced."""
        row = self._store.read(lambda reader: reader.get(Table.META, _NEXT_INDEX))
        self._next_index = 0 if row is None else int(row)
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
        self._answers[op] = answer
        self._wake.set()

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

    async def mend(
        self,
        physical: str,
        ids: list[str],
        held: Mapping[str, Mapping[str, Any]],
        *,
        left_nothing: bool,
        also: Callable[[Tx], None],
    ) -> None:
        """The book and both catalogues follow what nodes hold of `ids`. The caller holds the index, and everything
        sequenced has ended. `left_nothing`: the refused ops did not give the index its primary key either."""
        async with self._turn:
            cluster = self._cluster
            state, shown = cluster.sequenced.indexes.get(physical), cluster.visible.indexes.get(physical)
            rows: list[tuple[str, Applied]] = []
            if state is not None and shown is not None:
                book = self.books.book(physical)
                mended = mend(ids, self.books.known(physical, ids), held, book)
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

            def store(tx: Tx) -> None:
                changes.store(tx)
                for which, applied in rows:
                    store_applied(tx, which, applied)
                also(tx)

            await persist(self._store, store)
            self.books.committed()
            cluster.publish()

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
            group.append((op, self._resolve(op)))
            size += op.payload_bytes
            heads.extend(self._queue.remove(op.id))
        return group

    def _must_wait(self, op: OpRecord) -> bool:
        if self._finished(op) or op.id in self._answers:
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
            wanted = meili_settings.apply_write(index.settings, _settings_write(op))
        except ApiError:
            return False
        return not reads_words_alike(index.settings, wanted)

    def _finished(self, op: OpRecord) -> bool:
        return self._log.tasks[op.id].status not in ("enqueued", "processing")

    async def _store_group(self, group: list[tuple[OpRecord, Resolution]]) -> None:
        changes = self.books.take_changes()
        vocabulary_changes = self.vocabularies.take_changes()
        placements, self._placements = self._placements, {}
        applied, self._applied = self._applied, []
        next_index = self._next_index
        edited, self._edited = self._edited, {}
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
            self._log.payload_bytes += op.payload_bytes - self._log.ops[op.id].payload_bytes
            self._log.ops[op.id] = op
            self._log.resolutions[op.id] = resolution
            self._log.claimed.discard(op.id)
            self._asked.discard(op.id)
            self._answers.pop(op.id, None)
            self._deliver(op, resolution)

    # --- one op -------------------------------------------------------------------------------

    def _resolve(self, op: OpRecord) -> Resolution:
        """Resolve and apply to the sequenced catalogue; nothing of a failed op but a made index is kept."""
        if self._finished(op):  # canceled before its turn
            return Resolution()
        made: CatalogueChange | None = None
        node_new: dict[str, Any] | None = None
        try:
            if op.kind in (OpKind.DOCUMENTS_ADD, OpKind.SETTINGS):
                made, node_new = self._make_if_missing(op)
            resolution = _RESOLVERS[OpKind(op.kind)](self, op)
        except ApiError as error:
            physical = next(iter(made.indexes)) if made is not None else None
            return Resolution(
                physical=physical,
                action=(Action.SETTINGS if made is not None else Action.NONE).value,
                everywhere=made is not None,
                node_settings=node_new,
                change=made,
                error=error.body(),
            )
        if resolution.change is not None:
            self._apply(resolution.change)
        resolution = self._with_ghosts(resolution)
        if made is not None:
            resolution = _with_made(resolution, made, node_new)
        return resolution

    def _with_ghosts(self, resolution: Resolution) -> Resolution:
        """With the hidden documents of an exact index that the op changes."""
        index = self._cluster.sequenced.indexes.get(resolution.physical or "")
        found = None if index is None else self.vocabularies.take_ghosts(index)
        if found is None:
            return resolution
        return msgspec.structs.replace(resolution, ghosts=found[0], ghosts_key=found[1])

    def _apply(self, change: CatalogueChange) -> None:
        self._applied.append(self._cluster.sequenced.apply(change, now_ns=self._now_ns()))

    def _make_if_missing(self, op: OpRecord) -> tuple[CatalogueChange | None, dict[str, Any] | None]:
        uid = op.index_uid
        assert uid is not None
        if self._cluster.sequenced.find(uid) is not None:
            return None, None
        if not op.args.get("may_create", True):
            raise index_not_found(uid)
        index = self._new_index(None)
        change = CatalogueChange(
            names={uid: index.physical}, indexes={index.physical: IndexChange(created=index)}
        )
        self._apply(change)
        return change, node_settings(index.settings, exact=index.exact)

    def _new_index(self, primary_key: str | None) -> IndexState:
        physical = physical_uid(self._next_index)
        self._next_index += 1
        limits = self._limits
        self._placements[physical] = self._cluster.propose(limits.shards, limits.replication_factor)
        fresh = resolving.fresh_index(physical, meili_settings.defaults(), self._now_ns(), primary_key)
        return msgspec.structs.replace(fresh, exact=limits.exact)

    def _shard_count(self, physical: str) -> int:
        record = self._placements.get(physical) or self._cluster.placement[physical]
        return len(record.shards)

    def _add(self, op: OpRecord) -> Resolution:
        assert op.index_uid is not None
        index = resolving.require(self._cluster.sequenced, op.index_uid)
        return self._add_documents(index, op, self._log.payload(op.id) or [])

    def _add_documents(self, index: IndexState, op: OpRecord, documents: list[Any]) -> Resolution:
        merge = bool(op.args.get("merge"))
        primary_key = self._primary_key(index, op.args.get("primary_key"), documents)
        if primary_key is None:
            return Resolution(physical=index.physical, details=_added(0, 0))
        ids = document_ids(documents, primary_key)
        physical = index.physical
        book = self.books.book(physical)
        known = self.books.known(physical, ids)
        try:
            check_documents(documents, ids, index.settings, known)
        except ApiError as error:
            raise ApiError(error.code, f"Index `{op.index_uid}`: {error.message}") from None
        added = sequence_add(
            documents,
            ids,
            known,
            book,
            shard_count=self._shard_count(physical),
            merge=merge,
            skip_creation=bool(op.args.get("skip_creation")),
            field_order=index.field_order,
        )
        first = () if index.primary_key or "." in primary_key else (primary_key,)
        try:
            check_field_count(len(index.field_order) + len(added.new_fields))
        except ApiError as error:
            raise ApiError(error.code, f"Index `{op.index_uid}`: {error.message}") from None
        change = IndexChange(
            primary_key=primary_key,
            new_fields=(*first, *added.new_fields),
            document_count=book.size_after(added.delta),
            field_distribution=book.distribution_after(added.delta),
        )
        self.books.put(physical, added.rows, added.delta)
        self.vocabularies.added(index, primary_key, documents, added.seqs, merge=merge)
        return Resolution(
            physical=physical,
            action=(Action.ADD if added.shards else Action.NONE).value,
            seqs=added.seqs,
            shards=added.shards,
            merge=merge,
            primary_key=primary_key,
            change=CatalogueChange(indexes={physical: change}),
            created_ids=added.created,
            details=_added(len(documents), added.distinct_count),
        )

    def _primary_key(self, index: IndexState, asked: str | None, documents: list[Any]) -> str | None:
        if index.primary_key is not None:
            if asked is not None and asked != index.primary_key:
                raise primary_key_taken(index.primary_key)
            return index.primary_key
        if asked is not None:
            return asked
        return infer_primary_key(documents) if documents else None

    def _delete(self, op: OpRecord) -> Resolution:
        assert op.index_uid is not None
        index = resolving.require(self._cluster.sequenced, op.index_uid)
        return self._delete_ids(index, self._log.payload(op.id) or [], op)

    def _delete_matching(self, op: OpRecord) -> Resolution:
        assert op.index_uid is not None
        index = resolving.require(self._cluster.sequenced, op.index_uid)
        answer = self._answers.get(op.id, [])
        if isinstance(answer, ApiError):
            raise answer
        assert isinstance(answer, list)
        return self._delete_ids(index, answer, op)

    def _delete_ids(self, index: IndexState, ids: list[str], op: OpRecord) -> Resolution:
        physical = index.physical
        book = self.books.book(physical)
        known = self.books.known(physical, ids)
        deleted = sequence_delete(ids, known, shard_count=self._shard_count(physical))
        change = IndexChange(
            document_count=book.size_after(deleted.delta),
            field_distribution=book.distribution_after(deleted.delta),
        )
        self.books.remove(physical, deleted.ids, deleted.delta)
        self.vocabularies.removed(index, [known[each].seq for each in deleted.ids])
        details = dict(self._log.tasks[op.id].details or {})
        details["deletedDocuments"] = len(deleted.ids)
        return Resolution(
            physical=physical,
            action=(Action.DELETE if deleted.ids else Action.NONE).value,
            ids=deleted.ids,
            shards=deleted.shards,
            change=CatalogueChange(indexes={physical: change}),
            details=details,
        )

    def _clear(self, op: OpRecord) -> Resolution:
        assert op.index_uid is not None
        index = resolving.require(self._cluster.sequenced, op.index_uid)
        physical = index.physical
        count = self.books.book(physical).size_after(BookDelta())
        self.books.clear(physical)
        if count:
            self.vocabularies.cleared(index)
        change = IndexChange(document_count=0, field_distribution={})
        return Resolution(
            physical=physical,
            action=(Action.CLEAR if count else Action.NONE).value,
            everywhere=count > 0,
            change=CatalogueChange(indexes={physical: change}),
            details={"deletedDocuments": count},
        )

    def _edit(self, op: OpRecord) -> Resolution:
        """Replacements and deletions by id, as one op: nodes never run the function."""
        assert op.index_uid is not None
        index = resolving.require(self._cluster.sequenced, op.index_uid)
        answer = self._answers.get(op.id, [])
        if isinstance(answer, ApiError):
            raise answer
        edits = answer if isinstance(answer, Edits) else Edits()
        details = dict(self._log.tasks[op.id].details or {})
        details.update(editedDocuments=edits.candidates, deletedDocuments=edits.candidates)
        if not edits.documents and not edits.deleted:
            return Resolution(physical=index.physical, details=details)
        if not edits.documents:
            return msgspec.structs.replace(self._delete_ids(index, edits.deleted, op), details=details)
        # The replacements first: they may still be refused, and then nothing has changed.
        addition = self._add_documents(index, op, edits.documents)
        deletion = self._delete_ids(index, edits.deleted, op)
        self._edited[op.id] = edits.documents
        return msgspec.structs.replace(
            addition,
            ids=deletion.ids,
            shards=tuple(sorted({*deletion.shards, *addition.shards})),
            change=_later(addition.change, deletion.change),
            details=details,
        )

    def _settings(self, op: OpRecord) -> Resolution:
        assert op.index_uid is not None
        index = resolving.require(self._cluster.sequenced, op.index_uid)
        try:
            wanted = meili_settings.apply_write(index.settings, _settings_write(op))
        except ApiError as error:
            raise ApiError(error.code, f"Index `{op.index_uid}`: {error.message}") from None
        self.vocabularies.configured(index, wanted)
        answer = self._answers.get(op.id)
        if isinstance(answer, Vocabulary):
            self.vocabularies.rebuilt(index, answer)
        return resolving.configure(index, wanted, self._log.tasks[op.id].details)

    def _exact(self, op: OpRecord) -> Resolution:
        assert op.index_uid is not None
        index = resolving.require(self._cluster.sequenced, op.index_uid)
        exact = bool(op.args["exact"])
        if not exact:
            self.vocabularies.forget(index.physical)
        return resolving.make_exact(index, exact=exact, details=self._log.tasks[op.id].details)

    def _ghosts(self, op: OpRecord) -> Resolution:
        """Every ghost anew; or, where the index is to be exact no longer, none."""
        assert op.index_uid is not None
        index = resolving.require(self._cluster.sequenced, op.index_uid)
        details = self._log.tasks[op.id].details
        answer = self._answers.get(op.id)
        if op.args.get("remove"):
            self.vocabularies.forget(index.physical)
            if not index.exact:
                return Resolution(physical=index.physical, details=details)
            return Resolution(
                physical=index.physical, action=Action.UNGHOST.value, everywhere=True, details=details
            )
        if isinstance(answer, Vocabulary) and index.exact:
            self.vocabularies.rebuilt(index, answer)
        return Resolution(physical=index.physical, details=details)

    def _create(self, op: OpRecord) -> Resolution:
        assert op.index_uid is not None
        if self._cluster.sequenced.find(op.index_uid) is not None:
            raise ApiError("index_already_exists", f"Index `{op.index_uid}` already exists.")
        index = self._new_index(op.args.get("primary_key"))
        return resolving.create(self._cluster.sequenced, op.index_uid, index)

    def _drop(self, op: OpRecord) -> Resolution:
        assert op.index_uid is not None
        index = resolving.require(self._cluster.sequenced, op.index_uid)
        count = self.books.book(index.physical).size_after(BookDelta())
        resolution = resolving.delete(self._cluster.sequenced, op.index_uid, count)
        self.books.forget(index.physical)
        self.vocabularies.forget(index.physical)
        return resolution

    def _update(self, op: OpRecord) -> Resolution:
        assert op.index_uid is not None
        index = resolving.require(self._cluster.sequenced, op.index_uid)
        resolution = resolving.update(
            self._cluster.sequenced,
            op.index_uid,
            new_uid=op.args.get("new_uid"),
            primary_key=op.args.get("primary_key"),
            document_count=self.books.book(index.physical).size_after(BookDelta()),
        )
        if resolution.action == Action.PRIMARY_KEY:
            assert resolution.primary_key is not None
            self.vocabularies.rekeyed(index, resolution.primary_key)
        return resolution

    def _swap(self, op: OpRecord) -> Resolution:
        return resolving.swap(self._cluster.sequenced, [tuple(swap) for swap in op.args["swaps"]])

    def _compact(self, op: OpRecord) -> Resolution:
        assert op.index_uid is not None
        resolving.require(self._cluster.sequenced, op.index_uid)
        return self._carried_out(op)

    def _carried_out(self, op: OpRecord) -> Resolution:
        """An op that is done when it is sequenced: nothing is left for nodes."""
        answer = self._answers.get(op.id)
        if isinstance(answer, ApiError):
            raise answer
        assert isinstance(answer, dict)
        return Resolution(details=answer)


_RESOLVERS: dict[OpKind, Callable[[Sequencer, OpRecord], Resolution]] = {
    OpKind.DOCUMENTS_ADD: Sequencer._add,
    OpKind.DOCUMENTS_DELETE: Sequencer._delete,
    OpKind.DOCUMENTS_DELETE_FILTER: Sequencer._delete_matching,
    OpKind.DOCUMENTS_CLEAR: Sequencer._clear,
    OpKind.DOCUMENTS_EDIT: Sequencer._edit,
    OpKind.SETTINGS: Sequencer._settings,
    OpKind.INDEX_CREATE: Sequencer._create,
    OpKind.INDEX_DELETE: Sequencer._drop,
    OpKind.INDEX_UPDATE: Sequencer._update,
    OpKind.INDEX_SWAP: Sequencer._swap,
    OpKind.INDEX_COMPACT: Sequencer._compact,
    OpKind.INDEX_EXACT: Sequencer._exact,
    OpKind.INDEX_GHOSTS: Sequencer._ghosts,
    OpKind.DUMP: Sequencer._carried_out,
}


def _settings_write(op: OpRecord) -> SettingsWrite:
    return SettingsWrite(patch=op.args["patch"], reset_all=op.args["reset_all"])


def _added(received: int, indexed: int) -> dict[str, Any]:
    return {"receivedDocuments": received, "indexedDocuments": indexed}


def _with_made(resolution: Resolution, made: CatalogueChange, node_new: dict[str, Any] | None) -> Resolution:
    """The op also makes its index: one change of the catalogue, and settings before anything else."""
    (physical,) = made.indexes
    later = resolution.change
    patch = made.indexes[physical]
    if later is not None and physical in later.indexes:
        patch = msgspec.structs.replace(later.indexes[physical], created=patch.created)
    return msgspec.structs.replace(
        resolution,
        physical=physical,
        change=CatalogueChange(names=made.names, indexes={physical: patch}),
        node_settings=resolution.node_settings or node_new,
    )


def _later(first: CatalogueChange | None, second: CatalogueChange | None) -> CatalogueChange:
    """Two changes of one index as one: what both say, the second says last."""
    assert first is not None
    assert second is not None
    ((physical, patch),) = first.indexes.items()
    last = second.indexes[physical]
    both = msgspec.structs.replace(
        patch, document_count=last.document_count, field_distribution=last.field_distribution
    )
    return CatalogueChange(indexes={physical: both})


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

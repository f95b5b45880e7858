"""What one accepted op becomes: every kind of op against the sequenced catalogue and the books.

Nothing is stored here: changes are collected for the transaction of the group that the sequencer stores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from miroir.core.catalogue import Applied, physical_uid
from miroir.core.hashing import shard_of
from miroir.core.records import (
    CatalogueChange,
    IndexChange,
    IndexState,
    OpRecord,
    PlacementRecord,
    Resolution,
)
from miroir.core.writes import resolving
from miroir.core.writes.document_checks import check_documents, check_field_count
from miroir.core.writes.document_edits import Edits
from miroir.core.writes.document_ids import document_ids, infer_primary_key, primary_key_taken
from miroir.core.writes.node_settings import node_settings
from miroir.core.writes.ops import Action, OpKind
from miroir.core.writes.sequencing import BookDelta, sequence_add, sequence_delete
from miroir.core.writes.vocabulary import Vocabulary
from miroir.core.writes.write_limits import WriteLimits
from miroir.meili import settings as meili_settings
from miroir.meili.codes import ApiError
from miroir.meili.commands import SettingsWrite
from miroir.meili.indexes import index_not_found
from miroir.ports.store import Store
from miroir.services.cluster import Cluster
from miroir.services.writes.books import Books
from miroir.services.writes.oplog import OpLog
from miroir.services.writes.vocabularies import Vocabularies

Answer = list[str] | Edits | Vocabulary | dict[str, Any] | ApiError


class Resolver:
    """Resolves ops in order; what a group changes is taken by the sequencer, which stores it."""

    def __init__(
        self, store: Store, log: OpLog, cluster: Cluster, limits: WriteLimits, now_ns: Callable[[], int]
    ) -> None:
        self._log = log
        self._cluster = cluster
        self._limits = limits
        self._now_ns = now_ns
        self.books = Books(store)
        self.vocabularies = Vocabularies(store)
        self.answers: dict[int, Answer] = {}  #: of barrier ops, until they are stored
        self.edited: dict[int, list[Any]] = {}  #: documents that editions of the group write
        self.next_index = 0
        self.placements: dict[str, PlacementRecord] = {}
        self.applied: list[Applied] = []

    def finished(self, op: OpRecord) -> bool:
        """Whether the op's task has ended already (it was canceled)."""
        return self._log.tasks[op.id].status not in ("enqueued", "processing")

    def resolve(self, op: OpRecord) -> Resolution:
        """Resolve and apply to the sequenced catalogue; nothing of a failed op but a made index is kept."""
        if self.finished(op):  # canceled before its turn
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
        resolution = self._with_layouts(resolution)
        if resolution.change is not None:
            self._apply(resolution.change)
        resolution = self._with_ghosts(resolution)
        if made is not None:
            resolution = resolving.with_made(resolution, made, node_new)
        return resolution

    def _with_layouts(self, resolution: Resolution) -> Resolution:
        """With the layouts that the index has now. A dropped one is still in the catalogue here."""
        index = self._cluster.sequenced.indexes.get(resolution.physical or "")
        if index is None or (index.read_layout is None and index.other_layout is None):
            return resolution
        return msgspec.structs.replace(
            resolution, read_layout=index.read_layout, other_layout=index.other_layout
        )

    def _elsewhere(self, index: IndexState, ids: Iterable[str]) -> tuple[int, ...]:
        """Shards of these documents in the second layout of the index, if it has one."""
        if index.other_layout is None:
            return ()
        count = self._shard_count(index.other_layout)
        return tuple(sorted({shard_of(document_id, count) for document_id in ids}))

    def _with_ghosts(self, resolution: Resolution) -> Resolution:
        """With the hidden documents of an exact index that the op changes."""
        index = self._cluster.sequenced.indexes.get(resolution.physical or "")
        found = None if index is None else self.vocabularies.take_ghosts(index)
        if found is None:
            return resolution
        return msgspec.structs.replace(resolution, ghosts=found[0], ghosts_key=found[1])

    def _apply(self, change: CatalogueChange) -> None:
        self.applied.append(self._cluster.sequenced.apply(change, now_ns=self._now_ns()))

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
        physical = physical_uid(self.next_index)
        self.next_index += 1
        limits = self._limits
        self.placements[physical] = self._cluster.propose(limits.shards, limits.replication_factor)
        fresh = resolving.fresh_index(physical, meili_settings.defaults(), self._now_ns(), primary_key)
        return msgspec.structs.replace(fresh, exact=limits.exact)

    def _shard_count(self, layout: str) -> int:
        record = self.placements.get(layout) or self._cluster.placement[layout]
        return len(record.shards)

    def _add(self, op: OpRecord) -> Resolution:
        assert op.index_uid is not None
        index = resolving.require(self._cluster.sequenced, op.index_uid)
        return self._add_documents(index, op, self._log.payload(op.id) or [])

    def _add_documents(self, index: IndexState, op: OpRecord, documents: list[Any]) -> Resolution:
        merge, skips = bool(op.args.get("merge")), bool(op.args.get("skip_creation"))
        primary_key = self._primary_key(index, op.args.get("primary_key"), documents)
        if primary_key is None:
            return Resolution(physical=index.physical, details=_added(0, 0))
        ids = document_ids(documents, primary_key)
        physical = index.physical
        book = self.books.book(physical)
        known = self.books.known(physical, ids)
        try:
            kept = [n for n, each in enumerate(ids) if each in known] if skips else range(len(ids))
            check_documents([documents[n] for n in kept], [ids[n] for n in kept], index.settings, known)
        except ApiError as error:
            raise ApiError(error.code, f"Index `{op.index_uid}`: {error.message}") from None
        added = sequence_add(
            documents,
            ids,
            known,
            book,
            shard_count=self._shard_count(index.layout),
            merge=merge,
            skip_creation=skips,
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
            other_shards=self._elsewhere(
                index, (one for one, seq in zip(ids, added.seqs, strict=True) if seq >= 0)
            ),
            merge=merge,
            primary_key=primary_key,
            change=CatalogueChange(indexes={physical: change}),
            details=_added(len(documents), added.distinct_count),
        )

    def _primary_key(self, index: IndexState, asked: str | None, documents: list[Any]) -> str | None:
        if index.primary_key is not None:
            if asked is not None and asked != index.primary_key and documents:
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
        answer = self.answers.get(op.id, [])
        if isinstance(answer, ApiError):
            raise answer
        assert isinstance(answer, list)
        return self._delete_ids(index, answer, op)

    def _delete_ids(self, index: IndexState, ids: list[str], op: OpRecord) -> Resolution:
        physical = index.physical
        book = self.books.book(physical)
        known = self.books.known(physical, ids)
        deleted = sequence_delete(ids, known, shard_count=self._shard_count(index.layout))
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
            other_shards=self._elsewhere(index, deleted.ids),
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
        answer = self.answers.get(op.id, [])
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
        self.edited[op.id] = edits.documents
        return msgspec.structs.replace(
            addition,
            ids=deletion.ids,
            shards=tuple(sorted({*deletion.shards, *addition.shards})),
            other_shards=tuple(sorted({*deletion.other_shards, *addition.other_shards})),
            change=resolving.later(addition.change, deletion.change),
            details=details,
        )

    def _settings(self, op: OpRecord) -> Resolution:
        assert op.index_uid is not None
        index = resolving.require(self._cluster.sequenced, op.index_uid)
        try:
            wanted = meili_settings.apply_write(index.settings, settings_write(op))
        except ApiError as error:
            raise ApiError(error.code, f"Index `{op.index_uid}`: {error.message}") from None
        self.vocabularies.configured(index, wanted)
        answer = self.answers.get(op.id)
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
        answer = self.answers.get(op.id)
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
        answer = self.answers.get(op.id)
        if isinstance(answer, ApiError):
            raise answer
        assert isinstance(answer, dict)
        return Resolution(details=answer)


_RESOLVERS: dict[OpKind, Callable[[Resolver, OpRecord], Resolution]] = {
    OpKind.DOCUMENTS_ADD: Resolver._add,
    OpKind.DOCUMENTS_DELETE: Resolver._delete,
    OpKind.DOCUMENTS_DELETE_FILTER: Resolver._delete_matching,
    OpKind.DOCUMENTS_CLEAR: Resolver._clear,
    OpKind.DOCUMENTS_EDIT: Resolver._edit,
    OpKind.SETTINGS: Resolver._settings,
    OpKind.INDEX_CREATE: Resolver._create,
    OpKind.INDEX_DELETE: Resolver._drop,
    OpKind.INDEX_UPDATE: Resolver._update,
    OpKind.INDEX_SWAP: Resolver._swap,
    OpKind.INDEX_COMPACT: Resolver._compact,
    OpKind.INDEX_EXACT: Resolver._exact,
    OpKind.INDEX_GHOSTS: Resolver._ghosts,
    OpKind.DUMP: Resolver._carried_out,
}


def settings_write(op: OpRecord) -> SettingsWrite:
    return SettingsWrite(patch=op.args["patch"], reset_all=op.args["reset_all"])


def _added(received: int, indexed: int) -> dict[str, Any]:
    return {"receivedDocuments": received, "indexedDocuments": indexed}

"""The vocabularies of exact indexes, as of the last sequenced op: in memory, with rows in the store.

A vocabulary begins with the first documents of an index, or is built from all of its documents (`core/writes/vocabulary.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from miroir.core.records import IndexState, encode
from miroir.core.reserved import SEQ_FIELD, decode_seq, is_reserved
from miroir.core.writes.text_pieces import Splitter
from miroir.core.writes.vocabulary import Rows, Vocabulary
from miroir.ports.store import Reader, Store, Table, Tx

_decode = msgspec.msgpack.Decoder().decode
_PREFIX = "vocabulary"


class Vocabularies:
    """Vocabularies by physical index, loaded at first use."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._found: dict[str, Vocabulary | None] = {}
        self._gone: dict[str, None] = {}

    def find(self, index: IndexState) -> Vocabulary | None:
        """The vocabulary of an index; None before its first document, and when it is not exact."""
        if not index.exact:
            return None
        physical = index.physical
        if physical not in self._found:
            splitter = Splitter(index.settings)

            def load(reader: Reader) -> Vocabulary | None:
                rows = reader.scan(Table.META, (_PREFIX, physical))
                return Vocabulary.of_rows(((str(k[2]), int(k[3]), _decode(row)) for k, row in rows), splitter)

            self._found[physical] = self._store.read(load)
        return self._found[physical]

    def begin(self, index: IndexState, primary_key: str) -> Vocabulary:
        """The vocabulary, made when it is new or was made for another primary key."""
        found = self.find(index)
        if found is None or found.primary_key != primary_key:
            paths = () if found is None else [path for path in found.paths if not is_reserved(path[-1])]
            found = Vocabulary(primary_key, Splitter(index.settings))
            found.know_paths(paths)
            found.know(index.field_order)
            found.mark_all()
            self.replace(index.physical, found)
        return found

    def rekeyed(self, index: IndexState, primary_key: str) -> None:
        """An index without documents gets another primary key: its ghosts too."""
        if self.find(index) is not None:
            self.begin(index, primary_key)

    def added(
        self,
        index: IndexState,
        primary_key: str,
        documents: Sequence[Mapping[str, Any]],
        seqs: Sequence[int],
        *,
        merge: bool,
    ) -> None:
        """Documents were written; those with number -1 were not."""
        if index.exact:
            vocabulary = self.begin(index, primary_key)
            last: dict[int, Mapping[str, Any]] = {}
            for seq, document in zip(seqs, documents, strict=True):
                if seq >= 0:  # of a document that comes twice nodes see what the last one leaves
                    last[seq] = {**last.get(seq, {}), **document} if merge else document
            for seq, document in last.items():
                vocabulary.put(seq, document, merge=merge)

    def removed(self, index: IndexState, seqs: Iterable[int]) -> None:
        """Documents are gone."""
        vocabulary = self.find(index)
        if vocabulary is not None:
            vocabulary.remove(seqs)

    def mended(self, index: IndexState, gone: Iterable[int], held: Iterable[Mapping[str, Any]]) -> None:
        """Nodes refused what was thought written: `gone` are not there, `held` is what they have, our fields included.

        The ghosts that this changes are brought to the nodes at once, or go with the next write.
        """
        vocabulary = self.find(index)
        if vocabulary is not None:
            vocabulary.remove(gone)
            for document in held:
                plain = {name: value for name, value in document.items() if not is_reserved(name)}
                vocabulary.put(decode_seq(str(document[SEQ_FIELD])), plain, merge=False)

    def mark_all(self, index: IndexState) -> None:
        """Nodes may have other ghosts than they should."""
        vocabulary = self.find(index)
        if vocabulary is not None:
            vocabulary.mark_all()

    def cleared(self, index: IndexState) -> None:
        """All documents are gone, and the ghosts with them."""
        vocabulary = self.find(index)
        if vocabulary is not None:
            vocabulary.clear()

    def configured(self, index: IndexState, settings: Mapping[str, Any]) -> None:
        """Other embedders: ghosts say to each that they have no vector."""
        vocabulary = self.find(index)
        if vocabulary is not None and set(index.settings.get("embedders") or ()) != set(
            settings.get("embedders") or ()
        ):
            vocabulary.mark_all()

    def rebuilt(self, index: IndexState, fresh: Vocabulary) -> None:
        """A vocabulary read from the documents takes the place of the one there was."""
        before = self._found.get(index.physical)
        fresh.know(index.field_order)
        if before is not None:
            fresh.know_paths(before.paths)
        fresh.mark_all(0 if before is None else before.ghost_count)
        self.replace(index.physical, fresh)

    def take_ghosts(self, index: IndexState) -> tuple[bytes, str] | None:
        """Ghosts to be written again, and their primary key."""
        vocabulary = self.find(index)
        if vocabulary is None:
            return None
        ghosts = vocabulary.take_stale(index.settings.get("embedders") or ())
        return (ghosts, vocabulary.primary_key) if ghosts else None

    def replace(self, physical: str, vocabulary: Vocabulary) -> None:
        """Another one, built anew."""
        vocabulary.rewrite_rows()
        self._found[physical] = vocabulary

    def forget(self, physical: str) -> None:
        """The index has none any more."""
        self._found[physical] = None
        self._gone[physical] = None

    def take_changes(self) -> VocabularyChanges:
        """Rows of the group being sequenced, for its transaction."""
        gone, self._gone = self._gone, {}
        return VocabularyChanges(
            gone,
            {
                physical: found.take_rows()
                for physical, found in self._found.items()
                if found is not None and found.changed
            },
        )


class VocabularyChanges:
    """Rows of one group; `store` runs in the store's transaction."""

    def __init__(self, gone: Iterable[str], rows: Mapping[str, Rows]) -> None:
        self._gone = [*gone, *(physical for physical, part in rows.items() if part.anew)]
        self._puts: list[tuple[tuple[str | int, ...], bytes]] = []
        self._deletes: list[tuple[str | int, ...]] = []
        for physical, part in rows.items():
            for (kind, number), row in part.rows.items():
                key = (_PREFIX, physical, kind, number)
                if row is None:
                    self._deletes.append(key)
                else:
                    self._puts.append((key, encode(row)))

    def store(self, tx: Tx) -> None:
        for physical in self._gone:
            tx.delete_prefix(Table.META, (_PREFIX, physical))
        tx.delete_many(Table.META, self._deletes)
        tx.put_many(Table.META, self._puts)

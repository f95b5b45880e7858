"""Which documents each index has, as of the last sequenced op: rows in the store, numbers in memory.

A group of ops is sequenced before any of it is committed: `Draft rows` of the group lie over the store until then.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import msgspec

from miroir.core.records import encode
from miroir.core.writes.sequencing import BookDelta, IndexBook, Known
from miroir.ports.store import Key, Reader, Store, Table, Tx

#: documents whose rows are in memory at once while a book is loaded
_LOAD_ROWS = 50_000

_decode_row = msgspec.msgpack.Decoder(tuple[int, int]).decode
_decode_names = msgspec.msgpack.Decoder(tuple[str, ...]).decode


def stored_numbers(rows: Iterable[tuple[Key, bytes]]) -> list[tuple[int, str]]:
    """(number, document id) of rows of the documents table."""
    return [(_decode_row(row)[0], str(key[1])) for key, row in rows]


class Books:
    """Books of all indexes, loaded at first use, with the changes of the group being sequenced."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._books: dict[str, IndexBook] = {}
        self._stored_sets: dict[str, int] = {}
        self._rows: dict[str, dict[str, Known | None]] = {}
        self._cleared: dict[str, None] = {}

    def book(self, physical: str) -> IndexBook:
        """The book of an index."""
        found = self._books.get(physical)
        if found is None:
            found = self._books[physical] = IndexBook()
            self._store.read(lambda reader: self._load(physical, found, reader))
        return found

    def _load(self, physical: str, book: IndexBook, reader: Reader) -> None:
        for key, row in reader.scan(Table.META, ("fields", physical)):
            book.load(int(key[2]), _decode_names(row))
        self._stored_sets[physical] = len(book.field_sets)
        rows = map(_decode_row, reader.values(Table.DOCUMENTS, (physical,)))
        while page := list(islice(rows, _LOAD_ROWS)):
            book.insert_all(page)

    def known(self, physical: str, ids: Iterable[str]) -> dict[str, Known]:
        """Those of `ids` that exist."""
        over = self._rows.get(physical, {})
        found: dict[str, Known] = {}
        asked = []
        for document_id in dict.fromkeys(ids):
            if document_id in over:
                row = over[document_id]
                if row is not None:
                    found[document_id] = row
            else:
                asked.append(document_id)
        if asked and physical not in self._cleared:
            keys: list[Key] = [(physical, document_id) for document_id in asked]
            rows = self._store.read(lambda reader: reader.get_many(Table.DOCUMENTS, keys))
            for document_id, stored in zip(asked, rows, strict=True):
                if stored is not None:
                    found[document_id] = Known(*_decode_row(stored))
        return found

    def put(self, physical: str, rows: dict[str, Known], delta: BookDelta) -> None:
        """Documents new or changed."""
        self._rows.setdefault(physical, {}).update(rows)
        self.book(physical).apply(delta)

    def remove(self, physical: str, ids: Iterable[str], delta: BookDelta) -> None:
        """Documents gone."""
        self._rows.setdefault(physical, {}).update(dict.fromkeys(ids))
        self.book(physical).apply(delta)

    def clear(self, physical: str) -> None:
        """Every document gone."""
        self._rows[physical] = {}
        self._cleared[physical] = None
        self.book(physical).apply(BookDelta(cleared=True))

    def forget(self, physical: str) -> None:
        """The index itself is gone."""
        self.clear(physical)
        self._books.pop(physical, None)

    def take_changes(self) -> BookChanges:
        """The changes of the group, for its transaction; the overlay stays until `committed`."""
        sets: list[tuple[str, int, tuple[str, ...]]] = []
        for physical, book in self._changed():
            stored = self._stored_sets.get(physical, 0)
            fresh = enumerate(book.field_sets[stored:], stored)
            sets.extend((physical, number, names) for number, names in fresh)
        return BookChanges(list(self._cleared), self._rows, sets)

    def committed(self) -> None:
        """The group is in the store."""
        for physical, book in self._changed():
            self._stored_sets[physical] = len(book.field_sets)
        self._rows = {}
        self._cleared = {}

    def _changed(self) -> list[tuple[str, IndexBook]]:
        """Books that the group touched; of thousands, it is a few."""
        names = dict.fromkeys((*self._rows, *self._cleared))
        return [(physical, self._books[physical]) for physical in names if physical in self._books]


class BookChanges:
    """Rows of one group; `store` runs in the store's transaction."""

    def __init__(
        self,
        cleared: list[str],
        rows: dict[str, dict[str, Known | None]],
        sets: list[tuple[str, int, tuple[str, ...]]],
    ) -> None:
        self._cleared = cleared
        self._sets = [(("fields", physical, number), encode(names)) for physical, number, names in sets]
        self._puts: list[tuple[Key, bytes]] = []
        self._deletes: list[Key] = []
        for physical, changed in rows.items():
            for document_id, known in changed.items():
                if known is None:
                    self._deletes.append((physical, document_id))
                else:
                    self._puts.append(((physical, document_id), encode((known.seq, known.fields))))

    def store(self, tx: Tx) -> None:
        for physical in self._cleared:
            tx.delete_prefix(Table.DOCUMENTS, (physical,))
        tx.delete_many(Table.DOCUMENTS, self._deletes)
        tx.put_many(Table.DOCUMENTS, self._puts)
        tx.put_many(Table.META, self._sets)

"""Large payloads in the log: pages of lines, read one at a time by whoever goes through the documents."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence

from miroir.meili.large_documents import LargeDocuments, SentDocuments
from miroir.ports.nodes import BodyGoneError
from miroir.ports.store import Key, Reader, Store, Table, Tx

_PAGES_KEPT = 16


class StoredDocuments(LargeDocuments):
    """The documents of one op. Raises BodyGoneError once the log has dropped it."""

    def __init__(
        self,
        store: Store,
        op: int,
        firsts: Sequence[int],
        sizes: array[int],
        kept_ids: dict[str, list[str]] | None = None,
    ) -> None:
        """`firsts`: number of the first document of every page; `sizes`: bytes of every line."""
        super().__init__()
        self.kept_ids = dict(kept_ids or {})
        self._store = store
        self._op = op
        self._firsts = firsts
        self.sizes = sizes
        self._pages: OrderedDict[int, list[bytes]] = OrderedDict()

    def __len__(self) -> int:
        return len(self.sizes)

    def lines(self) -> Iterator[bytes]:
        for place in range(len(self._firsts)):
            yield from self._read(place)

    def line(self, number: int) -> bytes:
        place = bisect_right(self._firsts, number) - 1
        page = self._pages.get(place)
        if page is None:
            page = self._pages[place] = self._read(place)
            if len(self._pages) > _PAGES_KEPT:
                self._pages.popitem(last=False)
        return page[number - self._firsts[place]]

    def _read(self, place: int) -> list[bytes]:
        key = _key(self._op, self._firsts[place])
        row = self._store.read(lambda reader: reader.get(Table.PAYLOADS, key))
        if row is None:
            raise BodyGoneError(f"the documents of op {self._op} are no longer kept")
        return row.split(b"\n")


def store_pages(tx: Tx, op: int, documents: SentDocuments) -> list[int]:
    """Part of the transaction that accepts the op; returns the first number of every page."""
    firsts: list[int] = []

    def rows() -> Iterator[tuple[Key, bytes]]:
        for first, page in documents.pages():
            firsts.append(first)
            yield _key(op, first), page

    tx.put_many(Table.PAYLOADS, rows())
    return firsts


def load_pages(store: Store, op: int) -> StoredDocuments | None:
    """The documents of an op that was accepted in pages, None when there are none."""
    firsts: list[int] = []
    sizes = array("Q")

    def load(reader: Reader) -> None:
        for key, page in reader.scan(Table.PAYLOADS, (op,)):
            firsts.append(int(key[1]))
            sizes.extend(len(line) for line in page.split(b"\n"))

    store.read(load)
    return StoredDocuments(store, op, firsts, sizes) if firsts else None


def _key(op: int, first: int) -> Key:
    return op, first

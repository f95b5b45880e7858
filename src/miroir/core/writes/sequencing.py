"""What an accepted document op becomes once everything before it is known: numbers, shards, rows, counts.

Pure. A document gets its number at first insertion and keeps it through replace and update; numbers emulate the
internal ids of one Meilisearch: unknown ids take, in order of first appearance, the holes below the largest live
number as they were before the op, ascending, then the numbers above it. Deleted numbers become holes for later ops.
Source: reference/search-semantics.md, A.1 and H.0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyroaring import BitMap

from miroir.core.hashing import shard_of

#: Names that Meilisearch leaves out of the field distribution.
_UNCOUNTED = frozenset({"_vectors"})


@dataclass(frozen=True, slots=True)
class Known:
    """A document that exists: its number, and which set of top-level names it has."""

    seq: int
    fields: int


class IndexBook:
    """What sequencing remembers of one index: live numbers, and how many documents have which names.

    Sets of names are interned: `fields` of a document is an index into `field_sets`.
    """

    def __init__(self) -> None:
        self.live: BitMap = BitMap()
        self.field_sets: list[tuple[str, ...]] = []
        self._ids: dict[tuple[str, ...], int] = {}
        self.counts: Counter[int] = Counter()

    def intern(self, names: tuple[str, ...]) -> int:
        """Number of this set of names, a new one if it was never seen."""
        known = self._ids.get(names)
        if known is None:
            ordered = tuple(sorted(names))
            known = self._ids.get(ordered)
            if known is None:
                known = len(self.field_sets)
                self.field_sets.append(ordered)
                self._ids[ordered] = known
            if len(self._ids) < 100_000:  # other spellings of the same set are only a shortcut
                self._ids[names] = known
        return known

    def load(self, number: int, names: tuple[str, ...]) -> None:
        """Restore a stored set of names; numbers come in order from 0."""
        assert number == len(self.field_sets)
        self.field_sets.append(names)
        self._ids[names] = number

    def insert_all(self, rows: Sequence[tuple[int, int]]) -> None:
        """Count stored documents (at start): the number of each, and its set of names."""
        self.live.update(seq for seq, _ in rows)
        self.counts.update(fields for _, fields in rows)

    def apply(self, delta: BookDelta) -> None:
        """Follow an op that was stored."""
        if delta.cleared:
            self.live.clear()
            self.counts.clear()
        self.live -= delta.freed
        self.live |= delta.taken
        self.counts.update(delta.counts)

    def distribution_after(self, delta: BookDelta) -> dict[str, int]:
        """Documents per top-level name once `delta` is applied, names sorted."""
        counts = Counter(delta.counts) if delta.cleared else self.counts + Counter()
        if not delta.cleared:
            counts.update(delta.counts)
        found: Counter[str] = Counter()
        for fields, number in counts.items():
            if number > 0:
                for name in self.field_sets[fields]:
                    if name not in _UNCOUNTED:
                        found[name] += number
        return dict(sorted(found.items()))

    def size_after(self, delta: BookDelta) -> int:
        """Number of documents once `delta` is applied."""
        return (0 if delta.cleared else len(self.live)) - len(delta.freed) + len(delta.taken)

    def free_numbers(self) -> Iterator[int]:
        """Numbers for new documents, in the order they are given."""
        if not self.live:
            upper = 0
        else:
            upper = self.live.max() + 1
            if len(self.live) < upper:
                yield from BitMap(range(upper)) - self.live
        while True:
            yield upper
            upper += 1


@dataclass(slots=True)
class BookDelta:
    """What one op changes in an `IndexBook`. `freed` and `taken` are disjoint."""

    taken: BitMap = field(default_factory=BitMap)
    freed: BitMap = field(default_factory=BitMap)
    counts: Counter[int] = field(default_factory=Counter)
    cleared: bool = False


@dataclass(frozen=True, slots=True)
class Added:
    """`seqs` is aligned with the documents, -1 for what is not written; `rows` are documents new or changed."""

    seqs: list[int]
    rows: dict[str, Known]
    shards: tuple[int, ...]
    new_fields: tuple[str, ...]
    distinct_count: int
    delta: BookDelta


def sequence_add(
    documents: Sequence[Mapping[str, Any]],
    ids: Sequence[str],
    known: Mapping[str, Known],
    book: IndexBook,
    *,
    shard_count: int,
    merge: bool,
    skip_creation: bool,
    field_order: Sequence[str],
) -> Added:
    """Resolve an addition.

    Args:
        documents: the payload, in order.
        ids: canonical id text of each.
        known: those of `ids` that exist.
        book: the index before the op; new field sets are interned, nothing else changes.
        shard_count: of the index.
        merge: PUT rather than POST.
        skip_creation: documents whose id does not exist are left out.
        field_order: top-level names the index has seen.

    Returns:
        Numbers, rows, shards touched, names seen for the first time.
    """
    numbers = book.free_numbers()
    state: dict[str, Known] = {}
    seqs: list[int] = []
    counts: Counter[int] = Counter()
    taken = BitMap()
    names_seen: dict[tuple[str, ...], int] = {}
    shards: set[int] = set()
    for document, document_id in zip(documents, ids, strict=True):
        names = tuple(document)
        fields = names_seen.get(names)
        if fields is None:
            fields = names_seen[names] = book.intern(names)
        old = state.get(document_id) or known.get(document_id)
        if old is None:
            if skip_creation:
                seqs.append(-1)
                continue
            seq = next(numbers)
            taken.add(seq)
        else:
            seq = old.seq
            if merge and old.fields != fields:
                both = book.field_sets[old.fields]
                fields = book.intern(tuple(sorted({*both, *names})))
            counts[old.fields] -= 1
        counts[fields] += 1
        if old is None or old.fields != fields:
            state[document_id] = Known(seq, fields)
        seqs.append(seq)
        shards.add(shard_of(document_id, shard_count))
    seen = set(field_order)
    fresh = dict.fromkeys(name for names in names_seen for name in names if name not in seen)
    return Added(
        seqs=seqs,
        rows=state,
        shards=tuple(sorted(shards)),
        new_fields=tuple(fresh),
        distinct_count=len(set(ids)),
        delta=BookDelta(taken=taken, counts=counts),
    )


@dataclass(frozen=True, slots=True)
class Deleted:
    """`ids` existed, each once, in the order given."""

    ids: list[str]
    shards: tuple[int, ...]
    delta: BookDelta


def sequence_delete(ids: Sequence[str], known: Mapping[str, Known], *, shard_count: int) -> Deleted:
    """Resolve a deletion by ids to those that exist."""
    found = [document_id for document_id in dict.fromkeys(ids) if document_id in known]
    delta = BookDelta()
    for document_id in found:
        old = known[document_id]
        delta.freed.add(old.seq)
        delta.counts[old.fields] -= 1
    shards = {shard_of(document_id, shard_count) for document_id in found}
    return Deleted(found, tuple(sorted(shards)), delta)

"""What the book of an index must say after nodes refused an op of which other shards kept their part. Pure.

Whatever can be judged here is judged before a payload is split (`core/writes/document_checks.py`). What is left depends on
something outside, such as a remote embedder: there the nodes are asked what they hold, and the book follows them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from miroir.core.reserved import RESERVED_PREFIX, SEQ_FIELD, decode_seq
from miroir.core.writes.sequencing import BookDelta, IndexBook, Known

#: Names that nodes do not show in plain documents: what the book says of them stays.
_UNSEEN = frozenset({"_vectors"})


class MendingRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An op that nodes refused, until the book and the catalogue follow what they hold."""

    physical: str
    ids: list[str] | None  #: documents the op would have changed; None: every one of the index
    whole: bool  #: every shard refused it, so that it left nothing
    settings: bool = False  #: what is refused are settings: those before are to be had everywhere again


@dataclass(frozen=True, slots=True)
class Mended:
    """`rows` are documents new or changed in the book, `gone` those that leave it; disjoint."""

    rows: dict[str, Known] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    names: tuple[str, ...] = ()  #: top-level names of the documents that exist, each once
    freed: BookDelta = field(default_factory=BookDelta)  #: of `gone`
    delta: BookDelta = field(default_factory=BookDelta)  #: of `rows`


def mend(
    ids: Iterable[str], known: Mapping[str, Known], held: Mapping[str, Mapping[str, Any]], book: IndexBook
) -> Mended:
    """Compare the book with the nodes.

    Args:
        ids: documents in doubt.
        known: those of them that the book has.
        held: those of them that nodes hold, as stored, our fields included.
        book: of the index; new sets of names are interned, nothing else changes.
    """
    found = Mended()
    seen: dict[str, None] = {}
    for document_id in dict.fromkeys(ids):
        old, document = known.get(document_id), held.get(document_id)
        if document is None:
            if old is not None:
                found.gone.append(document_id)
                found.freed.freed.add(old.seq)
                found.freed.counts[old.fields] -= 1
            continue
        names = {name for name in document if not name.startswith(RESERVED_PREFIX)}
        seen.update(dict.fromkeys(name for name in document if name in names))
        if old is not None:
            names |= _UNSEEN.intersection(book.field_sets[old.fields])
        fields = book.intern(tuple(sorted(names)))
        if old is None:
            seq = decode_seq(str(document[SEQ_FIELD]))
            found.delta.taken.add(seq)
        elif old.fields != fields:
            seq = old.seq
            found.delta.counts[old.fields] -= 1
        else:
            continue
        found.delta.counts[fields] += 1
        found.rows[document_id] = Known(seq, fields)
    return Mended(found.rows, found.gone, tuple(seen), found.freed, found.delta)

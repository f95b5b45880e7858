"""Node requests of a resolved op: documents marked with shard and number, split by shard.

Nothing is decided here: the same op and resolution always render the same bytes, so that they need not be stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson

from miroir.core.hashing import shard_of
from miroir.core.reserved import SEQ_FIELD, SHARD_FIELD, encode_seq, encode_shard

#: shard -> its lines, in payload order
Lines = dict[int, list[bytes]]

_shard_mark = lru_cache(maxsize=4096)(encode_shard)
_HIGH_BASE = 14**4
_low_digits = lru_cache(maxsize=14**4)(lambda low: encode_seq(low)[-4:])
_high_digits = lru_cache(maxsize=4096)(lambda high: encode_seq(high)[-5:])


def seq_mark(seq: int) -> str:
    """`encode_seq`, from cached halves."""
    high, low = divmod(seq, _HIGH_BASE)
    return _high_digits(high) + _low_digits(low)


def render_documents(
    documents: Sequence[Mapping[str, Any]], ids: Sequence[str], seqs: Sequence[int], shard_count: int
) -> Lines:
    """NDJSON lines (each with its newline) per shard; documents with number -1 are left out.

    `documents` keep their keys in order; the marks come last.
    """
    lines: Lines = {}
    dumps = orjson.dumps
    newline = orjson.OPT_APPEND_NEWLINE
    for document, document_id, seq in zip(documents, ids, seqs, strict=True):
        if seq < 0:
            continue
        shard = shard_of(document_id, shard_count)
        marked = {**document, SHARD_FIELD: _shard_mark(shard), SEQ_FIELD: seq_mark(seq)}
        line = dumps(marked, option=newline)
        known = lines.get(shard)
        if known is None:
            lines[shard] = [line]
        else:
            known.append(line)
    return lines


def in_sequence(lines: list[bytes]) -> list[bytes]:
    """Lines of several shards in the order of their numbers, those of one document as they came.

    So a node gives its own internal numbers in the same order, and its first document of several is the first.
    """
    return sorted(lines, key=_mark_of)


#: where the number's mark stands in a line that ends with `"}` and a newline
_MARK = slice(-len(seq_mark(0).encode()) - 3, -3)


def _mark_of(line: bytes) -> bytes:
    return line[_MARK]


def split_ids(ids: Sequence[str], shard_count: int) -> dict[int, list[str]]:
    """Ids per shard, in order."""
    parts: dict[int, list[str]] = {}
    for document_id in ids:
        parts.setdefault(shard_of(document_id, shard_count), []).append(document_id)
    return parts

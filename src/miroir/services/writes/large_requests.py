"""Node requests of large payloads: rendered line by line while they are sent."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Sequence

from miroir.core.hashing import shard_of
from miroir.core.reserved import SEQ_FIELD, SHARD_FIELD, encode_shard
from miroir.core.writes.rendering import seq_mark
from miroir.services.writes.stored_documents import StoredDocuments

_CHUNK_BYTES = 64 << 10


def _marks(shard: int, seq: int) -> bytes:
    """What takes the place of a line's last brace."""
    return f',"{SHARD_FIELD}":"{encode_shard(shard)}","{SEQ_FIELD}":"{seq_mark(seq)}"}}\n'.encode()


_MORE = len(_marks(0, 0)) - 1


class LargeLines:
    """The lines of one op for some shards, as `rendering.in_sequence(render_documents(...))` has them."""

    def __init__(
        self,
        documents: StoredDocuments,
        ids: Sequence[str],
        seqs: Sequence[int],
        shard_count: int,
        shards: Collection[int],
    ) -> None:
        places = [shard_of(one, shard_count) if seq >= 0 else -1 for one, seq in zip(ids, seqs, strict=True)]
        wanted = set(shards)
        order = [number for number, shard in enumerate(places) if shard in wanted]
        order.sort(key=seqs.__getitem__)
        self._documents = documents
        self._order = array("Q", order)
        self._shards = array("H", (places[number] for number in order))
        self._seqs = seqs
        self.size = sum(documents.sizes[number] for number in order) + len(order) * _MORE

    def __iter__(self) -> Iterator[bytes]:
        for number, shard in zip(self._order, self._shards, strict=True):
            yield self._documents.line(number)[:-1] + _marks(shard, self._seqs[number])


class LineStream:
    """Implements `ports.nodes.BodyStream` over lines, in parts."""

    def __init__(self, parts: Sequence[LargeLines | Sequence[bytes]]) -> None:
        self._parts = parts
        self.size = sum(part.size if isinstance(part, LargeLines) else sum(map(len, part)) for part in parts)

    def chunks(self) -> Iterator[bytes]:
        lines, size = list[bytes](), 0
        for part in self._parts:
            for line in part:
                lines.append(line)
                size += len(line)
                if size >= _CHUNK_BYTES:
                    yield b"".join(lines)
                    lines, size = [], 0
        if lines:
            yield b"".join(lines)

"""Where a document belongs, and how much a node wants a shard: stable 64-bit hashes.

Both are part of the stored state of a cluster: a change here moves every document. Vectors in
tests/unit/core/test_hashing.py.
"""

from __future__ import annotations

import xxhash


def shard_of(document_id: str, shard_count: int) -> int:
    """Shard of a document by its canonical id text (an integer id is its decimal text, a string id itself).

    The id `1` and the id `"1"` are one key space, as in Meilisearch.
    """
    return xxhash.xxh64_intdigest(document_id.encode(), 0) % shard_count


def rendezvous_score(shard: int, node: str) -> int:
    """How much `node` wants `shard`; the highest score wins (highest random weight)."""
    return xxhash.xxh64_intdigest(f"{shard}/{node}".encode(), 0)

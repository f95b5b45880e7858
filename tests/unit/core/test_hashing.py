"""Hashes are stored state: these vectors must never change."""

from __future__ import annotations

from miroir.core.hashing import rendezvous_score, shard_of

VECTORS = [20, 57, 25, 11, 25]
SCORES = [3176979209787052255, 4579449308177361514]


def test_vectors() -> None:
    assert [shard_of(text, 64) for text in ("1", "42", "abc", "Ünïcode", "")] == VECTORS
    assert [rendezvous_score(0, "node-1"), rendezvous_score(63, "node-1")] == SCORES


def test_every_shard_gets_its_part() -> None:
    counts = [0] * 64
    for number in range(64_000):
        counts[shard_of(str(number), 64)] += 1
    assert min(counts) > 850
    assert max(counts) < 1150

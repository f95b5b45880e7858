"""Proximities of shards made comparable where shards found different ways through the query.

A node rates proximity against the longest way it found in a bucket: where only a concatenation matched ("harcourt" for
"harc ourt") that is shorter than where both words did. One node that holds all would know both, and rate by the longer.
The scale of each shard is told from its scores. reference: search-semantics C.3, C.7, H16.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from miroir.core.reads.merging import Hit, Key
from miroir.core.reads.scores import fold, ranks_of, scales

_CLOSE = 1e-9
#: A concatenation costs at least so many typos; below, all ways are equally long.
CONCATENATED = 2


def repair_proximity(lists: Sequence[list[Hit]], searchable_count: int) -> None:
    """Rate proximity in every bucket by the longest way that any shard found in it."""
    buckets: dict[Key, list[tuple[Hit, int, list[tuple[int, int]], int]]] = {}
    for hits in lists:
        for hit in hits:
            at = hit.proximity_at
            if at is None or hit.details.get("typo", {}).get("typoCount", 0) < CONCATENATED:
                continue
            solved = _solved(hit, searchable_count)
            if solved is not None:
                buckets.setdefault(hit.key[:at], []).append((hit, at, *solved))
    for bucket in buckets.values():
        longest = max(ranks[place][1] for _, _, ranks, place in bucket)
        for hit, at, ranks, place in bucket:
            rank, largest = ranks[place]
            if largest < longest:
                ranks[place] = (longest - (largest - rank), longest)
                score = ranks[place][0] / longest
                hit.score = fold(ranks)
                hit.details["proximity"]["score"] = score
                hit.key = (*hit.key[:at], -round(score, 12), *hit.key[at + 1 :])


def _solved(hit: Hit, searchable_count: int) -> tuple[list[tuple[int, int]], int] | None:
    """All ranks behind a hit's score, and the place of proximity among them."""
    details: Mapping[str, Any] = hit.details
    rules = [
        (name, detail)
        for name, detail in sorted(details.items(), key=lambda item: item[1]["order"])
        if "value" not in detail and "distance" not in detail and name != "vectorSort"
    ]
    first = details["words"]["matchingWords"] if "words" in details else 2
    for terms in dict.fromkeys((first, *range(2, 11))):
        ranks: list[tuple[int, int]] = []
        place = None
        for name, detail in rules:
            if name == "proximity":
                place = len(ranks)
                ranks.append((0, 1))
            else:
                ranks.extend(ranks_of(name, detail, terms, searchable_count))
        if place is None:
            return None
        for candidate in scales(details["proximity"]["score"], terms):
            ranks[place] = candidate
            if abs(fold(ranks) - hit.score) < _CLOSE:
                return ranks, place
    return None

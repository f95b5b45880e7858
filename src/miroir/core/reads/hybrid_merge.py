"""Keyword and semantic lists mixed into one. reference: search-semantics F.3, H10."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from miroir.core.reads.merging import Hit
from miroir.core.reads.score_order import Value, compare, weighted
from miroir.core.reads.scores import score_values

_GOOD_ENOUGH = 0.45
_F32_EPSILON = 1.1920929e-07


def keyword_suffices(hits: Sequence[Hit], depth: int, ratio: float) -> bool:
    """Whether a node would not even have looked at vectors."""
    return len(hits) >= depth and all(hit.score * (1.0 - ratio) >= _GOOD_ENOUGH for hit in hits)


def mix(keyword: Sequence[Hit], semantic: Sequence[Hit], ratio: float, searchable_count: int) -> list[Hit]:
    """Two-way merge, the semantic list first on ties; of a document found twice the better place stays."""
    weight = f32(ratio)
    left = [_valued(hit, weight, searchable_count) for hit in semantic]
    right = [_valued(hit, f32(1.0 - weight), searchable_count) for hit in keyword]
    mixed: list[Hit] = []
    seen: set[str] = set()
    one = other = 0
    while one < len(left) or other < len(right):
        if other >= len(right) or (one < len(left) and _compare(left[one], right[other]) <= 0):
            hit = semantic[one]
            one += 1
        else:
            hit = keyword[other]
            other += 1
        if hit.seq not in seen:
            seen.add(hit.seq)
            mixed.append(hit)
    return mixed


def is_semantic(hit: Hit) -> bool:
    """Whether the hit came from the semantic list."""
    return "vectorSort" in hit.details


def _valued(hit: Hit, weight: float, searchable_count: int) -> tuple[list[Value], float]:
    return weighted(score_values(hit.details, hit.score, searchable_count), weight), hit.score * weight


def _compare(left: tuple[list[Value], float], right: tuple[list[Value], float]) -> int:
    """As between queries of a federation, but a score beats a sort unless it is exactly 0."""
    for one, other in zip(left[0], right[0], strict=False):
        one_scored, other_scored = one[0] in ("score", "vector"), other[0] in ("score", "vector")
        if one_scored != other_scored:
            if one_scored:
                return 1 if one[1] == 0.0 else -1
            return -1 if other[1] == 0.0 else 1
        order = compare([one], [other], left[1], right[1])
        if order:
            return order
    return len(right[0]) - len(left[0])


def f32(value: float) -> float:
    """Rounded to single precision, as a node keeps ratios and similarities."""
    return float(struct.unpack("f", struct.pack("f", value))[0])


def shift(similarity: float, distribution: Mapping[str, Any]) -> float:
    """The similarity a node shows for an embedder with a `distribution` (F.2), from the raw one."""
    factor = f32(0.4 / f32(float(distribution["sigma"])))
    offset = f32(0.5 - f32(factor * f32(float(distribution["mean"]))))
    shifted = f32(f32(factor * similarity) + offset)
    return _F32_EPSILON if shifted <= 0.0 else min(shifted, 1.0)

"""Which of two hits of different queries is better: their score values, element by element.

reference: search-semantics F.3 (hybrid), G.1 (federation).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from miroir.core.reads.merging import sort_key

Value = tuple[Any, ...]
_EQUAL = 2.220446049250313e-16


def weighted(values: Sequence[Value], weight: float) -> list[Value]:
    """Score values with scores and similarities multiplied by a weight."""
    return [(value[0], value[1] * weight) if value[0] in ("score", "vector") else value for value in values]


def compare(left: Sequence[Value], right: Sequence[Value], left_score: float, right_score: float) -> int:
    """Below zero when `left` is better, above when `right` is. The scores are weighted global ones."""
    for position, (one, other) in enumerate(zip(left, right, strict=False)):
        if one[0] in ("score", "vector") and other[0] in ("score", "vector"):
            if abs(one[1] - other[1]) <= _EQUAL:
                continue
            return -1 if one[1] > other[1] else 1
        if one[0] == other[0] and one[1] == other[1]:
            order = _compare_typed(one, other)
            if order:
                return order
            continue
        rest = (len(left) - position) - (len(right) - position)
        return -rest or _by_score(left_score, right_score)
    return len(right) - len(left)


def _compare_typed(one: Value, other: Value) -> int:
    """Two sort values, or two distances, of one direction."""
    if one[0] == "geo":
        first, second = _distance(one), _distance(other)
    else:
        first, second = _sort_place(one), _sort_place(other)
    return -1 if first < second else int(first > second)


def _sort_place(value: Value) -> tuple[Any, ...]:
    parts: list[Any] = []
    sort_key(value[2], value[1], parts)
    return tuple(parts)


def _distance(value: Value) -> tuple[int, float]:
    """Farthest first in both directions: between queries the server takes the larger distance for the better."""
    return (1, 0.0) if value[2] is None else (0, -value[2])


def _by_score(left: float, right: float) -> int:
    if abs(left - right) <= _EQUAL:
        return 0
    return -1 if left > right else 1

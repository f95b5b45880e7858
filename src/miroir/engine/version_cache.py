"""A bounded memory for results that stay true as long as one index version lives."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from pyroaring import BitMap

T = TypeVar("T")


class VersionCache:
    """Remembers results up to a total weight; the oldest entries go first."""

    __slots__ = ("_entries", "_weight", "_weight_max")

    def __init__(self, weight_max: int) -> None:
        self._entries: dict[Hashable, tuple[Any, int]] = {}
        self._weight = 0
        self._weight_max = weight_max

    def get(self, key: Hashable, compute: Callable[[], T], weigh: Callable[[T], int]) -> T:
        """The remembered result, or `compute()`, remembered with the weight `weigh` gives it (bytes)."""
        entry = self._entries.get(key)
        if entry is not None:
            return entry[0]  # type: ignore[no-any-return]
        result = compute()
        weight = weigh(result) + 200
        if weight <= self._weight_max // 4:
            # What computes a result may have asked for the same one on its way.
            self._weight += weight - self._entries.pop(key, (None, 0))[1]
            self._entries[key] = (result, weight)
            while self._weight > self._weight_max:
                oldest = next(iter(self._entries))
                self._weight -= self._entries.pop(oldest)[1]
        return result


def bitmap_weight(documents: BitMap) -> int:
    """About how many bytes a document set takes."""
    return 64 + 4 * len(documents)

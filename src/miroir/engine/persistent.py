"""Maps and ordered key lists whose versions share what did not change.

An index version is immutable, yet a batch must cost what the batch holds, not what the index holds. A plain
`dict` copy is proportional to the index, so entries are spread over buckets and `updated` copies the buckets
it touches. Iteration order is unspecified.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

_SMALLEST = 8
_BUCKET_LOAD = 64


class PersistentMap(Mapping[K, V], Generic[K, V]):
    """An immutable mapping with cheap new versions."""

    __slots__ = ("_buckets", "_length")

    def __init__(self, items: Mapping[K, V] | None = None) -> None:
        self._length = 0
        self._buckets: list[dict[K, V]] = []
        if items:
            self._length = len(items)
            self._buckets = _spread(items.items(), _bucket_count(len(items)))

    def __getitem__(self, key: K) -> V:
        if not self._buckets:
            raise KeyError(key)
        return self._buckets[hash(key) & (len(self._buckets) - 1)][key]

    def __iter__(self) -> Iterator[K]:
        for bucket in self._buckets:
            yield from bucket

    def __len__(self) -> int:
        return self._length

    def updated(self, changes: Mapping[K, V | None]) -> PersistentMap[K, V]:
        """A version with `changes` applied; the value None removes its key."""
        if not changes:
            return self
        wanted = _bucket_count(self._length + len(changes))
        buckets = self._buckets
        fresh: set[int] = set()
        if wanted > len(buckets):
            buckets = _spread(self.items(), wanted)
            fresh.update(range(wanted))
        else:
            buckets = list(buckets)
        mask = len(buckets) - 1
        length = self._length
        for key, value in changes.items():
            place = hash(key) & mask
            bucket = buckets[place]
            if place not in fresh:
                bucket = buckets[place] = dict(bucket)
                fresh.add(place)
            before = len(bucket)
            if value is None:
                bucket.pop(key, None)
            else:
                bucket[key] = value
            length += len(bucket) - before
        made: PersistentMap[K, V] = PersistentMap()
        made._buckets = buckets
        made._length = length
        return made


def _bucket_count(length: int) -> int:
    count = _SMALLEST
    while count * _BUCKET_LOAD < length:
        count *= 4
    return count


def _spread(items: Iterable[tuple[K, V]], count: int) -> list[dict[K, V]]:
    buckets: list[dict[K, V]] = [{} for _ in range(count)]
    mask = count - 1
    for key, value in items:
        buckets[hash(key) & mask][key] = value
    return buckets


S = TypeVar("S", float, str)

#: Above this many changes of keys a list is sorted anew instead of patched.
_PATCHES_MAX = 64


class OrderedKeys(Generic[S]):
    """An immutable ascending list of distinct keys (numbers by value, strings by code point)."""

    __slots__ = ("keys",)

    def __init__(self, keys: Iterable[S] = ()) -> None:
        self.keys: list[S] = sorted(keys)

    def __len__(self) -> int:
        return len(self.keys)

    def updated(self, came: Sequence[S], gone: Sequence[S]) -> OrderedKeys[S]:
        """A version with keys added and removed."""
        if not came and not gone:
            return self
        made: OrderedKeys[S] = OrderedKeys()
        if len(came) + len(gone) > _PATCHES_MAX:
            dropped: set[S] = set(gone)
            merged: list[S] = [key for key in self.keys if key not in dropped]
            merged.extend(came)
            merged.sort()
            made.keys = merged
            return made
        keys = made.keys = list(self.keys)
        for key in gone:
            del keys[bisect_left(keys, key)]
        for key in came:
            insort(keys, key)
        return made

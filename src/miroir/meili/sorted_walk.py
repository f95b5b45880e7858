"""The walk through a sorted listing, as a server does it: offsets count what buckets hold, not what they give.

Source: search-semantics D.4.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Generic, TypeVar

T = TypeVar("T")


class SortedWalk(Generic[T]):
    """Documents in order: either a leaf, or the buckets of the first criterion that is left."""

    def __init__(
        self, size: int, *, leaf: Iterator[T] | None = None, buckets: Iterator[SortedWalk[T]] | None = None
    ) -> None:
        self.size = size  #: documents that it holds, those that it drops included
        self._leaf = leaf
        self._buckets = iter(()) if buckets is None else buckets
        self._current: SortedWalk[T] | None = None

    def page(self, offset: int, limit: int) -> list[T]:
        """The documents of a page."""
        found: list[T] = []
        document = self._skip(offset) if limit > 0 else None
        while document is not None:
            found.append(document)
            document = self._next() if len(found) < limit else None
        return found

    def _next(self) -> T | None:
        if self._leaf is not None:
            return next(self._leaf, None)
        while (bucket := self._bucket()) is not None:
            document = bucket._next()
            if document is not None:
                return document
            self._current = None
        return None

    def _skip(self, count: int) -> T | None:
        """The document after `count` others."""
        if self._leaf is not None:
            return next(islice(self._leaf, count, None), None)
        while count > 0 and (bucket := self._bucket()) is not None:
            if count < bucket.size:
                return bucket._skip(count)
            count -= bucket.size
            self._current = None
        return self._next()

    def _bucket(self) -> SortedWalk[T] | None:
        if self._current is None:
            self._current = next(self._buckets, None)
        return self._current

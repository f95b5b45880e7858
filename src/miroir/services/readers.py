"""Who is reading: lets a change wait until every answer that began before it has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Readers:
    """Counts reads that are under way, in the order they began."""

    def __init__(self) -> None:
        self._next = 0
        self._active: dict[int, None] = {}
        self._left = asyncio.Event()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """One read, from its snapshot to its end."""
        number = self._next
        self._next += 1
        self._active[number] = None
        try:
            yield
        finally:
            del self._active[number]
            self._left.set()

    async def drained(self, limit_s: float) -> bool:
        """Wait until no read is left that began before this call; False when some took longer than `limit_s`."""
        mark = self._next
        try:
            async with asyncio.timeout(limit_s):
                while next(iter(self._active), mark) < mark:
                    self._left.clear()
                    await self._left.wait()
        except TimeoutError:
            return False
        return True

"""Where dumps are written: one file each, complete or not there at all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from miroir.errors import MiroirError


class DumpError(MiroirError):
    """The file could not be written; nothing of it is left."""


class DumpFile(Protocol):
    """A dump being written."""

    async def add(self, name: str, body: bytes) -> None:
        """A small file. Raises DumpError."""
        ...

    async def add_pages(self, name: str, pages: AsyncIterator[bytes]) -> None:
        """A file of any length, never whole in memory. Raises DumpError, and what `pages` raises."""
        ...


class DumpFiles(Protocol):
    """The folder of dumps."""

    def create(self, uid: str) -> AbstractAsyncContextManager[DumpFile]:
        """The dump appears under its name when the block ends without an exception. Raises DumpError."""
        ...

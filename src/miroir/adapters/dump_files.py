"""Dumps as gzipped tar archives in a folder. Written in small steps, so that the event loop goes on between them."""

from __future__ import annotations

import asyncio
import gzip
import tarfile
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from miroir.ports.dumps import DumpError

_CHUNK = 1 << 20
_BLOCK = tarfile.BLOCKSIZE
_UNFINISHED = ".partial"


class DumpFolder:
    """Implements `ports.dumps.DumpFiles`."""

    def __init__(self, folder: Path) -> None:
        """What a process that died in the middle of a dump left in the folder is removed."""
        self._folder = folder
        for left in folder.glob(f"*{_UNFINISHED}"):
            with suppress(OSError):
                left.unlink()

    @asynccontextmanager
    async def create(self, uid: str) -> AsyncIterator[Archive]:
        """See the port."""
        unfinished = self._folder / f"{uid}{_UNFINISHED}"
        # Around everything: a full disk refuses once more what is left in buffers when files are closed.
        with _as_dump_errors():
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                with gzip.open(unfinished, "wb", compresslevel=1) as out:
                    yield Archive(out, self._folder)
                    out.write(b"\0" * (2 * _BLOCK))
                unfinished.replace(self._folder / f"{uid}.dump")
            finally:
                unfinished.unlink(missing_ok=True)


class Archive:
    """Implements `ports.dumps.DumpFile`."""

    def __init__(self, out: gzip.GzipFile, folder: Path) -> None:
        self._out = out
        self._folder = folder

    async def add(self, name: str, body: bytes) -> None:
        """See the port."""
        with _as_dump_errors():
            self._out.write(_header(name, len(body)))
            self._out.write(body)
            self._out.write(_padding(len(body)))

    async def add_pages(self, name: str, pages: AsyncIterator[bytes]) -> None:
        """See the port. Spooled beside the dump first: the archive wants to know the length."""
        with _as_dump_errors(), tempfile.TemporaryFile(dir=self._folder) as spool:
            size = 0
            async for page in pages:
                size += spool.write(page)
            self._out.write(_header(name, size))
            spool.seek(0)
            while chunk := spool.read(_CHUNK):
                self._out.write(chunk)
                await asyncio.sleep(0)
            self._out.write(_padding(size))


def _header(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size = size
    return member.tobuf(tarfile.GNU_FORMAT)


def _padding(size: int) -> bytes:
    return b"\0" * (-size % _BLOCK)


@contextmanager
def _as_dump_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DumpError(str(error)) from error

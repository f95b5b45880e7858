"""Dump files are complete or not there at all, whatever the disk says and whenever the process dies."""

from __future__ import annotations

import asyncio
import gzip
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from miroir.adapters.dump_files import DumpFolder
from miroir.ports.dumps import DumpError


async def pages(count: int) -> AsyncIterator[bytes]:
    for number in range(count):
        yield bytes([65 + number % 26]) * 5000


async def write(folder: Path, uid: str, count: int = 3) -> None:
    async with DumpFolder(folder).create(uid) as out:
        await out.add("small", b"body")
        await out.add_pages("large", pages(count))


def test_a_dump_can_be_read_back(tmp_path: Path) -> None:
    asyncio.run(write(tmp_path, "d"))
    with gzip.open(tmp_path / "d.dump") as raw, tarfile.open(fileobj=raw) as archive:
        assert [(member.name, member.size) for member in archive] == [("small", 4), ("large", 15_000)]


@pytest.mark.parametrize("count", [0, 400])
def test_a_full_disk_is_a_dump_error_and_leaves_nothing(tmp_path: Path, count: int) -> None:
    """Also while files are closed, when what is left in buffers is refused once more."""
    (tmp_path / "d.partial").symlink_to("/dev/full")
    folder = DumpFolder(tmp_path)
    (tmp_path / "d.partial").symlink_to("/dev/full")

    async def main() -> None:
        async with folder.create("d") as out:
            await out.add("small", b"body" * 1000)
            await out.add_pages("large", pages(count))

    with pytest.raises(DumpError, match="No space left"):
        asyncio.run(main())
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    (tmp_path / "20260101-000000000.partial").write_bytes(b"half")
    (tmp_path / "20260101-000000001.dump").write_bytes(b"whole")
    DumpFolder(tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".dump"]

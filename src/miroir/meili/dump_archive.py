"""The files of an open archive as the source of a dump."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterable

from miroir.meili.dump_contents import DumpSource


def source_of(archive: tarfile.TarFile, now_ns: int, new_uuid: Callable[[], str]) -> DumpSource:
    """The archive's files; lines are read as they are asked for. Reading raises OSError and tarfile.TarError."""
    members = {member.name.removeprefix("./"): member for member in archive.getmembers()}

    def read(name: str) -> bytes:
        return b"".join(lines(name))

    def lines(name: str) -> Iterable[bytes]:
        member = members.get(name)
        found = archive.extractfile(member) if member is not None else None
        return () if found is None else found

    return DumpSource(members, read, lines, now_ns, new_uuid)


def size_of(archive: tarfile.TarFile, name: str) -> int:
    """Bytes of one file, 0 if it is not there."""
    return next((m.size for m in archive.getmembers() if m.name.removeprefix("./") == name), 0)

"""What no client may ever read: our names, our values, where nodes are and what they are called."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

#: `_miroir_...` fields, physical index uids, our separators as bytes and as JSON escapes
_ALWAYS = (rb"_miroir", rb"miroir-(?:\d{6}|node)", rb"\xdc[\x80-\x8d]", rb"\\u070[0-9a-dA-D]")


class Leaks:
    """Collects what slipped out; `secrets` are ids, addresses and keys of this cluster's nodes."""

    def __init__(self, secrets: Iterable[str]) -> None:
        words = (re.escape(secret).encode() for secret in secrets)
        self._pattern = re.compile(b"|".join([*_ALWAYS, *words]))
        self.found: list[str] = []
        self.answers = 0

    def look(self, asked: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Search one answer; what the client itself sent may come back, in refusals."""
        self.answers += 1
        shown = "\n".join(f"{name}: {value}" for name, value in headers.items()).encode() + b"\n\n" + body
        for match in self._pattern.finditer(shown):
            if match.group().decode(errors="replace") not in asked:
                part = shown[max(0, match.start() - 80) : match.end() + 80]
                self.found.append(f"{asked} -> {status}: {part!r}")
                return

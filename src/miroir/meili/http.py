"""Plain values for one HTTP exchange, shared by every edge and every node transport."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request, its body read and decompressed, its path normalised and percent-encoded as sent.

    `headers` has lower-case names; of a repeated header the last value is kept.
    """

    method: str
    path: str
    query: str = ""  #: raw, without the question mark
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class HttpReply:
    """One answer. `content_type` None means: no body and no Content-Type header."""

    status: int
    body: bytes = b""
    content_type: str | None = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

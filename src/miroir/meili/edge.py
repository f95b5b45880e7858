"""The front desk of the API: an HTTP request in, a decoded `Call` to a backend, an HTTP answer out.

Used by the embedded engine and by the orchestrator alike, so that both check, refuse and print the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from miroir.meili.commands import Call
from miroir.meili.http import HttpReply


class KeyRecord(Protocol):
    """An API key as `meili/auth.py` needs it (see `meili/keys.py` for the full record)."""

    @property
    def uid(self) -> str: ...
    @property
    def actions(self) -> tuple[str, ...]: ...
    @property
    def indexes(self) -> tuple[str, ...]: ...
    @property
    def expires_at(self) -> int | None: ...


class Backend(Protocol):
    """What stands behind the front desk."""

    @property
    def master_key(self) -> str | None:
        """None: every route but /keys is open."""
        ...

    def keys(self) -> Mapping[str, KeyRecord]:
        """Every API key by uid, as of now."""
        ...

    def now_ns(self) -> int:
        """Wall-clock time, ns since 1970."""
        ...

    async def handle(self, call: Call) -> HttpReply | tuple[int, Any]:
        """Answer one call: a finished reply, or (status, JSON value). Raises ApiError."""
        ...

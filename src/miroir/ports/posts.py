"""A way to tell somebody outside: one POST to a URL of the client's choice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Poster(Protocol):
    """Posts bodies to webhooks."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, timeout_s: float) -> bool:
        """Whether it was taken (any answer below 500). Promise: raises nothing but CancelledError."""
        ...

    async def close(self) -> None:
        """Close connections. Idempotent."""
        ...

"""Time and identity of searches: how long one took, when it must stop, what it is called."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from miroir.engine.state import State
from miroir.meili.dates import format_step

_DEFAULT_CUTOFF_MS = 1500


class Stopwatch:
    """Milliseconds since it was made, by the running loop's clock."""

    def __init__(self) -> None:
        self._clock = asyncio.get_running_loop().time
        self._began = self._clock()

    def elapsed_ms(self) -> int:
        return int((self._clock() - self._began) * 1000)

    def details(self) -> dict[str, str]:
        """`performanceDetails`: the one step there is."""
        return {"search": format_step(self._clock() - self._began)}


def late_after(settings: Mapping[str, Any]) -> Callable[[], bool]:
    """Turns true when `searchCutoffMs` have passed from now on."""
    cutoff = settings.get("searchCutoffMs")
    clock = asyncio.get_running_loop().time
    deadline = clock() + (_DEFAULT_CUTOFF_MS if cutoff is None else cutoff) / 1000
    return lambda: clock() > deadline


def new_request_uid(state: State) -> str:
    """A UUID of version 7: milliseconds since 1970, then the random part of a fresh one."""
    digits = f"{state.now_ns() // 1_000_000:012x}"[-12:]
    random = state.new_uuid().replace("-", "")
    return f"{digits[:8]}-{digits[8:]}-7{random[13:16]}-{random[16:20]}-{random[20:]}"

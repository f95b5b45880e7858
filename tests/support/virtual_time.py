"""An event loop for simulations: sleeping costs nothing, and the same seed gives the same run.

When nothing is ready the clock jumps to the next timer. When nothing is ready and no timer is set, the run
is stuck for ever, and says so. Threads do not mix with it: their answers come after the clock has jumped.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class DeadlockError(RuntimeError):
    """Nothing is ready and no timer is set: somebody waits for what nobody will do."""


class _Jump(selectors.DefaultSelector):
    """Never waits: when nothing is ready it moves the loop's clock to the next timer."""

    loop: VirtualTimeLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise DeadlockError("nothing is ready and no timer is set")
        if timeout > 0:
            self.loop.now_s += timeout
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Time is `now_s`, in seconds since the loop was made."""

    def __init__(self) -> None:
        self.now_s = 0.0
        selector = _Jump()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now_s


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end on a fresh virtual-time loop, and close everything after it."""
    failure: BaseException | None = None
    try:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            try:
                return runner.run(main)
            except BaseException as error:
                failure = error
                raise
    except DeadlockError:
        if failure is not None:  # what is left behind by a failure may not end; the failure is the news
            raise failure from None
        raise

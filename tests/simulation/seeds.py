"""How many seeds a run takes, and how a failure is run again.

`MIROIR_SEEDS=1000` runs that many; `MIROIR_SEED=17` runs that one alone. Order inside sets of strings is part of a
run: a failure is repeated exactly with the same PYTHONHASHSEED (`./dev test` fixes it).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from typing import Any

from tests.support.virtual_time import run_virtual

_ONE = "MIROIR_SEED"
_COUNT = "MIROIR_SEEDS"


def seeds(usual: int) -> range:
    """The seeds to run: `usual` many unless the environment says otherwise."""
    one = os.environ.get(_ONE)
    return range(int(one), int(one) + 1) if one else range(int(os.environ.get(_COUNT) or usual))


def sweep(
    run: Callable[[int], Coroutine[Any, Any, Any]], usual: int, *, seconds: float
) -> list[tuple[int, Any]]:
    """Run every seed; without a wish in the environment stop after `seconds`. Fails at the first that fails."""
    bounded = _ONE not in os.environ and _COUNT not in os.environ
    begun = time.monotonic()
    results = []
    for seed in seeds(usual):
        if bounded and time.monotonic() - begun > seconds:
            break
        try:
            results.append((seed, run_virtual(run(seed))))
        except (Exception, asyncio.CancelledError) as error:
            hashing = os.environ.get("PYTHONHASHSEED", "random")
            raise AssertionError(
                f"seed {seed} failed; again with PYTHONHASHSEED={hashing} {_ONE}={seed}: {_words(error)}"
            ) from error
    return results


def _words(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"

"""Transactions that memory has already followed: tried until the disk takes them.

A client's own request fails at once when the store refuses it, and nothing is acknowledged. What we do with ops that
were acknowledged before must happen: a full disk delays it until there is room, and nothing is lost meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import structlog

from miroir.ports.store import Conflict, Store, StoreError, Tx

T = TypeVar("T")

log = structlog.get_logger()

_PAUSE_FIRST_S = 0.1
_PAUSE_LAST_S = 5.0


async def persist(store: Store, fn: Callable[[Tx], T]) -> T:
    """Run `fn` in one transaction, again and again while the disk refuses. Raises Conflict as it comes."""
    pause_s = _PAUSE_FIRST_S
    while True:
        try:
            return await store.transact(fn)
        except Conflict:
            raise
        except StoreError as error:
            log.error("store_refuses", error=str(error), retry_s=pause_s)
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, _PAUSE_LAST_S)

"""Comparison of all replicas on demand, as an operation: one shard per step, at a bounded rate.

Nobody has to ask for it: `services/moves/patrol.py` does the same all the time, more slowly.
"""

from __future__ import annotations

import asyncio

import msgspec
import structlog

from miroir.core.moves.cluster_view import MoveLimits
from miroir.core.moves.operation_records import OperationRecord, OperationState
from miroir.ports.nodes import NodeError
from miroir.services.moves.replica_check import ReplicaCheck
from miroir.services.moves.shard_calls import NodeRefusedError

log = structlog.get_logger()

#: time that replicas get to be readable; then those that are not are left out
_PATIENCE_S = 20.0
_END = "~"  #: sorts behind every physical uid


class Scrub:
    """The record says how far it is."""

    def __init__(self, check: ReplicaCheck) -> None:
        self._check = check
        self._not_before = 0.0
        self._began: dict[int, float] = {}  #: operation -> when this process first looked at it

    def is_over(self, operation: OperationRecord) -> bool:
        """Whether every shard was compared."""
        return operation.cursor == (_END, 0)

    def end(self, operation: OperationRecord) -> tuple[OperationState, str]:
        """How it ended, and in words what came of it."""
        cancelled = operation.state is OperationState.CANCELLING
        words = f"{operation.checked} replicas compared, {operation.repaired} differed and are rebuilt"
        return OperationState.CANCELLED if cancelled else OperationState.DONE, words

    async def step(self, operation: OperationRecord, limits: MoveLimits) -> OperationRecord | None:
        """Compare the next shard; None when it cannot be now."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._not_before:
            return None
        place = self._check.after(operation.cursor)
        if place is None:
            return msgspec.structs.replace(operation, cursor=(_END, 0))
        began = self._began.setdefault(operation.id, loop.time())
        if loop.time() - began < _PATIENCE_S and not self._check.all_readable(*place):
            return None  # after a start nodes are not known to be up yet
        try:
            seen = await self._check.compare(*place, limits)
        except (NodeError, NodeRefusedError) as error:
            log.warning("comparison_waits", index=place[0], shard=place[1], reason=str(error))
            seen = None
        if seen is None:
            self._not_before = loop.time() + limits.barrier_s  # writes go on for a while
            return None
        if limits.documents_per_s:
            self._not_before = loop.time() + seen.documents / limits.documents_per_s
        return msgspec.structs.replace(
            operation,
            cursor=place,
            checked=operation.checked + seen.replicas,
            repaired=operation.repaired + seen.differed,
        )

"""Faults between the orchestrator and its nodes, chosen by a seeded generator."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

from miroir.core.topology import NodeId
from miroir.ports.nodes import NodeError, NodeRequest, NodeResponse, NodeTransport


@dataclass(frozen=True)
class FaultRates:
    """Probabilities per request; the rest is delivered after a short delay.

    late: the node acts, the answer comes after the caller has given up. cut: the node acts, the answer is
    lost at once. refused: the node never sees it. dropped: it vanishes, the caller waits to its deadline.
    duplicated: the node sees it a second time, up to `duplicate_after_s` later.
    """

    late: float = 0.0
    cut: float = 0.0
    refused: float = 0.0
    dropped: float = 0.0
    duplicated: float = 0.0
    latency_s: float = 0.01
    duplicate_after_s: float = 0.5


@dataclass
class FaultyTransport:
    """A NodeTransport around another one. `down` nodes refuse everything; `cut_off` ones swallow everything."""

    inner: NodeTransport
    rng: random.Random
    rates: FaultRates = FaultRates()
    down: set[NodeId] = field(default_factory=set)
    cut_off: set[NodeId] = field(default_factory=set)
    #: set when the orchestrator that owns this transport is dead: nothing leaves it any more
    dead: bool = False
    #: requests on their way that no caller waits for: (task) late deliveries and duplicates
    strays: set[asyncio.Task[None]] = field(default_factory=set)
    sent_count: int = 0

    def set_address(self, node: NodeId, address: str) -> None:
        self.inner.set_address(node, address)

    async def send(self, request: NodeRequest, *, deadline: float) -> NodeResponse:
        loop = asyncio.get_running_loop()
        self.sent_count += 1
        if self.dead:
            await asyncio.Event().wait()
        await asyncio.sleep(self.rng.random() * self.rates.latency_s)
        node = request.node
        if node in self.down:
            raise NodeError(node, "connection refused", refused=True)
        dice = self.rng.random()
        rates = self.rates
        if (dice := dice - rates.refused) < 0:
            raise NodeError(node, "connection refused", refused=True)
        if node in self.cut_off or (dice := dice - rates.dropped) < 0:
            await self._until(deadline)
            raise NodeError(node, "timeout")
        if (dice := dice - rates.late) < 0:
            self._stray(request, self.rng.random() * (deadline - loop.time() + 1.0))
            await self._until(deadline)
            raise NodeError(node, "timeout")
        if (dice := dice - rates.cut) < 0:
            await self._deliver(request, deadline)
            raise NodeError(node, "connection reset")
        if (dice := dice - rates.duplicated) < 0:
            self._stray(request, self.rng.random() * rates.duplicate_after_s)
        return await self._deliver(request, deadline)

    async def _deliver(self, request: NodeRequest, deadline: float) -> NodeResponse:
        response = await self.inner.send(request, deadline=deadline)
        await asyncio.sleep(self.rng.random() * self.rates.latency_s)
        if request.node in self.down:  # it died before the answer was out
            raise NodeError(request.node, "connection reset")
        return response

    def _stray(self, request: NodeRequest, delay_s: float) -> None:
        task = asyncio.get_running_loop().create_task(self._deliver_stray(request, delay_s))
        self.strays.add(task)
        task.add_done_callback(self.strays.discard)

    async def _deliver_stray(self, request: NodeRequest, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        if request.node in self.down:
            return
        try:
            await self.inner.send(request, deadline=asyncio.get_running_loop().time() + 60)
        except NodeError:
            return

    async def _until(self, deadline: float) -> None:
        await asyncio.sleep(max(0.0, deadline - asyncio.get_running_loop().time()))

"""Faults between the orchestrator and its nodes, chosen by a seeded generator."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
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
class Network:
    """What all orchestrators of one simulation share: what is wrong now, and packets on their way.

    `cut_off` nodes swallow everything; `slow` ones take that long for anything (least, most). `strays` are requests that
    no caller waits for: late ones, duplicates.
    """

    rng: random.Random
    rates: FaultRates = FaultRates()
    cut_off: set[NodeId] = field(default_factory=set)
    slow: dict[NodeId, tuple[float, float]] = field(default_factory=dict)
    strays: set[asyncio.Task[None]] = field(default_factory=set)
    #: loop time of the newest delivery of a write nobody waited for, per node
    last_stray_s: dict[NodeId, float] = field(default_factory=dict)


@dataclass
class FaultyTransport:
    """A NodeTransport around another one."""

    inner: NodeTransport
    network: Network
    #: set when the orchestrator that owns this transport is dead: nothing leaves it any more
    dead: bool = False
    #: called when a node has done what was asked, before the caller hears of it
    delivered: Callable[[NodeRequest], None] = lambda request: None

    def set_address(self, node: NodeId, address: str) -> None:
        self.inner.set_address(node, address)

    async def send(self, request: NodeRequest, *, deadline: float) -> NodeResponse:
        loop = asyncio.get_running_loop()
        rng, rates = self.network.rng, self.network.rates
        await asyncio.sleep(rng.random() * rates.latency_s)
        if self.dead:
            await asyncio.Event().wait()
        node = request.node
        if node in self.network.slow:
            await self._dawdle(request, rng.uniform(*self.network.slow[node]), deadline)
        dice = rng.random()
        if (dice := dice - rates.refused) < 0:
            raise NodeError(node, "connection refused", refused=True)
        if node in self.network.cut_off or (dice := dice - rates.dropped) < 0:
            await self._until(deadline)
            raise NodeError(node, "timeout")
        if (dice := dice - rates.late) < 0:
            self._stray(request, rng.random() * (deadline - loop.time() + 1.0))
            await self._until(deadline)
            raise NodeError(node, "timeout")
        if (dice := dice - rates.cut) < 0:
            await self._deliver(request, deadline)
            raise NodeError(node, "connection reset")
        if (dice := dice - rates.duplicated) < 0:
            self._stray(request, rng.random() * rates.duplicate_after_s)
        return await self._deliver(request, deadline)

    async def _dawdle(self, request: NodeRequest, delay_s: float, deadline: float) -> None:
        left = deadline - asyncio.get_running_loop().time()
        if delay_s >= left:
            self._stray(request, delay_s)
            await self._until(deadline)
            raise NodeError(request.node, "timeout")
        await asyncio.sleep(delay_s)

    async def _deliver(self, request: NodeRequest, deadline: float) -> NodeResponse:
        response = await self.inner.send(request, deadline=deadline)
        self.delivered(request)
        await asyncio.sleep(self.network.rng.random() * self.network.rates.latency_s)
        if self.dead:
            await asyncio.Event().wait()
        return response

    def _stray(self, request: NodeRequest, delay_s: float) -> None:
        strays = self.network.strays
        task = asyncio.get_running_loop().create_task(self._deliver_stray(request, delay_s))
        strays.add(task)
        task.add_done_callback(strays.discard)

    async def _deliver_stray(self, request: NodeRequest, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        loop = asyncio.get_running_loop()
        if request.method != "GET" and not request.path.endswith(("/search", "/fetch")):
            self.network.last_stray_s[request.node] = loop.time()
        try:
            await self.inner.send(request, deadline=loop.time() + 60)
        except NodeError:
            return

    async def _until(self, deadline: float) -> None:
        await asyncio.sleep(max(0.0, deadline - asyncio.get_running_loop().time()))

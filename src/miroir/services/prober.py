"""Probing of nodes: who is up, and whether it is still the node it was.

A probe is waited for longer than a healthy node needs: after the timeout the node is doubted, and only after the
patience it is down. What is late is answered all the same.

Each node keeps a document of ours that names it. A node that answers without it, or with another one, has lost its
disk: its replicas are stale before it counts as up again, whatever it holds. So are those of a node that has forgotten
tasks which it had: somebody put an older copy of its disk there.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from uuid import UUID

import msgspec
import orjson
import structlog

from miroir.core.node_health import Health, Probe, after_probe, doubt
from miroir.core.node_identity import Found, NodeDocument, Who, identify
from miroir.core.records import NodeRecord, encode
from miroir.core.topology import NodeId, NodeLifecycle
from miroir.core.writes.write_limits import WriteLimits
from miroir.ports.nodes import NodeError, NodeRequest, NodeTransport
from miroir.ports.store import Store, Table, Tx
from miroir.services.cluster import Cluster
from miroir.services.writes.persisting import persist
from miroir.services.writes.watches import forget_newest

log = structlog.get_logger()

NODE_INDEX = "miroir-node"
_DOCUMENT = f"/indexes/{NODE_INDEX}/documents"
_RECHECK_PROBES = 10
#: looks, each after twice the time, at whether a new node has written its name down; then it is down
_MEETING_LOOKS = 5
#: timers may be early by so much
_CLOCK_S = 0.05
#: experimental features whose absence on a node would be seen in its answers
NODE_FEATURES = ("containsFilter", "compositeEmbedders", "multimodal", "editDocumentsByFunction")


class Prober:
    """One loop per node; tells the cluster who is live."""

    def __init__(
        self,
        store: Store,
        transport: NodeTransport,
        cluster: Cluster,
        limits: WriteLimits,
        rng: random.Random,
        *,
        features: Callable[[], Mapping[str, bool]],
        lose: Callable[[str], Awaitable[None]],
        changed: Callable[[NodeId], None],
    ) -> None:
        """`lose` makes a node's replicas stale, durably; `changed` hears of a node that came or went."""
        self._store = store
        self._transport = transport
        self._cluster = cluster
        self._limits = limits
        self._rng = rng
        self._features = features
        self._lose = lose
        self._changed = changed
        self.health: dict[str, Health] = {}
        self._up_s: dict[str, float] = {}  #: loop time at which a node was last seen to be up
        self._late: set[NodeId] = set()  #: nodes whose probe is overdue, or was
        self._silent: set[NodeId] = set()  #: nodes that have not answered their probe at all
        self._given: dict[NodeId, str] = {}  #: disks named to nodes that have not said so yet
        self._probed = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self._probing: set[NodeId] = set()
        self._distrusted: set[NodeId] = set()  #: to be identified again, whatever they say they are
        #: whether the node has forgotten what it had
        self.is_rolled_back: Callable[[NodeId], Awaitable[bool | None]] = _never

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for node in self._cluster.nodes:
                self.add(NodeId(node))
            await asyncio.get_running_loop().create_future()

    def add(self, node: NodeId) -> None:
        """Probe this node too, from now on, until it is removed."""
        if self._group is not None and node not in self._probing and not self._is_removed(node):
            self._probing.add(node)
            self._group.create_task(self._watch(node), name=f"probe {node}")

    def distrust(self, node: NodeId) -> None:
        """Something is wrong with what the node holds: it is not read before it is known to be as it was."""
        if node not in self._distrusted:
            self._distrusted.add(node)
            self._cluster.set_health(node, up=False)

    def _is_removed(self, node: NodeId) -> bool:
        return self._cluster.nodes[node].lifecycle == NodeLifecycle.REMOVED

    async def first_round(self) -> None:
        """Wait until every node was probed once; a new one also until it has its name."""
        while any(n not in self.health and not self._is_removed(NodeId(n)) for n in self._cluster.nodes):
            self._probed.clear()
            await self._probed.wait()

    async def _watch(self, node: NodeId) -> None:
        limits = self._limits
        self.health.pop(node, None)
        self._up_s[node] = self._now()
        self._cluster.set_health(node, up=False, suspect=True)  # nobody knows yet: it may well be there
        verified = False
        since_check = looks = 0
        while not self._is_removed(node):
            self._late.discard(node)
            self._silent.discard(node)
            answers = ok = await self._healthy(node)
            if ok and verified and (node in self._distrusted or not await self.is_itself(node)):
                verified = False
            if ok and (not verified or since_check >= _RECHECK_PROBES):
                verified = ok = await self._identified(node)
                since_check = 0
            since_check += 1
            if answers and not ok and looks < _MEETING_LOOKS and self._is_met_first(node):
                await asyncio.sleep(min(limits.probe_interval_s, limits.retry_first_s * 2.0**looks))
                looks += 1
                continue
            # An unverified node waits for its identity, not for a streak.
            health = after_probe(
                self.health.get(node, Health()),
                self._result(node, ok=ok),
                failures_to_down=limits.failures_to_down,
                successes_to_up=limits.successes_to_up,
            )
            if not ok:  # whatever comes back may be another one, however soon
                verified = False
            self._note(node, health)
            self._probed.set()
            eager = not health.up and ok
            wait = min(limits.probe_interval_s, limits.retry_first_s) if eager else limits.probe_interval_s
            await asyncio.sleep(wait * (0.9 + self._rng.random() / 5))
        self._probing.discard(node)
        self.health.pop(node, None)
        self._cluster.set_health(node, up=False)

    def _is_met_first(self, node: NodeId) -> bool:
        """Whether nothing was known of the node before it was given a name just now."""
        return node in self._given and node not in self.health

    def _result(self, node: NodeId, *, ok: bool) -> Probe:
        """How the probe ended: that of the last request of it that was answered late, or not."""
        if ok:
            return Probe.LATE if node in self._late else Probe.OK
        return Probe.SILENT if node in self._silent else Probe.FAILED

    def _note(self, node: NodeId, health: Health) -> None:
        """Tell everybody how a node is now."""
        now, cluster = self._now(), self._cluster
        was = (node in cluster.live, node in cluster.doubted)
        self.health[node] = health
        if health.up:
            self._up_s[node] = now
        trusted = node not in self._distrusted
        is_suspect = not health.up and now - self._up_s[node] < self._limits.suspect_s
        up, doubted = health.up and trusted, health.doubted and trusted
        cluster.set_health(node, up=up, doubted=doubted, suspect=is_suspect and trusted)
        if was != (up, doubted):
            log.info("node_health_changed", node=node, up=up, doubted=doubted)
        if was[0] != up:
            self._changed(node)

    def _overdue(self, node: NodeId) -> None:
        """An answer should have been here by now."""
        self._late.add(node)
        health = self.health.get(node)
        if health is not None and health != doubt(health):
            self._note(node, doubt(health))

    async def _healthy(self, node: NodeId) -> bool:
        answer = await self._ask(NodeRequest(node, "GET", "/health", content_type=None))
        return answer is not None and answer[0] == 200

    async def _ask(self, request: NodeRequest) -> tuple[int, bytes] | None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._limits.probe_patience_s
        timer = loop.call_later(self._limits.probe_timeout_s, self._overdue, request.node)
        try:
            answer = await self._transport.send(replace(request, urgent=True), deadline=end)
        except NodeError:
            if loop.time() >= end - _CLOCK_S:
                self._silent.add(request.node)
            return None
        finally:
            timer.cancel()
        return answer.status, answer.body

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    # --- identity -----------------------------------------------------------------------------

    async def vouches(self, node: NodeId) -> bool:
        """Whether a node that is not live may be believed: it is on its disk, and that is as it was."""
        if node in self._distrusted or not await self.is_itself(node):
            return False
        return await self._forgot(node) is False

    async def _forgot(self, node: NodeId) -> bool | None:
        """Whether the node is rolled back; None when it does not say so within a probe's patience."""
        try:
            async with asyncio.timeout(self._limits.probe_patience_s):
                return await self.is_rolled_back(node)
        except TimeoutError:
            return None

    async def is_itself(self, node: NodeId) -> bool:
        """Whether the node answers now, and on the disk that it is known by."""
        return (await self._find(node)).who is Who.ITSELF

    async def _find(self, node: NodeId) -> Found:
        answer = await self._ask(NodeRequest(node, "GET", f"{_DOCUMENT}/identity", content_type=None))
        if answer is None:
            return Found(Who.SILENT)
        known = self._cluster.nodes[node].identity
        return identify(*answer, node=node, cluster=self._cluster.cluster_id, known=known)

    async def _identified(self, node: NodeId) -> bool:
        """Whether the node is known to be itself; first contact and lost disks are settled here."""
        found = await self._find(node)
        match found.who:
            case Who.ITSELF:
                rolled_back = await self._forgot(node)
                if rolled_back is False:
                    self._distrusted.discard(node)
                    return await self.send_features(node)
                if rolled_back:
                    log.error("node_was_rolled_back", node=node)
                    await self._lose(node)
                    await self._remember(node, None)
            case Who.MET:
                await self._remember(node, found.uuid)
                self._distrusted.discard(node)
                return True
            case Who.NEW:
                await self._introduce(node)
            case Who.LOST:
                log.error("node_lost_its_data", node=node)
                await self._lose(node)
                await self._remember(node, None)
            case Who.STRANGER | Who.UNKNOWN:
                log.error("node_is_not_itself", node=node, found=found.who.value)
        return False  # the next probe will tell more

    async def send_features(self, node: NodeId) -> bool:
        """Switch on what clients switched on, as far as it changes what a node does with a shard."""
        wanted = {name: self._features().get(name, False) for name in NODE_FEATURES}
        answer = await self._ask(
            NodeRequest(node, "PATCH", "/experimental-features", body=orjson.dumps(wanted))
        )
        # An older node may not know them all; it then keeps what it has.
        return answer is not None and answer[0] < 500

    async def send_features_to_all(self) -> None:
        """The same for every live node; the others get them when they come back."""
        async with asyncio.TaskGroup() as group:
            for node in sorted(self._cluster.live):
                group.create_task(self.send_features(node))

    async def _introduce(self, node: NodeId) -> None:
        """Give the node its document; the same again while it has not come to write it."""
        uuid = self._given.get(node)
        if uuid is None:
            uuid = self._given[node] = str(UUID(int=self._rng.getrandbits(128), version=4))
        document = NodeDocument(cluster=self._cluster.cluster_id, node=node, uuid=uuid)
        body = msgspec.json.encode([document])
        await self._ask(NodeRequest(node, "POST", _DOCUMENT, "primaryKey=id", body))

    async def _remember(self, node: NodeId, identity: str | None) -> None:
        record: NodeRecord = msgspec.structs.replace(self._cluster.nodes[node], identity=identity)

        def store(tx: Tx) -> None:
            tx.put(Table.NODES, (node,), encode(record))
            if identity is None:
                forget_newest(tx, node)

        await persist(self._store, store)
        self._cluster.nodes[node] = record
        self._given.pop(node, None)


async def _never(node: NodeId) -> bool:
    return False

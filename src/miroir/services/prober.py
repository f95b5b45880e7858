"""Probing of nodes: who is up, and whether it is still the node it was.

Each node keeps a document of ours that names it. A node that answers without it, or with another one, has lost its
disk: its replicas are stale before it counts as up again, whatever it holds.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from uuid import UUID

import msgspec
import orjson
import structlog

from miroir.core.node_health import Health, after_probe
from miroir.core.node_identity import Found, NodeDocument, Who, identify
from miroir.core.records import NodeRecord, encode
from miroir.core.topology import NodeId, NodeLifecycle
from miroir.core.writes.write_limits import WriteLimits
from miroir.ports.nodes import NodeError, NodeRequest, NodeTransport
from miroir.ports.store import Store, Table
from miroir.services.cluster import Cluster
from miroir.services.writes.persisting import persist

log = structlog.get_logger()

NODE_INDEX = "miroir-node"
_DOCUMENT = f"/indexes/{NODE_INDEX}/documents"
_RECHECK_PROBES = 10
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
        self._given: dict[NodeId, str] = {}  #: disks named to nodes that have not said so yet
        self._probed = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self._probing: set[NodeId] = set()

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

    def _is_removed(self, node: NodeId) -> bool:
        return self._cluster.nodes[node].lifecycle == NodeLifecycle.REMOVED

    async def first_round(self) -> None:
        """Wait until every node was probed once."""
        while any(n not in self.health and not self._is_removed(NodeId(n)) for n in self._cluster.nodes):
            self._probed.clear()
            await self._probed.wait()

    async def _watch(self, node: NodeId) -> None:
        limits = self._limits
        health = Health()
        verified = False
        since_check = 0
        while not self._is_removed(node):
            ok = await self._healthy(node)
            if ok and verified and not await self.is_itself(node):
                verified = False
            if ok and (not verified or since_check >= _RECHECK_PROBES):
                verified = ok = await self._identified(node)
                since_check = 0
            since_check += 1
            was = health.up
            # An unverified node waits for its identity, not for a streak.
            health = after_probe(
                health,
                ok=ok,
                failures_to_down=limits.failures_to_down,
                successes_to_up=limits.successes_to_up,
            )
            if not ok:  # whatever comes back may be another one, however soon
                verified = False
            self.health[node] = health
            self._probed.set()
            if self._cluster.set_live({node: health.up}) or was != health.up:
                log.info("node_health_changed", node=node, up=health.up)
                self._changed(node)
            eager = not health.up and ok
            wait = min(limits.probe_interval_s, limits.retry_first_s) if eager else limits.probe_interval_s
            await asyncio.sleep(wait * (0.9 + self._rng.random() / 5))
        self._probing.discard(node)
        self._cluster.set_live({node: False})

    async def _healthy(self, node: NodeId) -> bool:
        answer = await self._ask(NodeRequest(node, "GET", "/health", content_type=None))
        return answer is not None and answer[0] == 200

    async def _ask(self, request: NodeRequest) -> tuple[int, bytes] | None:
        deadline = asyncio.get_running_loop().time() + self._limits.probe_timeout_s
        try:
            answer = await self._transport.send(request, deadline=deadline)
        except NodeError:
            return None
        return answer.status, answer.body

    # --- identity -----------------------------------------------------------------------------

    async def is_itself(self, node: NodeId) -> bool:
        """Whether the node answers now, and on the disk that it is known by."""
        return (await self._find(node)).who is Who.ITSELF

    async def _find(self, node: NodeId) -> Found:
        answer = await self._ask(NodeRequest(node, "GET", f"{_DOCUMENT}/identity", content_type=None))
        if answer is None:
            return Found(Who.UNKNOWN)
        known = self._cluster.nodes[node].identity
        return identify(*answer, node=node, cluster=self._cluster.cluster_id, known=known)

    async def _identified(self, node: NodeId) -> bool:
        """Whether the node is known to be itself; first contact and lost disks are settled here."""
        found = await self._find(node)
        match found.who:
            case Who.ITSELF:
                return await self.send_features(node)
            case Who.MET:
                await self._remember(node, found.uuid)
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
        await persist(self._store, lambda tx: tx.put(Table.NODES, (node,), encode(record)))
        self._cluster.nodes[node] = record
        self._given.pop(node, None)

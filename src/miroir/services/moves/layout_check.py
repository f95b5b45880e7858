"""Makes an index's second layout equal to the one that is read, before readers go there.

Some shards at a time: read on both sides while writes go on; then, while no op of the index is sequenced and everything
is applied, what differed or was written since is read again, and what differs is written or deleted there and then.
Layouts differ after an op that nodes refused: they refuse whole requests, and each layout cuts a payload into its own.
What was verified stays so until the next refusal; this is kept in memory only.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection

import structlog

from miroir.core.hashing import shard_of
from miroir.core.moves.cluster_view import MoveLimits
from miroir.core.moves.operation_records import CopyRecord
from miroir.core.records import IndexState, Resolution
from miroir.core.topology import NodeId, ReplicaState
from miroir.services.cluster import Cluster
from miroir.services.moves.held_ops import HeldOps
from miroir.services.moves.layout_repair import LayoutRepair, Seen
from miroir.services.moves.shard_calls import ShardCalls
from miroir.services.moves.sources import Cut, Source
from miroir.services.moves.standing import Standing
from miroir.services.writes.sequencer import Sequencer

log = structlog.get_logger()

_LOOK_S = 0.02
#: documents that may be read again under the hold; with more, they are compared once more before it
_AGAIN_MAX = 2000
#: comparisons ahead of the hold; then whatever changed meanwhile is read again under it
_AHEAD_MAX = 4
#: stands for the hidden documents of an exact index among the shards to be verified
GHOSTS = -1


async def _trust(node: NodeId) -> bool:
    return True


class LayoutCheck:
    """Raises NodeError and NodeRefusedError; whatever was repaired can be repaired again."""

    def __init__(
        self,
        cluster: Cluster,
        sequencer: Sequencer,
        standing: Standing,
        held: HeldOps,
        calls: ShardCalls,
        *,
        is_busy: Callable[[str], bool],
    ) -> None:
        """`is_busy`: whether an op of the index is on its way."""
        self._cluster = cluster
        self._sequencer = sequencer
        self._standing = standing
        self._held = held
        self._repair = LayoutRepair(calls)
        self._is_busy = is_busy
        self.trusted: Callable[[NodeId], Awaitable[bool]] = _trust
        #: whether replicas of a layout are being made: of what is set right meanwhile they could have the old
        self.is_copied: Callable[[str], bool] = lambda layout: False
        self._left: dict[str, set[int]] = {}  #: layout -> shards to be verified; without an entry, all
        self.differed: Counter[str] = Counter()  #: layout -> documents that were set right
        self._seen: dict[str, tuple[int, Seen]] = {}  #: layout -> (comparisons ahead, the last one)
        self.repaired: Callable[[int], None] = lambda documents: None
        self.failures: Counter[str] = Counter()  #: layout -> times that it could not be made equal

    def refused(self, op: int, resolution: Resolution) -> None:
        """A node did not do its part of an op."""
        for layout in resolution.layouts:
            everything = resolution.everywhere or bool(resolution.ghosts) or not resolution.shards
            touched = resolution.shards_in(layout)
            self.suspect(layout, (*self._all(layout),) if everything else touched)

    def suspect(self, layout: str, shards: Collection[int]) -> None:
        """These are to be verified again."""
        if layout in self._left:
            self._left[layout].update(shards)

    def equal(self, layout: str) -> None:
        """The layout is, now, what another one was verified against."""
        self._left[layout] = set()

    def forget(self, *layouts: str | None) -> None:
        """They are of no interest any more."""
        for layout in layouts:
            if layout is not None:
                self._left.pop(layout, None)
                self._seen.pop(layout, None)
                self.differed.pop(layout, None)
                self.failures.pop(layout, None)

    def left(self, layout: str) -> int:
        """How many shards are to be verified."""
        return len(self._left[layout] if layout in self._left else self._all(layout))

    def _all(self, layout: str) -> set[int]:
        record = self._cluster.placement.get(layout)
        return {GHOSTS, *range(0 if record is None else len(record.shards))}

    async def step(
        self, layout: str, limits: MoveLimits, *, then: Callable[[list[str]], Awaitable[bool]]
    ) -> bool:
        """Verify some shards; when none is left, call `then` under the same hold, with the nodes that are behind.

        Returns False when it cannot be done now.
        """
        done = False
        try:
            done = await self._step(layout, limits, then)
        finally:
            if not done:  # the log keeps what came since only while somebody goes on
                self._seen.pop(layout, None)
        return done

    def needed_from(self) -> dict[str, int]:
        """Layout -> the first op that must stay in the log."""
        return {layout: seen.watermark + 1 for layout, (_, seen) in self._seen.items()}

    async def _step(
        self, layout: str, limits: MoveLimits, then: Callable[[list[str]], Awaitable[bool]]
    ) -> bool:
        if self.is_copied(layout):
            return False
        left = self._left.setdefault(layout, self._all(layout))
        some = tuple(sorted(left)[: limits.shards_per_copy])
        if not await self._look_ahead(layout, some, limits):
            return False
        until = asyncio.get_running_loop().time() + limits.barrier_s
        async with self._sequencer.hold(self._cluster.owner(layout)):
            while not self._is_at_rest(layout, left):
                if asyncio.get_running_loop().time() > until:
                    return False
                await asyncio.sleep(_LOOK_S)
            changed = self._changed(layout, some)
            if changed is not None and len(changed) > _AGAIN_MAX and self._seen[layout][0] < _AHEAD_MAX:
                return True  # once more ahead, so that writes do not wait for so many
            if not await self._verify(layout, some, changed, limits):
                return False
            self._seen.pop(layout, None)
            left.difference_update(some)
            if left:
                return True
            behind = self._behind(layout)
            return behind is not None and await then(behind)

    # --- at rest ------------------------------------------------------------------------------

    def _is_at_rest(self, layout: str, left: Collection[int]) -> bool:
        """Whether everything of the index has arrived at every replica that is to be verified."""
        record = self._cluster.placement.get(layout)
        if record is None or self._is_busy(self._cluster.owner(layout)):
            return False
        shards = range(len(record.shards)) if GHOSTS in left else [shard for shard in left if shard >= 0]
        nodes = {
            node
            for shard in shards
            for node, state in record.shards[shard].items()
            if state is ReplicaState.IN_SYNC
        }
        last, live = self._standing.last_op(layout), self._cluster.live
        return all(NodeId(node) in live and self._standing.reached(layout, node, last) for node in nodes)

    def _behind(self, layout: str) -> list[str] | None:
        """In-sync nodes that have not applied everything; None when some shard has none that has."""
        shards = self._cluster.placement[layout].shards
        nodes = {node for replicas in shards for node, s in replicas.items() if s is ReplicaState.IN_SYNC}
        last, live = self._standing.last_op(layout), self._cluster.live
        behind = {
            node
            for node in nodes
            if NodeId(node) not in live or not self._standing.reached(layout, node, last)
        }
        readable = all(
            any(s is ReplicaState.IN_SYNC and node not in behind for node, s in replicas.items())
            for replicas in shards
        )
        return sorted(behind) if readable else None

    # --- equal --------------------------------------------------------------------------------

    async def _look_ahead(self, layout: str, some: tuple[int, ...], limits: MoveLimits) -> bool:
        """The long part of the comparison, while writes go on; False when it cannot be now."""
        index = self._cluster.index_of(layout)
        shards = [shard for shard in some if shard >= 0]
        if index is None or index.layout == layout:
            return False
        last = self._standing.last_op(layout)
        rounds, before = self._seen.get(layout, (0, None))
        rounds = rounds + 1 if before is not None and before.shards == some else 1
        self._seen[layout] = (rounds, Seen(some, last))
        if index.primary_key is not None and shards:
            source = self._source(index, layout, shards, last)
            nodes = self._holders(layout, shards)
            if source is None or not all(self._standing.reached(layout, node, last) for node in nodes):
                return False
            suspects = await self._repair.differing(source, nodes, index.primary_key, limits)
            self._seen[layout] = (rounds, Seen(some, last, suspects))
        return True

    def _changed(self, layout: str, some: tuple[int, ...]) -> set[str] | None:
        """Documents of these shards that were written since they were compared; None when that may be any."""
        shards = tuple(shard for shard in some if shard >= 0)
        part = CopyRecord(id=0, operation=0, physical=layout, target="", shards=shards, leaves=())
        return self._held.changed_ids(part, self._seen[layout][1].watermark)

    async def _verify(
        self, layout: str, some: tuple[int, ...], changed: set[str] | None, limits: MoveLimits
    ) -> bool:
        """Make every replica of these shards equal. Nothing is written meanwhile, everything is applied."""
        index = self._cluster.index_of(layout)
        if index is None or index.primary_key is None:
            return index is not None
        shards = [shard for shard in some if shard >= 0]
        last = self._standing.last_op(layout)
        if GHOSTS in some and index.exact and not await self._verify_ghosts(index, layout, last):
            return False
        source = self._source(index, layout, shards, last)
        if not shards or source is None:
            return not shards
        nodes = self._holders(layout, shards)
        suspects = self._seen[layout][1].suspects
        if changed is None or nodes.keys() - suspects.keys():
            suspects = await self._repair.differing(source, nodes, index.primary_key, limits)
            changed = set()
        count = source.wanted.count
        for node, mine in sorted(nodes.items()):
            ids = {one for one in changed | suspects[node] if shard_of(one, count) in mine}
            if not await self._equal(source, node, index.primary_key, ids, limits):
                return False
        return True

    async def _equal(
        self, source: Source, node: str, primary_key: str, ids: Collection[str], limits: MoveLimits
    ) -> bool:
        """Whether the node holds these documents as the source does, now or after one repair."""
        wrong = await self._repair.differing_of(source, node, primary_key, ids, limits)
        # One that lost its disk since its last probe would have us delete what others hold.
        if not await self._all_trusted(source, node):
            return False
        if not wrong:
            return True
        layout = source.wanted.layout
        log.warning("layouts_differ", index=layout, node=node, documents=len(wrong))
        self.differed[layout] += len(wrong)
        self.repaired(len(wrong))
        await self._repair.repair(source, node, primary_key, wrong, limits)
        if not await self._repair.differing_of(source, node, primary_key, wrong, limits):
            return True
        self.failures[layout] += 1
        return False

    async def _verify_ghosts(self, index: IndexState, layout: str, last: int) -> bool:
        assert index.primary_key is not None
        every = range(len(self._cluster.placement[layout].shards))
        source = self._source(index, layout, every, last)
        if source is None:
            return False
        for node, shards in sorted(self._holders(layout, every).items()):
            if not await self._all_trusted(source, node):
                return False
            await self._repair.repair_ghosts(source, node, index.primary_key, shards)
        return True

    async def _all_trusted(self, source: Source, node: str) -> bool:
        for one in (*source.nodes, node):
            if not await self.trusted(NodeId(one)):
                return False
        return True

    def _source(self, index: IndexState, layout: str, shards: Collection[int], last: int) -> Source | None:
        count = len(self._cluster.placement[layout].shards)
        return self._standing.other_layout(index.layout, Cut(layout, count, frozenset(shards)), last)

    def _holders(self, layout: str, shards: Collection[int]) -> dict[str, set[int]]:
        """Nodes that hold some of these shards in sync -> which."""
        found: dict[str, set[int]] = {}
        for shard in shards:
            for node, state in self._cluster.placement[layout].shards[shard].items():
                if state is ReplicaState.IN_SYNC:
                    found.setdefault(node, set()).add(shard)
        return found

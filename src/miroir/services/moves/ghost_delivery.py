"""Ghosts of an exact index that changed without an op: brought to its nodes there and then.

Otherwise they go with the op that changes them, by the lanes.
"""

from __future__ import annotations

import structlog

from miroir.core.records import IndexState
from miroir.core.topology import NodeId, ReplicaState
from miroir.core.writes.ops import shards_tag
from miroir.ports.nodes import NodeError
from miroir.services.cluster import Cluster
from miroir.services.moves.shard_calls import NodeRefusedError, ShardCalls
from miroir.services.moves.standing import Standing
from miroir.services.writes.sequencer import Sequencer

log = structlog.get_logger()


class GhostDelivery:
    """Like the pages of a copy, and tagged like them: one that comes late is seen."""

    def __init__(self, cluster: Cluster, sequencer: Sequencer, standing: Standing, calls: ShardCalls) -> None:
        self._cluster = cluster
        self._sequencer = sequencer
        self._standing = standing
        self._calls = calls

    async def bring(self, physical: str) -> bool:
        """Whether every node has them now; else again later. The caller holds the index, and everything has ended."""
        index = self._cluster.sequenced.indexes.get(physical)
        vocabulary = None if index is None else self._sequencer.vocabularies.find(index)
        if index is None or vocabulary is None or not vocabulary.stale:
            return True
        lines = vocabulary.rendered(index.settings.get("embedders") or ())
        places = self._places(index)
        if places is None:
            return False
        try:
            for layout, node in places:
                tag = shards_tag("ghosts", range(len(self._cluster.placement[layout].shards)))
                error = await self._calls.write(node, layout, vocabulary.primary_key, lines, tag)
                if error is not None:
                    raise NodeRefusedError(node, "writing hidden documents", str(error.get("code")))
        except (NodeError, NodeRefusedError) as error:
            log.warning("ghosts_wait", index=physical, reason=str(error))
            return False
        vocabulary.stale.clear()
        return True

    def _places(self, index: IndexState) -> list[tuple[str, str]] | None:
        """(layout, node) of every in-sync replica; None when one cannot be written to now."""
        found = sorted(
            {
                (layout, node)
                for layout in index.layouts
                for replicas in self._cluster.placement[layout].shards
                for node, state in replicas.items()
                if state is ReplicaState.IN_SYNC
            }
        )
        ready = all(
            NodeId(node) in self._cluster.live and self._standing.at_rest(layout, node)
            for layout, node in found
        )
        return found if ready else None

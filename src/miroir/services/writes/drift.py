"""Settings that somebody changed directly on a node: found, and set right from what clients asked of us.

Every lane that is at rest is looked at once after a start, now and then, and soon when its node shows a settings task
that is not ours: a request of ours may arrive late, after newer ones, while nobody is there to see it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import islice
from math import ceil
from typing import Any
from urllib.parse import quote

import orjson
import structlog

from miroir.core.records import IndexState
from miroir.core.writes.node_settings import node_settings, with_removed
from miroir.core.writes.settings_drift import drifted
from miroir.core.writes.write_limits import WriteLimits
from miroir.ports.nodes import NodeRequest, NodeTransport
from miroir.services.cluster import Cluster
from miroir.services.writes.asking import ask
from miroir.services.writes.lanes import Delivery
from miroir.services.writes.tracks import Track

log = structlog.get_logger()

_TRIES = 3
#: lanes looked at each time; a round of all takes the longer the more there are
_LOOKS_MAX = 50


class Drift:
    """One loop over all lanes."""

    def __init__(
        self,
        transport: NodeTransport,
        cluster: Cluster,
        delivery: Delivery,
        limits: WriteLimits,
        *,
        is_changing: Callable[[str], bool],
    ) -> None:
        """`is_changing` tells whether an index's settings are being rolled out."""
        self._transport = transport
        self._cluster = cluster
        self._delivery = delivery
        self._limits = limits
        self._is_changing = is_changing
        self._round: list[tuple[str, str]] = []  #: lanes that were not looked at yet in this round of all
        self._share = 0  #: of them each time
        #: lane -> (what it should have, how often it was sent): a node that does not take it is left alone
        self._sent: dict[tuple[str, str], tuple[IndexState, int]] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self._limits.poll_slow_s)
            await self.tick()

    async def tick(self) -> None:
        """Look at lanes of which something was seen, and at the next few of all; never at many at once."""
        tracks = self._delivery.tracks
        for key in list(islice(tracks.suspects, _LOOKS_MAX)):
            track = tracks.suspects.pop(key, None)
            if track is None:  # its lane ended while another was looked at
                continue
            if self._is_calm(track):
                track.settings_seen = track.lane.foreign_settings
                await self._look(track)
            else:
                tracks.suspects[key] = track  # behind the others
        if not self._round:
            self._round = [key for key, _ in tracks.items()]
            ticks = max(1.0, self._limits.drift_interval_s / self._limits.poll_slow_s)
            self._share = min(_LOOKS_MAX, ceil(len(self._round) / ticks))
        for _ in range(min(self._share, len(self._round))):
            next_track = tracks.get(self._round.pop())
            if next_track is not None and self._is_calm(next_track):
                await self._look(next_track)

    def _is_calm(self, track: Track) -> bool:
        """Whether the lane's node must have exactly the visible settings now."""
        record = self._cluster.lanes.get((track.physical, track.node))
        sequenced = self._cluster.index_of(track.physical)
        visible = self._cluster.visible.indexes.get(self._cluster.owner(track.physical))
        return (
            track.node in self._cluster.live
            and track.lane.idle
            and not (record is not None and record.lagging)
            and not self._is_changing(track.physical)
            and sequenced is not None
            and visible is not None
            and sequenced.settings == visible.settings
        )

    async def _look(self, track: Track) -> None:
        state = self._cluster.visible.indexes[self._cluster.owner(track.physical)]
        wanted = node_settings(state.settings, exact=state.exact)
        path = f"/indexes/{quote(track.physical)}/settings"
        shown = await self._ask(NodeRequest(track.node, "GET", path, content_type=None))
        if shown is None or not self._is_calm(track):
            return
        differing = drifted(shown, wanted)
        key = (track.physical, track.node)
        if not differing:
            self._sent.pop(key, None)
            return
        before, tries = self._sent.get(key, (state, 0))
        tries = tries if before.settings == state.settings else 0
        if tries >= _TRIES:
            return
        self._sent[key] = (state, tries + 1)
        log.warning("settings_drifted", node=track.node, index=track.physical, keys=differing)
        body = orjson.dumps(with_removed(wanted, shown))
        await self._ask(NodeRequest(track.node, "PATCH", path, body=body))
        # Its own task will be seen as a foreign one, and the result be looked at again.

    async def _ask(self, request: NodeRequest) -> dict[str, Any] | None:
        return await ask(self._transport, request, self._limits.request_timeout_s)

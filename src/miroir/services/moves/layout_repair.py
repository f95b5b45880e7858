"""What a node of one layout holds, against what the other layout holds: which documents differ, and setting them right."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import orjson

from miroir.core.hashing import shard_of
from miroir.core.moves.cluster_view import MoveLimits
from miroir.core.writes.ops import shards_tag
from miroir.services.moves.copy_pages import fitting
from miroir.services.moves.shard_calls import ShardCalls, digest, ids_of
from miroir.services.moves.sources import Source, SourceReader


@dataclass(frozen=True, slots=True)
class Seen:
    """Both sides, read while writes went on: `suspects` (node -> ids) were not equal. Other ids were, at the watermark."""

    shards: tuple[int, ...]
    watermark: int
    suspects: Mapping[str, set[str]] = field(default_factory=dict)


class LayoutRepair:
    """Raises NodeError and NodeRefusedError; everything can be done again. `source.wanted` is what is compared."""

    def __init__(self, calls: ShardCalls) -> None:
        self._calls = calls
        self._reader = SourceReader(calls)

    async def differing(
        self, source: Source, nodes: Mapping[str, Collection[int]], primary_key: str, limits: MoveLimits
    ) -> dict[str, set[str]]:
        """Node -> ids of all its documents in these shards that are not equal."""
        page, wanted = limits.page_documents, source.wanted
        ours = await self._reader.digests(source, primary_key, page=page)
        found = {}
        for node, shards in sorted(nodes.items()):
            theirs = await self._calls.digests(node, wanted.layout, primary_key, shards)
            expected = {name: one for name, one in ours.items() if shard_of(name, wanted.count) in shards}
            found[node] = _unequal(expected, theirs)
        return found

    async def differing_of(
        self, source: Source, node: str, primary_key: str, ids: Collection[str], limits: MoveLimits
    ) -> set[str]:
        """Those of `ids` that are not equal on one node."""
        found: set[str] = set()
        listed = sorted(ids)
        for first in range(0, len(listed), limits.page_documents):
            page = listed[first : first + limits.page_documents]
            ours = await self._reader.documents(source, primary_key, page)
            theirs = await self._calls.documents(node, source.wanted.layout, page)
            names = ids_of(node, theirs, primary_key)
            found |= _unequal(
                {name: digest(body) for name, body in ours.items()},
                {name: digest(body) for name, body in zip(names, theirs, strict=True)},
            )
        return found

    async def repair(
        self, source: Source, node: str, primary_key: str, ids: Collection[str], limits: MoveLimits
    ) -> None:
        """The node gets these documents as the source holds them; those that it does not hold are deleted."""
        wanted = source.wanted
        tag = shards_tag("layout", {shard_of(one, wanted.count) for one in ids})
        listed = sorted(ids)
        for first in range(0, len(listed), limits.page_documents):
            page = listed[first : first + limits.page_documents]
            ours = await self._reader.documents(source, primary_key, page)
            surplus = [one for one in page if one not in ours]
            if surplus:
                await self._calls.delete_ids(node, wanted.layout, surplus, tag)
            documents = list(ours.values())
            while documents:
                taken, lines = fitting(documents, limits.page_bytes)
                await self._calls.write(node, wanted.layout, primary_key, lines, tag)
                documents = documents[taken:]

    async def repair_ghosts(
        self, source: Source, node: str, primary_key: str, shards: Collection[int]
    ) -> None:
        """Hidden documents of an exact index: the same on every node of both layouts."""
        layout, tag = source.wanted.layout, shards_tag("layout", shards)
        ours = await self._reader.ghosts(source, primary_key)
        theirs = await self._calls.ghosts(node, layout, primary_key)
        surplus = sorted(theirs.keys() - ours.keys())
        if surplus:
            await self._calls.delete_ids(node, layout, surplus, tag)
        changed = [ghost for name, ghost in sorted(ours.items()) if theirs.get(name) != ghost]
        if changed:
            lines = b"".join(orjson.dumps(ghost, option=orjson.OPT_APPEND_NEWLINE) for ghost in changed)
            await self._calls.write(node, layout, primary_key, lines, tag)


def _unequal(ours: Mapping[str, bytes], theirs: Mapping[str, bytes]) -> set[str]:
    return {one for one in ours.keys() | theirs.keys() if ours.get(one) != theirs.get(one)}

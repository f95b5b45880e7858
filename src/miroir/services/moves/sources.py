"""Where a copy reads: one node with the same shards, or the nodes of the index's other layout that hold parts of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from miroir.core.hashing import shard_of
from miroir.core.reserved import SHARD_FIELD, encode_shard
from miroir.services.moves.shard_calls import ShardCalls, digest, ids_of


@dataclass(frozen=True, slots=True)
class Cut:
    """Shards of one layout that are wanted; `count`: how many it has."""

    layout: str
    count: int
    shards: frozenset[int]


@dataclass(frozen=True, slots=True)
class Source:
    """Every shard that is read and the node it is read from; every node stands at or past the copy's boundary."""

    layout: str
    count: int
    holders: Mapping[int, str]
    wanted: Cut

    @property
    def nodes(self) -> list[str]:
        return sorted(set(self.holders.values()))

    @property
    def is_other_layout(self) -> bool:
        return self.layout != self.wanted.layout

    def shards_on(self, node: str) -> list[int]:
        """What is read from one node."""
        return sorted(shard for shard, holder in self.holders.items() if holder == node)

    def takes(self, document_id: str) -> bool:
        """Whether the document belongs to a wanted shard."""
        wanted = self.wanted
        return not self.is_other_layout or shard_of(document_id, wanted.count) in wanted.shards


class SourceReader:
    """Raises NodeError and NodeRefusedError."""

    def __init__(self, calls: ShardCalls) -> None:
        self._calls = calls

    async def ids(self, source: Source, primary_key: str) -> list[str]:
        """Ids of all documents wanted, sorted as texts. Those of one shard are of one state of its node."""
        found: list[str] = []
        for node in source.nodes:
            shards = source.shards_on(node)
            found.extend(await self._calls.ids(node, source.layout, primary_key, shards))
        return sorted(filter(source.takes, found))

    async def documents(
        self, source: Source, primary_key: str, ids: Sequence[str]
    ) -> dict[str, dict[str, Any]]:
        """Documents by id as the wanted layout stores them, in the order of `ids`; those that are gone are left out."""
        by_node: dict[str, list[str]] = {}
        for one in ids:
            by_node.setdefault(source.holders[shard_of(one, source.count)], []).append(one)
        found: dict[str, dict[str, Any]] = {}
        for node, mine in sorted(by_node.items()):
            page = await self._calls.documents(node, source.layout, mine)
            found.update(zip(ids_of(node, page, primary_key), page, strict=True))
        if source.is_other_layout:
            for name, document in found.items():
                document[SHARD_FIELD] = encode_shard(shard_of(name, source.wanted.count))
        return {one: found[one] for one in ids if one in found}

    async def digests(self, source: Source, primary_key: str, *, page: int) -> dict[str, bytes]:
        """Id -> digest of the content of every document wanted. Only meaningful while nothing is written."""
        ids = await self.ids(source, primary_key)
        found: dict[str, bytes] = {}
        for first in range(0, len(ids), page):
            documents = await self.documents(source, primary_key, ids[first : first + page])
            found.update({name: digest(body) for name, body in documents.items()})
        return found

    async def ghosts(self, source: Source, primary_key: str) -> dict[str, dict[str, Any]]:
        """Hidden documents of an exact index: the same on every node of it."""
        return await self._calls.ghosts(source.nodes[0], source.layout, primary_key)


def holders_of(
    shards: Sequence[Mapping[str, Any]], wanted: Collection[int], usable: Mapping[int, Collection[str]]
) -> dict[int, str] | None:
    """For each wanted shard a usable node, few different ones; None when one has none."""
    counts: dict[str, int] = {}
    for shard in wanted:
        for node in usable.get(shard, ()):
            counts[node] = counts.get(node, 0) + 1
    found: dict[int, str] = {}
    for shard in wanted:
        nodes = [node for node in shards[shard] if node in usable.get(shard, ())]
        if not nodes:
            return None
        found[shard] = max(sorted(nodes), key=lambda node: counts[node])
    return found

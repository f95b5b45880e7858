"""Copies are compared while writes go on, and what changed since once nothing moves: a difference is always found."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from miroir.core.moves.operation_records import CopyRecord
from miroir.services.moves.comparison import Comparison
from miroir.services.moves.held_ops import HeldOps
from miroir.services.moves.shard_calls import ShardCalls, digest
from miroir.services.moves.sources import Cut, Source

COPY = CopyRecord(id=1, operation=1, physical="p", target="new", shards=(0,), leaves=(None,), followed=5)
SOURCE = Source("p", 4, {0: "old"}, Cut("p", 4, frozenset({0})))


class Nodes:
    """What both nodes hold, and how many documents were read from them."""

    def __init__(self, documents: dict[str, int]) -> None:
        self.held = {"old": dict(documents), "new": dict(documents)}
        self.read = 0
        self.ours: bool | None = True

    async def newest_task(self, node: str, physical: str) -> int:
        return 7

    async def only_ours_since(self, node: str, physical: str, task: int, boundary: int) -> bool | None:
        assert task == 7
        return self.ours

    async def digests(self, node: str, physical: str, key: str, shards: Collection[int]) -> dict[str, bytes]:
        return {one["id"]: digest(one) for one in await self.documents(node, physical, list(self.held[node]))}

    async def count(self, node: str, physical: str, shards: Collection[int]) -> int:
        return len(self.held[node])

    async def documents(self, node: str, physical: str, ids: Sequence[str]) -> list[dict[str, Any]]:
        held = self.held[node]
        self.read += len(ids)
        return [{"id": one, "version": held[one]} for one in ids if one in held]


class Log:
    """Ids that ops after the watermark touch; None after a clear."""

    changed: set[str] | None = None

    def __init__(self) -> None:
        self.changed = set()

    def changed_ids(self, copy: CopyRecord, since: int) -> set[str] | None:
        assert since == 5
        return self.changed


def pair(documents: dict[str, int]) -> tuple[Nodes, Log, Comparison]:
    nodes, log = Nodes(documents), Log()
    return nodes, log, Comparison(cast(ShardCalls, nodes), cast(HeldOps, log))


ids = st.sampled_from([str(number) for number in range(12)])
documents_of = st.dictionaries(ids, st.integers(0, 3))


@given(documents_of, documents_of, documents_of, st.booleans())
def test_equal_means_equal(
    before: dict[str, int], source: dict[str, int], target: dict[str, int], cleared: bool
) -> None:
    """Whatever was held when they were compared, and whatever later writes and mistakes made of it."""

    async def main() -> None:
        nodes, log, comparison = pair(before)
        await comparison.ahead(COPY, SOURCE, "id")
        nodes.held = {"old": dict(source), "new": dict(target)}
        touched = {one for one in {**before, **source} if before.get(one) != source.get(one)}
        log.changed = None if cleared else touched
        found = await comparison.is_equal(COPY, SOURCE, "id")
        astray = {one for one in {**source, **target} if source.get(one) != target.get(one)}
        if astray <= touched or cleared:
            assert found == (source == target)
        elif found:  # a write that nobody sent us, and that left as many documents as there were
            assert len(source) == len(target)

    asyncio.run(main())


@given(documents_of, documents_of)
def test_what_differed_already_is_never_forgotten(source: dict[str, int], target: dict[str, int]) -> None:
    async def main() -> None:
        nodes, _, comparison = pair({})
        nodes.held = {"old": dict(source), "new": dict(target)}
        await comparison.ahead(COPY, SOURCE, "id")
        assert await comparison.is_equal(COPY, SOURCE, "id") == (source == target)

    asyncio.run(main())


def test_under_the_hold_only_what_changed_is_read() -> None:
    async def main() -> None:
        nodes, log, comparison = pair({str(number): 1 for number in range(50_000)})
        assert comparison.is_due(COPY)
        await comparison.ahead(COPY, SOURCE, "id")
        assert not comparison.is_due(COPY)
        log.changed = {"7", "8"}
        nodes.read = 0
        assert await comparison.is_equal(COPY, SOURCE, "id")
        assert nodes.read == 4
        log.changed = {str(number) for number in range(3000)}
        assert comparison.is_due(COPY), "too much to be read while writers wait"
        for _ in range(3):
            await comparison.ahead(COPY, SOURCE, "id")
        assert not comparison.is_due(COPY), "writes that never rest do not keep a move from its end"

    asyncio.run(main())


def test_what_was_read_before_a_late_request_came_says_nothing() -> None:
    async def main() -> None:
        nodes, log, comparison = pair({"1": 1, "2": 2})
        log.changed = set()
        await comparison.ahead(COPY, SOURCE, "id")
        nodes.ours = None
        assert await comparison.is_equal(COPY, SOURCE, "id") is None, "not before it has ended"
        assert not comparison.is_due(COPY)
        nodes.ours, nodes.held["new"]["1"] = False, 0
        assert await comparison.is_equal(COPY, SOURCE, "id") is None
        assert comparison.is_due(COPY)
        for _ in range(3):
            await comparison.ahead(COPY, SOURCE, "id")
        assert await comparison.is_equal(COPY, SOURCE, "id") is False, "at last all is read under the hold"

    asyncio.run(main())


def test_a_copy_begun_again_is_compared_again() -> None:
    async def main() -> None:
        _, _, comparison = pair({"1": 1})
        await comparison.ahead(COPY, SOURCE, "id")
        again = CopyRecord(
            id=1, operation=1, physical="p", target="new", shards=(0,), leaves=(None,), followed=5, attempts=1
        )
        assert comparison.is_due(again)

    asyncio.run(main())

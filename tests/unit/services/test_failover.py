"""Reads over nodes that are late, gone, or about to be back: answered by whoever has everything, and never twice."""

from __future__ import annotations

import asyncio
import random
import weakref
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miroir.core.reads.failover import Trouble
from miroir.core.topology import NodeId, ReplicaState, Snapshot
from miroir.meili.codes import ApiError
from miroir.meili.commands import DocumentGet, SearchQuery
from miroir.ports.nodes import NodeError, NodeRequest, NodeResponse
from miroir.services.reads.reads import ReadLimits, Reads
from miroir.services.reads.scatter import Answer, Ask, Scatter, ShiftedError, together
from tests.support.virtual_time import run_virtual
from tests.unit.core.views import IN_SYNC, index_view, snapshot
from tests.unit.services.test_reads import hit, on_virtual_time

Behaviour = Callable[[NodeRequest], Awaitable[Any]]


class Nodes:
    """A NodeTransport of coroutines; `open` counts the requests that are out, `asked` who was asked."""

    def __init__(self, nodes: dict[str, Behaviour]) -> None:
        self.nodes = nodes
        self.asked: list[str] = []
        self.open = 0
        self.most = 0

    def set_address(self, node: NodeId, address: str) -> None:
        raise AssertionError("reads set no addresses")

    async def send(self, request: NodeRequest, *, deadline: float) -> NodeResponse:
        self.asked.append(request.node)
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            async with asyncio.timeout_at(deadline):
                value = await self.nodes[request.node](request)
        except TimeoutError:
            raise NodeError(request.node, "timeout") from None
        finally:
            self.open -= 1
        return NodeResponse(200, orjson.dumps(value))


def finding(*seqs: int, after_s: float = 0.0) -> Behaviour:
    async def answer(_: NodeRequest) -> Any:
        await asyncio.sleep(after_s)
        return {"hits": [hit(seq) for seq in seqs], "estimatedTotalHits": len(seqs), "id": seqs[0]}

    return answer


async def silence(_: NodeRequest) -> Any:
    await asyncio.Event().wait()


async def refusal(request: NodeRequest) -> Any:
    raise NodeError(request.node, "connection refused", refused=True)


def first(then: Behaviour, *before: Behaviour) -> Behaviour:
    """Behaves like each of `before` once."""
    left = list(before)

    async def answer(request: NodeRequest) -> Any:
        return await (left.pop(0) if left else then)(request)

    return answer


BOTH: list[dict[str, ReplicaState]] = [{"a": IN_SYNC, "b": IN_SYNC}]


def reads_of(picture: Callable[[], Snapshot], nodes: Nodes, **options: Any) -> Reads:
    return Reads(picture, nodes, request_uid=lambda: "uid", **options)


async def ids(reads: Reads) -> list[int]:
    _, answer = await reads.search("books", SearchQuery())
    return [each["id"] for each in answer["hits"]]


def now() -> float:
    return asyncio.get_running_loop().time()


def nothing_left(nodes: Nodes) -> None:
    assert nodes.open == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


@on_virtual_time
async def test_a_late_node_gets_a_rival_and_the_first_answer_counts() -> None:
    picture = snapshot(index_view(BOTH))
    nodes = Nodes({"a": silence, "b": finding(1, 2)})
    assert await ids(reads_of(lambda: picture, nodes)) == [1, 2]
    assert now() == pytest.approx(1.0)
    assert nodes.asked == ["a", "b"]
    nothing_left(nodes)
    nodes = Nodes({"a": finding(1, after_s=1.5), "b": finding(1, after_s=2)})
    assert await ids(reads_of(lambda: picture, nodes)) == [1]
    assert now() == pytest.approx(2.5), "the one that was late was first all the same"
    nothing_left(nodes)


@on_virtual_time
async def test_a_late_node_is_waited_for_where_nobody_else_can_answer() -> None:
    picture = snapshot(index_view([{"a": IN_SYNC}]))
    nodes = Nodes({"a": finding(1, after_s=20)})
    assert await ids(reads_of(lambda: picture, nodes)) == [1]
    assert nodes.asked == ["a"]
    picture = snapshot(index_view(BOTH))
    nodes = Nodes({"a": finding(1, after_s=3), "b": refusal})
    assert await ids(reads_of(lambda: picture, nodes)) == [1], "a rival that fails spoils nothing"
    nothing_left(nodes)


@on_virtual_time
async def test_only_so_many_questions_have_rivals() -> None:
    picture = snapshot(index_view(BOTH))
    nodes = Nodes({"a": finding(1, after_s=5), "b": finding(1, after_s=5)})
    reads = reads_of(lambda: picture, nodes)
    await together(ids(reads) for _ in range(100))
    assert nodes.most == 132
    nothing_left(nodes)


@on_virtual_time
async def test_a_read_that_is_cancelled_leaves_nothing_behind() -> None:
    picture = snapshot(index_view(BOTH))
    for after_s in (0.5, 1.5):
        nodes = Nodes({"a": silence, "b": silence})
        task = asyncio.create_task(ids(reads_of(lambda: picture, nodes)))
        await asyncio.sleep(after_s)
        assert nodes.open == (1 if after_s < 1 else 2)
        task.cancel()
        await asyncio.wait([task])
        nothing_left(nodes)


@on_virtual_time
async def test_an_exchange_that_was_cut_is_tried_again_where_there_is_no_other_node() -> None:
    picture = snapshot(index_view([{"a": IN_SYNC, "dead": IN_SYNC}]))
    nodes = Nodes({"a": first(finding(1), refusal), "dead": refusal})
    assert await ids(reads_of(lambda: picture, nodes)) == [1]
    assert now() < 0.2


@on_virtual_time
async def test_what_is_gone_is_refused_after_a_while_and_at_once_when_that_is_known() -> None:
    nodes = Nodes({"a": refusal, "b": refusal})
    living = snapshot(index_view(BOTH))
    with pytest.raises(ApiError) as refused:
        await ids(reads_of(lambda: living, nodes))
    assert refused.value.code == "miroir_index_incomplete"
    assert 4.5 < now() <= 5.0
    begun, dead = now(), snapshot(index_view(BOTH), down=["a", "b"])
    with pytest.raises(ApiError):
        await ids(reads_of(lambda: dead, nodes))
    assert now() == begun
    with pytest.raises(ApiError):
        await ids(reads_of(lambda: replace(living, indexes={}), nodes))
    assert now() == begun


@on_virtual_time
async def test_a_read_waits_for_a_replica_that_catches_up_and_holds_no_snapshot_meanwhile() -> None:
    index = index_view([{"a": IN_SYNC}])
    ready = snapshot(index)
    pictures = [replace(ready, lagging=frozenset([(NodeId("a"), index.physical_uid)]))]
    held = weakref.ref(pictures[0])
    nodes = Nodes({"a": finding(1)})
    task = asyncio.create_task(ids(reads_of(lambda: pictures[0], nodes)))
    await asyncio.sleep(1.2)
    assert not task.done()
    pictures[0] = ready
    assert held() is None, "the read would hold back whoever waits for readers"
    assert await task == [1]
    assert now() < 2
    assert nodes.asked == ["a"], "what lags is never asked"


@on_virtual_time
async def test_a_suspect_is_the_last_to_be_asked_and_must_prove_itself() -> None:
    index = index_view([{"a": IN_SYNC}, {"a": IN_SYNC, "b": IN_SYNC}])
    picture = replace(snapshot(index, down=["a"]), suspects=frozenset([NodeId("a")]))
    nodes = Nodes({"a": finding(1), "b": finding(2)})
    known = {"a": True}

    async def trusted(node: NodeId) -> bool:
        return known[node]

    assert await ids(reads_of(lambda: picture, nodes, trusted=trusted)) == [1, 2]
    known["a"] = False
    with pytest.raises(ApiError):
        await ids(reads_of(lambda: picture, nodes, trusted=trusted))
    begun = now()
    limits = ReadLimits(timeout_s=3.0)
    with pytest.raises(ApiError):
        await ids(reads_of(lambda: picture, nodes, trusted=_never_said, limits=limits))
    assert now() - begun <= 3.0
    nodes.asked.clear()
    with pytest.raises(ApiError):
        await ids(reads_of(lambda: picture, nodes))
    assert nodes.asked == [], "without anybody to vouch for them suspects are not asked"


async def _never_said(_: NodeId) -> bool:
    await asyncio.Event().wait()
    return True


@on_virtual_time
async def test_a_doubted_node_is_spared() -> None:
    picture = replace(snapshot(index_view(BOTH * 4)), doubted=frozenset([NodeId("a")]))
    nodes = Nodes({"a": finding(1), "b": finding(1)})
    reads = reads_of(lambda: picture, nodes)
    for _ in range(5):
        await ids(reads)
        await reads.document_get("books", DocumentGet("1"))
    assert set(nodes.asked) == {"b"}


# --- several steps --------------------------------------------------------------------------------

NAMES = ["a", "b", "c", "d"]
placements = st.lists(
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True), min_size=1, max_size=6
)


@settings(max_examples=60)
@given(placements, st.integers(0, 2**32), st.integers(1, 4), st.booleans())
def test_the_steps_of_a_read_are_answered_by_the_same_shares(
    placement: list[list[str]], seed: int, steps: int, silent: bool
) -> None:
    """Nodes die between steps. Each attempt sees every shard once, by shares that stay; or it is given up."""
    rng = random.Random(seed)

    async def run() -> None:
        picture = snapshot(index_view([dict.fromkeys(nodes, IN_SYNC) for nodes in placement]))
        dead: set[str] = set()

        def behaviour(name: str) -> Behaviour:
            async def answer(request: NodeRequest) -> Any:
                if rng.random() < 0.2:
                    dead.add(name)
                if name in dead:
                    return await (silence if silent else refusal)(request)
                return {}

            return answer

        nodes = Nodes({name: behaviour(name) for name in NAMES})
        scatter = Scatter(nodes)
        trouble = Trouble()
        for _ in range(20):
            try:
                shares = await _steps(scatter, picture, trouble, steps)
            except ShiftedError:
                continue
            except ApiError:
                assert any(set(holders) <= dead for holders in placement), (placement, dead)
                break
            assert shares
            break
        else:
            raise AssertionError("it goes on for ever")
        nothing_left(nodes)

    run_virtual(run())


async def _steps(scatter: Scatter, picture: Snapshot, trouble: Trouble, steps: int) -> list[Any]:
    index = picture.indexes["books"]
    reading = scatter.open(picture, index, rotation=0, deadline=now() + 30, trouble=trouble)
    before: list[Any] | None = None
    for _ in range(steps):
        answers: Sequence[Answer] = await scatter.ask(reading, lambda _share, _origin: Ask("/search", {}))
        shares = [answer.share for answer in answers]
        assert sorted(shard for share in shares for shard in share.shards) == list(range(index.shard_count))
        assert before is None or shares == before
        before = shares
    assert before is not None
    return before

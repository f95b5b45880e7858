"""Ask the nodes of a covering set, and other replicas where a node fails or is late, under one deadline.

What a request asks for in several steps must come from the same shares each time: hits are known by the share that showed
them. So another replica stands in within a step only while nothing else was asked; later the request begins anew
(`ShiftedError`), without the node that failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson

from miroir.core.reads.covering import Covering, Share, by_health, cover
from miroir.core.reads.failover import Trouble, rank_of
from miroir.core.reads.node_errors import speaks_of_the_node
from miroir.core.topology import IndexView, NodeId, Snapshot
from miroir.errors import MiroirError
from miroir.meili.codes import ApiError
from miroir.ports.nodes import NodeError, NodeRequest, NodeTransport

T = TypeVar("T")

#: code of a read that could not see the whole index
INCOMPLETE = "miroir_index_incomplete"
_COVERINGS_KEPT = 3000
#: questions asked of two nodes at a time, all requests together: beyond that everybody is late, and asking more makes it worse
_RIVALS_MAX = 32
#: later steps of a request may take longer: what they ask for is more, and giving up costs the steps before
_LATER_STEPS = 3.0


@dataclass(frozen=True, slots=True)
class Ask:
    """One question to a node. `path` is below the physical index, e.g. `/search`."""

    path: str
    body: Any = None
    method: str = "POST"
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    absolute: str | None = None  #: a path that is not below an index


@dataclass(frozen=True, slots=True)
class Answer:
    """`origin` is the position of the share that was asked first; a replacement keeps it."""

    origin: int
    share: Share
    value: Any


class NodeRefusal(MiroirError):  # noqa: N818 - an answer, and the word for it
    """A node answered 4xx: the question is wrong, not the node."""

    def __init__(self, origin: int, share: Share, status: int, body: dict[str, Any]) -> None:
        super().__init__(f"node {share.node} refused: {status} {body.get('code')}")
        self.origin = origin
        self.share = share
        self.status = status
        self.body = body


class ShiftedError(MiroirError):
    """Other nodes must answer from now on than answered before: the request begins anew."""


Builder = Callable[[Share, int], Ask | None]
#: what came of one share
Outcome = list[Answer] | NodeRefusal | ShiftedError | ApiError


class _Chosen:
    """A covering set, and what it was chosen from: the next snapshot may well agree in all of that.

    Holds no snapshot: one that is alive counts as a reader of its epoch.
    """

    __slots__ = ("_basis", "covering")

    def __init__(self, snapshot: Snapshot, index: IndexView, rotation: int, *, suspects: bool) -> None:
        self._basis = _basis(snapshot, index)
        self.covering = cover(snapshot, index, rotation=rotation, rank=by_health(snapshot, suspects=suspects))

    def holds(self, snapshot: Snapshot, index: IndexView) -> bool:
        """Whether it would be chosen again."""
        return all(map(_same, self._basis, _basis(snapshot, index)))


def _basis(snapshot: Snapshot, index: IndexView) -> tuple[object, ...]:
    return (
        index.placement,
        index.exact,
        snapshot.nodes,
        snapshot.live,
        snapshot.lagging,
        snapshot.behind,
        snapshot.doubted,
        snapshot.suspects,
    )


def _same(one: object, other: object) -> bool:
    return one is other


@dataclass(slots=True)
class Reading:
    """One request's view of one index: what it sees, whom it asks, until when. Lives as long as the request."""

    snapshot: Snapshot
    index: IndexView
    shares: tuple[Share, ...]
    deadline: float  #: of the running loop's time
    rotation: int
    trouble: Trouble = field(default_factory=Trouble)
    steps: int = 0  #: questions asked of a covering set so far


class Scatter:
    """Sends questions and gathers answers. `rounds` bounds how often other replicas are tried.

    `on_round` is told of every round: how many nodes are asked, and which attempt it is (0: the first). `late_s`: a
    node that has not answered by then gets a rival. `trusted` tells whether a node is still the one it was, which is
    asked of those that are not live; without it they are not asked at all.
    """

    def __init__(
        self,
        nodes: NodeTransport,
        *,
        rounds: int = 3,
        on_round: Callable[[int, int], None] | None = None,
        late_s: float = 1.0,
        trusted: Callable[[NodeId], Awaitable[bool]] | None = None,
    ) -> None:
        self._nodes = nodes
        self._rounds = rounds
        self._on_round = on_round
        self._late_s = late_s
        self._trusted = trusted
        self._rivals = 0
        self._coverings: dict[tuple[str, int], _Chosen] = {}

    def open(
        self,
        snapshot: Snapshot,
        index: IndexView,
        *,
        rotation: int,
        deadline: float,
        trouble: Trouble | None = None,
    ) -> Reading:
        """Choose whom to ask. Raises ApiError miroir_index_incomplete when a shard has no replica to ask.

        `trouble`: what the same request had with nodes before.
        """
        turn = rotation % max(1, len(snapshot.nodes))
        if trouble:
            rank = rank_of(snapshot, trouble, suspects=self._trusted is not None)
            covering = cover(snapshot, index, rotation=turn, rank=rank)
        else:
            covering = self._chosen(snapshot, index, turn)
        if covering.missing:
            raise incomplete(index, covering.missing)
        return Reading(
            snapshot, index, covering.shares, deadline, turn, Trouble() if trouble is None else trouble
        )

    def _chosen(self, snapshot: Snapshot, index: IndexView, turn: int) -> Covering:
        known = self._coverings.get((index.physical_uid, turn))
        if known is None or not known.holds(snapshot, index):
            known = _Chosen(snapshot, index, turn, suspects=self._trusted is not None)
            if len(self._coverings) > _COVERINGS_KEPT:
                self._coverings.clear()
            self._coverings[index.physical_uid, turn] = known
        return known.covering

    def owners(self, reading: Reading, shards: Collection[int]) -> tuple[Share, ...]:
        """Whom to ask about these shards alone. Raises ApiError as `open` does."""
        covering = self._cover(reading, shards)
        if covering.missing:
            raise incomplete(reading.index, covering.missing)
        return covering.shares

    def _cover(self, reading: Reading, shards: Collection[int]) -> Covering:
        rank = rank_of(reading.snapshot, reading.trouble, suspects=self._trusted is not None)
        return cover(reading.snapshot, reading.index, rotation=reading.rotation, shards=shards, rank=rank)

    async def ask(
        self, reading: Reading, build: Builder, *, shares: Sequence[Share] | None = None
    ) -> list[Answer]:
        """One answer per share, or several where other replicas stand in. `build` gives None: do not ask.

        Raises NodeRefusal of the first share (in order) that was refused, ApiError when shards cannot be
        answered any more, ShiftedError when others must answer than did before.
        """
        reading.steps += 1
        asked = reading.shares if shares is None else shares
        if self._on_round is not None:
            self._on_round(len(asked), 0)
        found = gathered(await self._race(reading, build, asked) if asked else ())
        if not isinstance(found, list):
            try:
                raise found
            finally:
                del found  # or error and frame hold each other, and the snapshot, until the collector comes
        if any(answer.share is not asked[answer.origin] for answer in found):
            if reading.steps > 1:  # somebody began another step meanwhile
                raise ShiftedError("others stood in")
            if shares is None:
                reading.shares = _stood_in(asked, found)
        return found

    async def judgement(self, reading: Reading, ask: Ask, share: Share) -> dict[str, Any] | None:
        """How a node refuses a question; None when it answers it. Raises as `ask` does."""
        try:
            await self.ask(reading, lambda _share, _origin: ask, shares=[share])
        except NodeRefusal as refusal:
            return refusal.body
        return None

    async def _race(self, reading: Reading, build: Builder, asked: Sequence[Share]) -> list[Outcome]:
        """What came of each share. One whose node is late is asked of other replicas too; who is first, answers."""
        create = asyncio.get_running_loop().create_task
        runners: dict[asyncio.Task[Outcome], int] = {
            create(self._settle(reading, build, origin, share)): origin for origin, share in enumerate(asked)
        }
        outcomes: dict[int, Outcome] = {}
        rivals = 0
        try:
            patience = self._late_s if reading.steps == 1 else self._late_s * _LATER_STEPS
            done, waiting = await asyncio.wait(runners, timeout=patience)
            for task in waiting:
                reading.trouble.late.add(asked[runners[task]].node)
            for origin in sorted(runners[task] for task in waiting):
                rival = self._rival(reading, build, origin, asked[origin])
                if rival is not None:
                    task = create(rival)
                    runners[task] = origin
                    waiting.add(task)
                    rivals += 1
                    self._rivals += 1
            while True:
                for task in done:
                    origin, outcome = runners[task], task.result()
                    others = any(runners[other] == origin for other in waiting)
                    if origin not in outcomes and not (others and isinstance(outcome, ApiError)):
                        outcomes[origin] = outcome
                if len(outcomes) == len(asked):
                    break
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._rivals -= rivals
            left = [task for task in runners if not task.done()]
            for task in left:
                task.cancel()
            if left:
                await asyncio.wait(left)
        return [outcomes[origin] for origin in range(len(asked))]

    def _rival(
        self, reading: Reading, build: Builder, origin: int, share: Share
    ) -> Coroutine[Any, Any, Outcome] | None:
        """The same asked of others, if there are any that were not late themselves."""
        covering = self._cover(reading, share.shards)
        slow = reading.trouble.late
        if (
            covering.missing
            or self._rivals >= _RIVALS_MAX
            or any(each.node in slow for each in covering.shares)
        ):
            return None
        if reading.steps > 1:
            return _shifted()
        return self._settle_all(reading, build, origin, covering.shares, attempt=1)

    async def _settle(
        self, reading: Reading, build: Builder, origin: int, share: Share, attempt: int = 0
    ) -> Outcome:
        """One share, by other replicas where its node fails."""
        ask = build(share, origin)
        if ask is None:
            return []
        result = await self._one(reading, origin, share, ask)
        if not isinstance(result, NodeError):
            return [result] if isinstance(result, Answer) else result
        reading.trouble.failed.add(share.node)
        covering = self._cover(reading, share.shards)
        if covering.missing or attempt + 1 >= self._rounds:
            return incomplete(reading.index, covering.missing or share.shards)
        if reading.steps > 1:
            return ShiftedError(str(result))
        return await self._settle_all(reading, build, origin, covering.shares, attempt + 1)

    async def _settle_all(
        self, reading: Reading, build: Builder, origin: int, shares: Sequence[Share], attempt: int
    ) -> Outcome:
        if self._on_round is not None:
            self._on_round(len(shares), attempt)
        settled = [self._settle(reading, build, origin, share, attempt) for share in shares]
        return gathered([await settled[0]] if len(settled) == 1 else await together(settled))

    async def _one(
        self, reading: Reading, origin: int, share: Share, ask: Ask
    ) -> Answer | NodeRefusal | NodeError:
        result = await self._asked(reading, origin, share, ask)
        if share.node in reading.snapshot.live or isinstance(result, NodeError):
            return result
        assert self._trusted is not None
        try:
            async with asyncio.timeout_at(reading.deadline):
                is_itself = await self._trusted(share.node)
        except TimeoutError:
            is_itself = False
        return result if is_itself else NodeError(share.node, "is not known to be what it was")

    async def _asked(
        self, reading: Reading, origin: int, share: Share, ask: Ask
    ) -> Answer | NodeRefusal | NodeError:
        request = NodeRequest(
            node=share.node,
            method=ask.method,
            path=ask.absolute or f"/indexes/{reading.index.physical_uid}{ask.path}",
            query=ask.query,
            body=b"" if ask.body is None else orjson.dumps(ask.body),
            content_type=None if ask.body is None else "application/json",
            headers=ask.headers,
        )
        try:
            response = await self._nodes.send(request, deadline=reading.deadline)
        except NodeError as error:
            return error
        try:
            value = orjson.loads(response.body)
        except orjson.JSONDecodeError:
            return NodeError(share.node, f"answered {response.status} without JSON")
        if response.status < 300:
            return Answer(origin, share, value)
        if speaks_of_the_node(response.status, value):
            return NodeError(share.node, f"answered {response.status} {value.get('code')}")
        return NodeRefusal(origin, share, response.status, value)


def _stood_in(asked: Sequence[Share], answers: Sequence[Answer]) -> tuple[Share, ...]:
    """The shares as they were answered; as they were asked where nobody was."""
    stood: dict[int, list[Share]] = {}
    for answer in answers:
        stood.setdefault(answer.origin, []).append(answer.share)
    return tuple(share for origin, before in enumerate(asked) for share in stood.get(origin, [before]))


async def _shifted() -> Outcome:
    return ShiftedError("a node is late")


async def together(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """What each comes to, in order; the first error as it is, once the others have ended."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except BaseExceptionGroup as errors:
        first = errors.exceptions[0]
    else:
        return [task.result() for task in tasks]
    try:
        raise first
    finally:
        del first, tasks


def gathered(outcomes: Sequence[Outcome]) -> Outcome:
    """The answers of all, or else what is wrong: a refusal of the first share refused, before anything else."""
    answers: list[Answer] = []
    failures: list[NodeRefusal | ShiftedError | ApiError] = []
    for outcome in outcomes:
        if isinstance(outcome, list):
            answers += outcome
        else:
            failures.append(outcome)
    for kind in (NodeRefusal, ApiError, ShiftedError):
        for failure in failures:
            if isinstance(failure, kind):
                return failure
    return answers


def incomplete(index: IndexView, shards: Sequence[int]) -> ApiError:
    """The error of a read that could not see the whole index: never a silent part of it."""
    return ApiError(
        INCOMPLETE,
        f"Index `{index.uid}` is incomplete: {len(set(shards))} of {index.shard_count} shards have no readable replica.",
    )

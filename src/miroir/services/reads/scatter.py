"""Ask the nodes of a covering set, and other replicas where a node fails, under one deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from miroir.core.reads.covering import Share, cover
from miroir.core.reads.node_errors import speaks_of_the_node
from miroir.core.topology import IndexView, NodeId, Snapshot
from miroir.errors import MiroirError
from miroir.meili.codes import ApiError
from miroir.ports.nodes import NodeError, NodeRequest, NodeTransport

_COVERINGS_KEPT = 3000


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


Builder = Callable[[Share, int], Ask | None]


class _Chosen:
    """A covering set, and what it was chosen from: the next snapshot may well agree in all of that.

    Holds no snapshot: one that is alive counts as a reader of its epoch.
    """

    __slots__ = ("_basis", "covering")

    def __init__(self, snapshot: Snapshot, index: IndexView, rotation: int) -> None:
        self._basis = (index.placement, index.exact, snapshot.nodes, snapshot.live, snapshot.lagging)
        self.covering = cover(snapshot, index, rotation=rotation)

    def holds(self, snapshot: Snapshot, index: IndexView) -> bool:
        """Whether it would be chosen again."""
        placement, exact, nodes, live, lagging = self._basis
        return (
            placement is index.placement
            and exact == index.exact
            and nodes is snapshot.nodes
            and live is snapshot.live
            and lagging is snapshot.lagging
        )


@dataclass(slots=True)
class Reading:
    """One request's view of one index: what it sees, whom it asks, until when. Lives as long as the request."""

    snapshot: Snapshot
    index: IndexView
    shares: tuple[Share, ...]
    deadline: float  #: of the running loop's time
    rotation: int
    failed: set[NodeId] = field(default_factory=set)


class Scatter:
    """Sends questions and gathers answers. `rounds` bounds how often other replicas are tried.

    `on_round` is told of every round: how many nodes are asked, and which attempt it is (0: the first).
    """

    def __init__(
        self, nodes: NodeTransport, *, rounds: int = 3, on_round: Callable[[int, int], None] | None = None
    ) -> None:
        self._nodes = nodes
        self._rounds = rounds
        self._on_round = on_round
        self._coverings: dict[tuple[str, int], _Chosen] = {}

    def open(self, snapshot: Snapshot, index: IndexView, *, rotation: int, deadline: float) -> Reading:
        """Choose whom to ask. Raises ApiError miroir_index_incomplete when a shard has no readable replica."""
        turn = rotation % max(1, len(snapshot.nodes))
        known = self._coverings.get((index.physical_uid, turn))
        if known is None or not known.holds(snapshot, index):
            known = _Chosen(snapshot, index, turn)
            if len(self._coverings) > _COVERINGS_KEPT:
                self._coverings.clear()
            self._coverings[index.physical_uid, turn] = known
        covering = known.covering
        if covering.missing:
            raise incomplete(index, covering.missing)
        return Reading(snapshot, index, covering.shares, deadline, turn)

    async def ask(
        self, reading: Reading, build: Builder, *, shares: Sequence[Share] | None = None
    ) -> list[Answer]:
        """One answer per share, or several where other replicas stand in. `build` gives None: do not ask.

        Raises NodeRefusal of the first share (in order) that was refused, ApiError when shards cannot be
        answered any more.
        """
        pending = list(enumerate(reading.shares if shares is None else shares))
        answers: list[Answer] = []
        for attempt in range(self._rounds):
            if self._on_round is not None:
                self._on_round(len(pending), attempt)
            pending, refusal = await self._round(reading, build, pending, answers)
            if refusal is not None:
                try:
                    raise refusal
                finally:
                    del (
                        refusal
                    )  # or error and frame hold each other, and the snapshot, until the collector comes
            if not pending:
                answers.sort(key=lambda answer: answer.origin)
                return answers
            pending = self._replacements(reading, pending)
        raise incomplete(reading.index, [shard for _, share in pending for shard in share.shards])

    async def _round(
        self,
        reading: Reading,
        build: Builder,
        pending: list[tuple[int, Share]],
        answers: list[Answer],
    ) -> tuple[list[tuple[int, Share]], NodeRefusal | None]:
        asks = [(origin, share, build(share, origin)) for origin, share in pending]
        sent = [(origin, share, ask) for origin, share, ask in asks if ask is not None]
        results: list[Answer | NodeRefusal | NodeError]
        if len(sent) == 1:
            results = [await self._one(reading, *sent[0])]
        else:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._one(reading, *each)) for each in sent]
            results = [task.result() for task in tasks]
        failed, refusals = [], []
        for (origin, share, _), result in zip(sent, results, strict=True):
            if isinstance(result, Answer):
                answers.append(result)
            elif isinstance(result, NodeRefusal):
                refusals.append(result)
            else:
                reading.failed.add(share.node)
                failed.append((origin, share))
        return failed, min(refusals, key=lambda refusal: refusal.origin, default=None)

    async def judgement(self, reading: Reading, ask: Ask, share: Share) -> dict[str, Any] | None:
        """How a node refuses a question; None when it answers it. Raises ApiError as `ask` does."""
        try:
            await self.ask(reading, lambda _share, _origin: ask, shares=[share])
        except NodeRefusal as refusal:
            return refusal.body
        return None

    def _replacements(self, reading: Reading, failed: list[tuple[int, Share]]) -> list[tuple[int, Share]]:
        """Other replicas for exactly the shards of the shares that failed."""
        found: list[tuple[int, Share]] = []
        for origin, share in failed:
            covering = cover(
                reading.snapshot,
                reading.index,
                rotation=reading.rotation,
                failed=reading.failed,
                shards=share.shards,
            )
            if covering.missing:
                raise incomplete(reading.index, covering.missing)
            found += [(origin, replacement) for replacement in covering.shares]
        return found

    async def _one(
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


def incomplete(index: IndexView, shards: Sequence[int]) -> ApiError:
    """The error of a read that could not see the whole index: never a silent part of it."""
    return ApiError(
        "miroir_index_incomplete",
        f"Index `{index.uid}` is incomplete: {len(set(shards))} of {index.shard_count} shards have no readable replica.",
    )

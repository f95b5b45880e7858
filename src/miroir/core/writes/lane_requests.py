"""What lanes send to nodes and what nodes show of it: values of `lanes.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from miroir.core.writes.ops import Action, tag

#: Actions whose requests may carry a tag: the node's task then names the ops.
TAGGED = frozenset({Action.ADD, Action.DELETE, Action.CLEAR, Action.GHOSTS, Action.UNGHOST})


@dataclass(frozen=True, slots=True)
class LaneOp:
    """One op as a lane needs it. Sizes are estimates of this node's part."""

    id: int
    action: Action
    merge: bool = False
    primary_key: str | None = None
    documents: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Request:
    """Neighbouring ops of one kind that go to the node as one request."""

    ops: tuple[LaneOp, ...]

    @property
    def action(self) -> Action:
        return self.ops[0].action

    @property
    def first(self) -> int:
        return self.ops[0].id

    @property
    def last(self) -> int:
        return self.ops[-1].id

    @property
    def tag(self) -> str | None:
        """`customMetadata` of the request; None where the node's route takes none."""
        return tag(self.first, self.last) if self.action in TAGGED else None


@dataclass(frozen=True, slots=True)
class NodeTask:
    """A task as the node shows it. `ops` is the tag's (first, last), None without one."""

    uid: int
    status: str
    kind: str = ""
    ops: tuple[int, int] | None = None
    error: dict[str, Any] | None = None
    shards: tuple[int, ...] | None = None  #: of a request about whole shards; empty: all of them


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one op on this node; `error` is the node's error object."""

    op: int
    error: dict[str, Any] | None = None

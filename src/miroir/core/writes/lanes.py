"""One lane: the ordered stream of ops to one (node, index), as a pure state machine.

Rules. Ops are sent strictly in order, the next one only after the node's 202 for the one before. An answer that got
lost leaves the lane unsure: it looks for the request's tag among the node's tasks before sending again. Whatever
reaches the node twice is noticed by its tag; when an old request arrives after newer ones, everything after it is
sent again, in order: replaying ops over a state that already contains them ends in the same state (design.md, D4).

So there is one invariant to keep: **the last op of the newest request on the node is where the lane stands**; all
that follows will be sent. Time, I/O and rendering are the caller's (`services/writes/lanes.py`).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain, islice
from typing import Any

from miroir.core.writes.lane_requests import TAGGED, LaneOp, NodeTask, Outcome, Request
from miroir.core.writes.ops import Action

#: actions whose neighbours go to the node together
_MERGEABLE = {Action.ADD: Action.ADD, Action.GHOSTS: Action.ADD, Action.DELETE: Action.DELETE}
_FINISHED = frozenset({"succeeded", "failed", "canceled"})
_HISTORY_MAX = 4096
_MERGE_MAX = 1000
#: what a lane may have left to do and still be nearly there
_NEAR_STEPS, _NEAR_DOCUMENTS, _NEAR_BYTES = 6, 1000, 1 << 20


class Phase(StrEnum):
    RECOVERING = "recovering"  #: just started: what the node has is unknown
    READY = "ready"
    SENDING = "sending"  #: a request is out
    UNSURE = "unsure"  #: its answer got lost


@dataclass(slots=True)
class Lane:
    """State of one lane. `log` holds ops by id: done ones that may still be replayed, then those to come."""

    applied: int  #: every op up to here has ended on the node
    log: list[LaneOp] = field(default_factory=list)
    cursor: int = 0  #: position in `log` of the next op to send
    phase: Phase = Phase.RECOVERING
    out: Request | None = None
    accepted: deque[tuple[Request, int]] = field(default_factory=deque)  #: (request, node task), not ended
    history: list[tuple[int, int]] = field(default_factory=list)  #: (node task, last op), tasks ascending
    strays: list[tuple[int, int]] = field(default_factory=list)  #: the same of requests seen twice
    alone_until: int = -1  #: ops up to here are not merged (a merged request failed)
    replay_until: int = -1  #: ops up to here had ended before and are being sent again
    forgotten: int = -1  #: ops up to here are not kept
    tagged: int | None = -1  #: the newest of the applied ones that the node's tasks name; None: not known
    named: list[int] = field(default_factory=list)  #: those that followed, ascending, as far as they are kept
    floor: int = -1  #: the node got more than this lane's part of ops up to here, by copies
    foreign_settings: int = 0  #: settings tasks of this index on the node that the lane did not send
    lost: bool = False  #: an op that must be sent again is no longer kept: the replica must be rebuilt

    # --- what to do ---------------------------------------------------------------------------

    def add(self, op: LaneOp) -> None:
        """A new op, later than every other."""
        assert not self.log or self.log[-1].id < op.id, "ops come in order"
        self.log.append(op)

    def next_request(self, *, window: int, documents_max: int, bytes_max: int) -> Request | None:
        """The request to send now, or None. It is then out until one of the answers below."""
        if self.phase is not Phase.READY or self.lost:
            return None
        if self.cursor >= len(self.log) or len(self.accepted) >= window:
            return None
        ops = [self.log[self.cursor]]
        documents, size = ops[0].documents, ops[0].size_bytes
        for op in islice(self.log, self.cursor + 1, self.cursor + 1 + _MERGE_MAX):
            documents += op.documents
            size += op.size_bytes
            if not self._mergeable(ops[0], op) or documents > documents_max or size > bytes_max:
                break
            ops.append(op)
        self.out = Request(tuple(ops))
        self.cursor += len(ops)
        self.phase = Phase.SENDING
        return self.out

    def _mergeable(self, first: LaneOp, op: LaneOp) -> bool:
        return (
            first.action in _MERGEABLE
            and _MERGEABLE.get(op.action) is _MERGEABLE[first.action]
            and op.merge == first.merge
            and op.primary_key == first.primary_key
            and first.id > self.alone_until
        )

    @property
    def idle(self) -> bool:
        """Nothing to send, nothing out, nothing unfinished."""
        return self.cursor >= len(self.log) and self.out is None and not self.accepted

    def settled_to(self, op: int) -> bool:
        """Whether everything up to `op` has certainly ended on the node."""
        if self.phase is Phase.RECOVERING or self.lost:
            return False
        undone = self.undone
        return undone is None or undone > op

    def is_near(self, op: int) -> bool:
        """Whether all up to `op` will have ended in a moment: few steps, or little work, are left."""
        if self.phase is Phase.RECOVERING or self.replaying:
            return False
        requests = [request.ops for request, _ in self.accepted] + ([self.out.ops] if self.out else [])
        steps = documents = size = 0
        for step in chain(*requests, islice(self.log, self.cursor, None)):
            if step.id > op:
                break
            steps, size = steps + 1, size + step.size_bytes
            documents += step.documents if step.action in _MERGEABLE else _NEAR_DOCUMENTS // _NEAR_STEPS
            if steps > _NEAR_STEPS and (documents > _NEAR_DOCUMENTS or size > _NEAR_BYTES):
                return False
        return True

    @property
    def undone(self) -> int | None:
        """The first op that has not ended (again) on the node, None when there is none."""
        candidates = [request.first for request, _ in self.accepted]
        if self.out is not None:
            candidates.append(self.out.first)
        if self.cursor < len(self.log):
            candidates.append(self.log[self.cursor].id)
        return min(candidates, default=None)

    @property
    def replaying(self) -> bool:
        """The node holds less than it once did; it must not answer reads."""
        undone = self.undone
        return self.lost or (undone is not None and undone <= self.replay_until)

    # --- answers to the request that is out ---------------------------------------------------

    def on_accepted(self, uid: int) -> None:
        """The node enqueued it as task `uid`."""
        assert self.out is not None
        request, self.out = self.out, None
        self.phase = Phase.READY
        self._enqueue(request, uid)

    def on_refused(self) -> None:
        """It certainly never reached the node."""
        assert self.out is not None
        self._rewind_to(self.out.first)
        self.out = None
        self.phase = Phase.READY

    def on_unsure(self) -> None:
        """Nobody knows whether it reached the node."""
        assert self.out is not None
        self.phase = Phase.UNSURE

    def on_nothing(self) -> list[Outcome]:
        """There was nothing for this node in it (its replicas are no longer fed)."""
        assert self.out is not None
        request, self.out = self.out, None
        self.phase = Phase.READY
        return self._settle(request, None, was_sent=False)

    def on_rejected(self, error: dict[str, Any]) -> list[Outcome]:
        """The node refused its content for good."""
        assert self.out is not None
        request, self.out = self.out, None
        self.phase = Phase.READY
        return self._failed(request, error, was_sent=False)

    def on_listed(self, tasks: Iterable[NodeTask]) -> None:
        """While unsure: the node's tasks, read after the answer was lost, so complete but for stragglers."""
        assert self.phase is Phase.UNSURE
        assert self.out is not None
        known = {uid for uid, _ in self.history}
        for task in tasks:
            if task.uid not in known and task.ops == (self.out.first, self.out.last):
                self.on_accepted(task.uid)
                return
        self.on_refused()

    # --- what the node shows ------------------------------------------------------------------

    def recover(self, tasks: Sequence[NodeTask]) -> None:
        """After a restart: the node's tasks of this index, ascending, at least back to `applied`."""
        assert self.phase is Phase.RECOVERING
        self.phase = Phase.READY
        self._seek(self.applied)
        tagged = [
            (task.uid, task.ops) for task in tasks if task.ops is not None and task.status != "canceled"
        ]
        if not tagged:
            return
        stand = min(self.applied, tagged[0][1][1])
        expected = self.applied if self.tagged is None else self.tagged
        found: list[tuple[Request, int]] = []
        for uid, (first, last) in tagged:
            self._remember(uid, last)
            if self._gap(stand, first):
                continue  # sent before an old request came back; it will be sent again after the replay
            if last < stand:
                found = [entry for entry in found if entry[0].last <= last]
            stand = last
            ops = tuple(op for op in self.log if first <= op.id <= last)
            if ops and self.applied < last:
                found.append((Request(ops), uid))
        if stand < expected:
            self._rewind_after(stand)
            return
        stand = max(stand, self.applied)  # what ended behind the newest that has a tag has none
        # What carries no tag may or may not have arrived, and its outcome is unknown: from there on again.
        open_ops = self.log[self.cursor : bisect_right(self.log, stand, key=_id)]
        untagged = next((op.id for op in open_ops if op.action not in TAGGED), None)
        if untagged is None:
            self.accepted.extend(found)
            self._seek(stand)
        else:
            self.accepted.extend(entry for entry in found if entry[0].last < untagged)
            self._seek(untagged - 1)

    def _gap(self, stand: int, first: int) -> bool:
        """Whether ops that must carry a tag lie between where the lane stands and `first`."""
        between = self.log[bisect_right(self.log, stand, key=_id) : bisect_left(self.log, first, key=_id)]
        return any(op.action in TAGGED for op in between)

    def observe(self, task: NodeTask) -> tuple[bool, list[Outcome]]:
        """One of the node's tasks of this index. Returns (nothing more to learn from it, outcomes)."""
        for position, (request, uid) in enumerate(self.accepted):
            if uid == task.uid:
                if task.status not in _FINISHED:
                    return False, []
                del self.accepted[position]
                return True, self._ended(request, task)
        if any(uid == task.uid for uid, _ in reversed(self.history)):
            return True, []
        if self.phase is Phase.RECOVERING:
            return False, []
        if self.out is not None and self._may_be_out(task):
            return False, []
        self._stray(task)
        return True, []

    def on_missing(self, uid: int) -> None:
        """The node no longer knows a task it had accepted: what it carried is sent again, in order."""
        for position, (request, known) in enumerate(self.accepted):
            if known == uid:
                del self.accepted[position]
                self._rewind_to(request.first)
                return

    def last_named(self, upto: int) -> int | None:
        """The newest op up to `upto` that ended and that the node's tasks name; None: not known."""
        position = bisect_right(self.named, upto)
        return self.named[position - 1] if position else self.tagged

    def forget(self, before: int) -> None:
        """Drop ended ops with an id below `before`: they are not kept any longer."""
        limit = self.undone
        upto = bisect_left(self.log, before if limit is None else min(before, limit), key=_id)
        upto = min(upto, self.cursor)
        if upto:
            self.forgotten = max(self.forgotten, self.log[upto - 1].id)
        del self.log[:upto]
        self.cursor -= upto
        del self.named[: max(0, bisect_right(self.named, self.forgotten) - 1)]

    # --- inside -------------------------------------------------------------------------------

    def _may_be_out(self, task: NodeTask) -> bool:
        assert self.out is not None
        if self.out.tag is None:
            return task.ops is None
        return task.ops == (self.out.first, self.out.last)

    def _enqueue(self, request: Request, uid: int) -> None:
        self._remember(uid, request.last)
        self.accepted.append((request, uid))
        for stray, last in self.strays:
            if stray > uid and last < request.last:
                self._rewind_after(last)

    def _remember(self, uid: int, last: int) -> None:
        position = bisect_left(self.history, (uid, last))
        self.history.insert(position, (uid, last))
        if len(self.history) > _HISTORY_MAX:
            del self.history[: _HISTORY_MAX // 2]

    def _stray(self, task: NodeTask) -> None:
        """A request of ours that the node got once more than we thought."""
        if task.ops is None:
            if task.kind == "settingsUpdate":
                self.foreign_settings += 1
                self._stray_settings(task.uid)
            return
        last = task.ops[1]
        if task.kind == "documentDeletion" and last <= self.floor and self._may_be_clear(last):
            self.lost = True  # it also took what came by a copy, which is not in this log
        self.strays.append((task.uid, last))
        before = (known_last for uid, known_last in self.history if uid < task.uid)
        self._remember(task.uid, last)
        if max(before, default=-1) > last:
            self._rewind_after(last)

    def _may_be_clear(self, op: int) -> bool:
        position = bisect_left(self.log, op, key=_id)
        known = position < len(self.log) and self.log[position].id == op
        return not known or self.log[position].action is Action.CLEAR

    def _stray_settings(self, uid: int) -> None:
        """Old settings may have come back: from the newest settings op on again."""
        self._remember(uid, -1)
        sent = [op.id for op in self.log[: self.cursor] if op.action is Action.SETTINGS]
        if sent:
            self._rewind_to(sent[-1])

    def _ended(self, request: Request, task: NodeTask) -> list[Outcome]:
        if task.status == "canceled":
            self._rewind_to(request.first)
            return []
        if task.status == "failed":
            return self._failed(request, task.error or {})
        return self._settle(request, None)

    def _failed(self, request: Request, error: dict[str, Any], *, was_sent: bool = True) -> list[Outcome]:
        if len(request.ops) == 1:
            return self._settle(request, error, was_sent=was_sent)
        # One of them is at fault: each alone, and what was sent behind them once more, to keep the order.
        self.alone_until = max(self.alone_until, request.last)
        self._rewind_to(request.first)
        return []

    def _settle(
        self, request: Request, error: dict[str, Any] | None, *, was_sent: bool = True
    ) -> list[Outcome]:
        """`was_sent`: the node made a task of it."""
        if was_sent and request.tag is not None:
            position = bisect_left(self.named, request.first)
            self.named[position:] = sorted({*self.named[position:], *(op.id for op in request.ops)})
        undone = self.undone
        self.applied = max(self.applied, request.last if undone is None else min(request.last, undone - 1))
        again = self.log[self.cursor].id if self.cursor < len(self.log) else None
        # What will be sent again has not ended: the node does not hold it for good before.
        return [Outcome(op.id, error) for op in request.ops if again is None or op.id < again]

    def _seek(self, op: int) -> None:
        self.cursor = bisect_right(self.log, op, key=_id)

    def _rewind_to(self, op: int) -> None:
        """Send everything from `op` on (again)."""
        self.cursor = min(self.cursor, bisect_left(self.log, op, key=_id))

    def _rewind_after(self, op: int) -> None:
        """An old request has overwritten newer ones: everything after `op` again."""
        self.replay_until = max(self.replay_until, self.log[self.cursor - 1].id if self.cursor else -1)
        if op < self.forgotten:
            self.lost = True
        else:
            self._rewind_to(op + 1)


def _id(op: LaneOp) -> int:
    return op.id

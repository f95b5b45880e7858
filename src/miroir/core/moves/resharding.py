"""Another number of shards for an index: from what is, to the next step (docs/adr/0014-reshard.md). Pure.

Nothing is remembered but the names of both layouts: which of them is read, and whether the other is fed, says where
the operation stands. So every step can be asked for again after a crash.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from miroir.core.moves.operation_records import OperationRecord, OperationState
from miroir.core.moves.operations import Finish, Wait


class Act(StrEnum):
    """What to do next for a change of the number of shards."""

    BEGIN = "begin"  #: the new layout comes into being
    COPY = "copy"  #: bring it to where it should stand
    SWITCH = "switch"  #: verify it, then read it
    GO_BACK = "go_back"  #: verify the old one, then read that
    LET_GO_OLD = "let_go_old"
    LET_GO_NEW = "let_go_new"


@dataclass(frozen=True, slots=True)
class ReshardSight:
    """What is known around the operation now."""

    read: str | None  #: the layout that is read; None: the index is gone
    other: str | None  #: the one that is fed beside it
    copied: bool  #: every replica of the new layout is where it should be
    copies: bool  #: copies of the operation run
    whole: bool  #: every shard of the layout that is read has a copy in sync
    remains: frozenset[str]  #: layouts of which live nodes still hold something
    now_ns: int


def next_act(operation: OperationRecord, sight: ReshardSight) -> Act | Wait | Finish:
    """The next step; asking again without doing anything gives the same answer."""
    reshard = operation.reshard
    assert reshard is not None
    if sight.read is None:
        return Wait("copies are being taken back") if sight.copies else _gone()
    if operation.state is OperationState.CANCELLING:
        return _back(reshard.old, reshard.new, sight)
    if operation.state is OperationState.PAUSED:
        return Wait("paused")
    if reshard.new is None:
        return Act.BEGIN
    if sight.read == reshard.old:
        return Act.SWITCH if sight.copied else Act.COPY
    if sight.other == reshard.old:
        if sight.now_ns < reshard.kept_until:
            return Wait("readers use the new layout; the old one is kept for a while: cancel goes back to it")
        if not sight.whole:
            return Wait("shards of the new layout have no copy in sync: they are made anew from the old one")
        return Act.LET_GO_OLD
    if reshard.old in sight.remains:
        return Wait("the old layout is being deleted")
    return Finish(OperationState.DONE)


def _back(old: str, new: str | None, sight: ReshardSight) -> Act | Wait | Finish:
    """Cancelled: the old layout is read again, if it still exists."""
    if new is None:
        return Finish(OperationState.CANCELLED)
    if sight.read == new:
        if sight.other == old:
            return Act.GO_BACK
        return Finish(OperationState.DONE, "too late to go back: the old layout is gone")
    if sight.copies:
        return Wait("copies are being taken back")
    if sight.other == new:
        return Act.LET_GO_NEW
    if new in sight.remains:
        return Wait("the new layout is being deleted")
    return Finish(OperationState.CANCELLED)


def _gone() -> Finish:
    return Finish(OperationState.CANCELLED, "the index was deleted")


def is_building(operation: OperationRecord, read: str | None) -> bool:
    """Whether the operation's new layout is not readable yet: other operations leave it alone."""
    reshard = operation.reshard
    return operation.open and reshard is not None and reshard.new is not None and read == reshard.old

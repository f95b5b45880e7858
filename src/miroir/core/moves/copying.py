"""The copy of shards to a node, as pure steps over stored values (design.md, D4).

A copy is begun, its pages are written, the ops held meanwhile are replayed, and a flip makes the target readable.
Each function returns what the placement becomes; `check_change` then looks at it once more with other eyes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from miroir.core.moves.operation_records import CopyPhase, CopyRecord
from miroir.core.records import PlacementRecord
from miroir.core.topology import ReplicaState
from miroir.errors import MiroirError

COPYING, IN_SYNC = ReplicaState.COPYING, ReplicaState.IN_SYNC
STALE, RETIRING = ReplicaState.STALE, ReplicaState.RETIRING


class UnsafeChangeError(MiroirError):
    """A change of the placement that would lose data or skip a step; nothing was changed."""


class CopyAct(StrEnum):
    """What to do next for a copy."""

    BEGIN = "begin"
    WRITE_PAGES = "write_pages"
    FOLLOW = "follow"
    ABANDON = "abandon"
    WAIT = "wait"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class CopySight:
    """What is known around a copy now."""

    index_exists: bool
    wanted: bool  #: its operation was not cancelled
    paused: bool
    target_live: bool
    target_gone: bool  #: down for longer than the grace time
    cleaning: bool  #: the target still deletes shards it no longer holds
    source: str | None  #: a live in-sync node, caught up to the boundary


def next_act(copy: CopyRecord, sight: CopySight) -> CopyAct:
    """The next step of a copy; asking again without doing anything gives the same answer."""
    if copy.over:
        return CopyAct.NOTHING
    if not (sight.index_exists and sight.wanted) or sight.target_gone:
        return CopyAct.ABANDON
    if sight.paused or not sight.target_live:
        return CopyAct.WAIT
    if copy.phase is CopyPhase.PLANNED:
        return CopyAct.WAIT if sight.cleaning else CopyAct.BEGIN
    if sight.source is None:
        return CopyAct.WAIT
    return CopyAct.WRITE_PAGES if copy.phase is CopyPhase.COPYING else CopyAct.FOLLOW


# --- what a step does to the placement ----------------------------------------------------------


def begin(record: PlacementRecord, copy: CopyRecord, *, boundary: int) -> tuple[PlacementRecord, CopyRecord]:
    """The target becomes a copying replica; shards that need no copy any more are left out.

    Not while the target is rid of others: its whole index may be on its way out.
    """
    shards = _open(record)
    if any(replicas.get(copy.target) is RETIRING for replicas in shards):
        return record, copy
    taken: list[tuple[int, str | None]] = []
    rebuilt = []
    for shard, leaves in zip(copy.shards, copy.leaves, strict=True):
        state = shards[shard].get(copy.target)
        sources = [n for n, s in shards[shard].items() if s is IN_SYNC and n != copy.target]
        if state is IN_SYNC or (copy.origin is None and not sources):
            continue
        if state is STALE:
            rebuilt.append(shard)
        shards[shard][copy.target] = COPYING
        taken.append((shard, leaves))
    begun = msgspec.structs.replace(
        copy,
        shards=tuple(shard for shard, _ in taken),
        leaves=tuple(leaves for _, leaves in taken),
        rebuilt=tuple(rebuilt),
        boundary=boundary,
        followed=boundary,
        phase=CopyPhase.COPYING if taken else CopyPhase.ABANDONED,
    )
    return _closed(record, shards), begun


def flip(record: PlacementRecord, copy: CopyRecord, *, last_op: int) -> tuple[PlacementRecord, CopyRecord]:
    """The target is readable, and feeds from the op after `last_op` on; what leaves is retiring."""
    shards = _open(record)
    since = {node: dict(of) for node, of in record.since.items()}
    mine = since.setdefault(copy.target, {})
    for shard, leaves in zip(copy.shards, copy.leaves, strict=True):
        if shards[shard].get(copy.target) is not COPYING:
            raise UnsafeChangeError(f"shard {shard} on {copy.target} is not being copied")
        shards[shard][copy.target] = IN_SYNC
        mine[shard] = last_op
        if leaves is not None and shards[shard].get(leaves) in (IN_SYNC, STALE):
            shards[shard][leaves] = RETIRING
    done = msgspec.structs.replace(copy, phase=CopyPhase.DONE)
    return _closed(record, shards, since), done


def begin_again(copy: CopyRecord) -> CopyRecord:
    """The copies differed, or the target lost what it had: all pages once more. Held ops stay held."""
    return msgspec.structs.replace(
        copy, phase=CopyPhase.COPYING, cursor=None, followed=copy.boundary, attempts=copy.attempts + 1
    )


def abandon(record: PlacementRecord | None, copy: CopyRecord) -> tuple[PlacementRecord | None, CopyRecord]:
    """The target goes back to what it was: stale, or nothing (by way of retiring, which deletes what it got)."""
    ended = msgspec.structs.replace(copy, phase=CopyPhase.ABANDONED)
    if record is None or not copy.active:
        return record, ended
    shards = _open(record)
    for shard in copy.shards:
        if shards[shard].get(copy.target) is COPYING:
            shards[shard][copy.target] = STALE if shard in copy.rebuilt else RETIRING
    return _closed(record, shards), ended


def drop(record: PlacementRecord, node: str, dropped: Collection[int]) -> PlacementRecord:
    """Replicas on `node` that are too many retire; those that are the only readable ones stay."""
    shards = _open(record)
    for shard in dropped:
        others = any(s is IN_SYNC for n, s in shards[shard].items() if n != node)
        if shards[shard].get(node) in (IN_SYNC, STALE) and others:
            shards[shard][node] = RETIRING
    return _closed(record, shards)


def give_up(record: PlacementRecord, node: str, found: Collection[int]) -> PlacementRecord:
    """Documents of these shards lie on a node that was never given them, or no longer has them: they retire."""
    shards = _open(record)
    for shard in found:
        if shard < len(shards):
            shards[shard].setdefault(node, RETIRING)
    return _closed(record, shards)


def forget(record: PlacementRecord, node: str, retired: Collection[int]) -> PlacementRecord:
    """Retiring replicas whose documents are deleted leave the table."""
    shards = _open(record)
    since = {name: dict(of) for name, of in record.since.items()}
    for shard in retired:
        if shards[shard].get(node) is RETIRING:
            del shards[shard][node]
            since.get(node, {}).pop(shard, None)
    return _closed(record, shards, {name: of for name, of in since.items() if of})


#: state before -> states it may become; absence is None
_FORWARD: Mapping[ReplicaState | None, frozenset[ReplicaState | None]] = {
    None: frozenset({COPYING, RETIRING}),  # found where it should not be, it goes
    COPYING: frozenset({IN_SYNC, STALE, RETIRING}),
    IN_SYNC: frozenset({STALE, RETIRING}),
    STALE: frozenset({COPYING, RETIRING}),
    RETIRING: frozenset({None}),
}


def let_go(record: PlacementRecord) -> PlacementRecord:
    """A layout that nobody reads goes: every replica retires."""
    return _closed(record, [dict.fromkeys(replicas, RETIRING) for replicas in record.shards])


def check_change(before: PlacementRecord, after: PlacementRecord, *, unread: bool = False) -> None:
    """Raise UnsafeChangeError unless `after` may follow `before`.

    No shard loses its last in-sync replica, unless nobody reads the layout, and every replica goes its way step by
    step. Written without the functions above, to notice when one of them is wrong.
    """
    if len(before.shards) != len(after.shards):
        raise UnsafeChangeError("the number of shards changed")
    for shard, (old, new) in enumerate(zip(before.shards, after.shards, strict=True)):
        if not unread and IN_SYNC in old.values() and IN_SYNC not in new.values():
            raise UnsafeChangeError(f"shard {shard} would lose its last in-sync replica")
        for node in {*old, *new}:
            was, becomes = old.get(node), new.get(node)
            if was is not becomes and becomes not in _FORWARD[was]:
                raise UnsafeChangeError(f"shard {shard} on {node} would go from {was} to {becomes}")


def _open(record: PlacementRecord) -> list[dict[str, ReplicaState]]:
    return [dict(replicas) for replicas in record.shards]


def _closed(
    record: PlacementRecord,
    shards: list[dict[str, ReplicaState]],
    since: dict[str, dict[int, int]] | None = None,
) -> PlacementRecord:
    since = record.since if since is None else since
    return msgspec.structs.replace(record, shards=tuple(shards), since=since)

"""Rows of the store that moving data needs: operations, their moves, and copies.

Pure values, encoded like `core/records.py`: fields are only ever added, with a default.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec


class OperationKind(StrEnum):
    """What an operation is for. All but `remove_node` bring the placement to what the node list asks for."""

    ADD_NODES = "add_nodes"
    DRAIN = "drain"
    UNDRAIN = "undrain"
    REMOVE_NODE = "remove_node"
    ADD_GROUP = "add_group"
    REMOVE_GROUP = "remove_group"
    SET_REPLICATION_FACTOR = "set_replication_factor"
    REBALANCE = "rebalance"
    RESTORE = "restore"  #: started by itself for nodes that are gone
    RESYNC = "resync"  #: started by itself for replicas that are stale
    VERIFY = "verify"
    RESHARD = "reshard"


class OperationState(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


class Move(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One replica to be made, one to go, or both as one step.

    `target` None: a replica too many goes. `leaves` None: nothing goes in return. `target` may hold a stale replica.
    """

    physical: str
    shard: int
    target: str | None = None
    leaves: str | None = None


class CopyPhase(StrEnum):
    """Stored phases; `done` is stored in the transaction that flips the placement."""

    PLANNED = "planned"
    COPYING = "copying"  #: the target is in the placement, later ops are held for it
    FOLLOWING = "following"  #: held ops are replayed, in order
    DONE = "done"
    ABANDONED = "abandoned"


class CopyRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Shards of one index on their way to one node (design.md, D4)."""

    id: int
    operation: int
    physical: str
    target: str
    shards: tuple[int, ...]
    leaves: tuple[str | None, ...]  #: aligned with `shards`
    origin: str | None = None  #: the layout that is read; None: the same
    phase: CopyPhase = CopyPhase.PLANNED
    rebuilt: tuple[int, ...] = ()  #: shards of which the target held a stale replica before
    boundary: int = -1  #: the last op of the index that the pages may be taken to contain
    cursor: str | None = None  #: ids up to here, in their order as texts, are on the target
    followed: int = -1  #: the last op replayed on the target
    attempts: int = 0  #: times it was begun anew because the copies differed
    documents: int = 0
    size_bytes: int = 0
    started_at: int = 0
    ended_at: int = 0

    @property
    def active(self) -> bool:
        """Whether it has begun and not ended."""
        return self.phase in (CopyPhase.COPYING, CopyPhase.FOLLOWING)

    @property
    def over(self) -> bool:
        return self.phase in (CopyPhase.DONE, CopyPhase.ABANDONED)


class Preview(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a plan costs. `exact`: its documents were counted on nodes, not estimated from averages."""

    replicas: int = 0
    documents: int = 0
    size_bytes: int = 0
    seconds: float = 0.0
    peak_bytes: dict[
        str, int
    ] = {}  #: node -> bytes of documents added at most while the old copies still exist
    peak_disk_bytes: dict[str, int] = {}  #: node -> its disk then, as far as it can be told
    exact: bool = False


class Reshard(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a change of the number of shards is about; where it stands is in the catalogue."""

    index: str  #: its key, whatever it is called
    old: str  #: the layout that was read
    new: str | None = None  #: the other one, once it exists
    retention_s: float = 0.0
    kept_until: int = 0  #: ns since 1970; set when readers went to the new one


class OperationRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One operation: what was asked, what was planned, how far it is."""

    id: int
    kind: OperationKind
    args: dict[str, Any] = {}
    state: OperationState = OperationState.RUNNING
    moves: tuple[Move, ...] = ()
    planned: Preview = Preview()
    replans: int = 0
    replicas_moved: int = 0
    documents_moved: int = 0
    bytes_moved: int = 0
    copies_again: int = 0
    cursor: tuple[str, int] | None = None  #: of a comparison: the last shard compared
    checked: int = 0  #: replicas compared
    repaired: int = 0  #: ... that differed
    created_at: int = 0
    ended_at: int = 0
    reason: str | None = None  #: why it ended as it did, or is cancelled
    reshard: Reshard | None = None

    @property
    def open(self) -> bool:
        return self.state in (OperationState.RUNNING, OperationState.PAUSED, OperationState.CANCELLING)

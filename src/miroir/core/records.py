"""Rows of the orchestrator's store: what an accepted op, an index, a lane and a node are on disk.

Pure values and their encoding. Fields are only ever added, with a default, so that an older row still reads.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from miroir.core.topology import ReplicaState

S = TypeVar("S")


class OpRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One accepted mutation. Its payload (documents, ids) is a row of its own; its task too."""

    id: int
    kind: str  #: core.ops.OpKind
    names: tuple[str, ...]  #: logical uids whose earlier ops it must wait for
    index_uid: str | None = None
    args: dict[str, Any] = {}
    payload_bytes: int = 0
    accepted_at: int = 0
    #: accepted -> sequenced (resolution stored) -> done (task finished; kept until the lanes are done)
    stage: str = "accepted"


class IndexState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One index by physical uid, as of some op."""

    physical: str
    created_at: int
    updated_at: int
    primary_key: str | None = None
    settings: dict[str, Any] = {}  #: the client's effective settings
    field_order: tuple[str, ...] = ()
    exact: bool = False
    document_count: int = 0
    field_distribution: dict[str, int] = {}
    read_layout: str | None = None  #: the layout that is read; None: it is named as the index
    other_layout: str | None = None  #: a second one that is fed, of the sequenced catalogue

    @property
    def layout(self) -> str:
        """Name on the nodes of what is read."""
        return self.read_layout or self.physical

    @property
    def layouts(self) -> tuple[str, ...]:
        """Every layout that is fed, the one that is read first."""
        return (self.layout,) if self.other_layout is None else (self.layout, self.other_layout)


class IndexChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one op changes of one index; UNSET fields stay."""

    created: IndexState | None = None
    primary_key: str | msgspec.UnsetType | None = msgspec.UNSET
    settings: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    new_fields: tuple[str, ...] = ()
    document_count: int | msgspec.UnsetType = msgspec.UNSET
    field_distribution: dict[str, int] | msgspec.UnsetType = msgspec.UNSET
    exact: bool | msgspec.UnsetType = msgspec.UNSET


class CatalogueChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one op changes of the catalogue; applied first to the sequenced, at completion to the visible one."""

    names: dict[str, str | None] = {}  #: logical -> physical; None removes the name
    indexes: dict[str, IndexChange] = {}
    relabel: dict[str, str] = {}  #: logical uid of earlier tasks -> new label


class Resolution(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an op became once everything before it was known; holds no decision that is still open."""

    physical: str | None = None
    #: core.ops.Action: what lanes deliver
    action: str = "none"
    read_layout: str | None = None  #: of the index at that time; None: named as the index
    other_layout: str | None = None  #: ... the second one, when there was one
    other_shards: tuple[int, ...] = ()  #: shards touched there
    #: aligned with the payload's documents; -1 = not written (skipCreation, superseded)
    seqs: list[int] = []
    ids: list[str] = []  #: of a deletion: ids that existed
    shards: tuple[int, ...] = ()  #: shards touched; empty with `everywhere`
    everywhere: bool = False  #: every node of the index gets it (settings, clear, create, drop)
    merge: bool = False
    primary_key: str | None = None
    node_settings: dict[str, Any] | None = None
    change: CatalogueChange | None = None
    #: of an exact index: NDJSON of the ghosts that this op changes, for all of its nodes
    ghosts: bytes = b""
    ghosts_key: str | None = None  #: their primary key
    details: dict[str, Any] | None = None  #: of the task, once it succeeded
    error: dict[str, Any] | None = None  #: failed before any node saw it

    @property
    def layouts(self) -> tuple[str, ...]:
        """Every layout whose nodes get the op; tasks wait for the first."""
        if self.physical is None:
            return ()
        read = self.read_layout or self.physical
        return (read,) if self.other_layout is None else (read, self.other_layout)

    def shards_in(self, layout: str) -> tuple[int, ...]:
        """Shards touched in one of its layouts."""
        return self.other_shards if layout == self.other_layout else self.shards


#: of an op whatever it holds: its rows, its task
_OP_BYTES = 1000
_NUMBER_BYTES = 8


def kept_bytes(op: OpRecord, resolution: Resolution | None) -> int:
    """About what an op takes in the log; one without a payload may have become a million ids."""
    size = _OP_BYTES + op.payload_bytes
    if resolution is not None:
        size += len(resolution.ghosts) + _NUMBER_BYTES * (len(resolution.seqs) + len(resolution.ids))
        size += sum(map(len, resolution.ids))
    return size


class PlacementRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Which replicas of a layout exist; changed by compare-and-set on the cluster's epoch."""

    shards: tuple[dict[str, ReplicaState], ...]
    epoch: int
    #: node -> shard -> op: replicas that came by a copy get ops after this one through their node's lane
    since: dict[str, dict[int, int]] = {}
    index: str | None = None  #: whose layout it is; None: of the index of the same name


class LaneRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far one (node, physical index) is."""

    #: every step (three per op) up to here is done on the node
    applied: int = -1
    forgotten: int = -1  #: steps up to here are no longer in the log
    tagged: int | None = None  #: the newest step up to `applied` that the node's tasks name; None: not known
    lagging: bool = False  #: the cluster reported an op as done that this lane has not applied
    #: shards that such ops touch, while the lane lags; None: all of them
    behind: frozenset[int] | None = None


def forgetting(record: LaneRecord | None, step: int) -> LaneRecord:
    """The same, steps up to `step` no longer in the log."""
    old = record or LaneRecord()
    return msgspec.structs.replace(old, forgotten=max(old.forgotten, step))


class NodeRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    address: str
    group: int = 0
    weight: float | None = None  #: None: nobody said, so 1
    lifecycle: str = "active"
    identity: str | None = None  #: written on the node at first contact; another one means another disk
    version: str | None = None


def weight_of(node: NodeRecord) -> float:
    """How many shards a node takes, relative to others."""
    return 1.0 if node.weight is None else node.weight


class IdempotencyRecord(msgspec.Struct, frozen=True, kw_only=True):
    body_sha256: bytes
    op_id: int
    expires_at: int


_encoder = msgspec.msgpack.Encoder()
_decoders: dict[type, msgspec.msgpack.Decoder[Any]] = {}


def encode(record: object) -> bytes:
    """Bytes of a row."""
    return _encoder.encode(record)


def decode(kind: type[S], row: bytes) -> S:
    """Inverse of `encode`. Raises msgspec.ValidationError on a row of another shape."""
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.msgpack.Decoder(kind)
    value: S = decoder.decode(row)
    return value

"""Ops: one accepted mutation each, what it waits for, and what lanes deliver of it."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum


class OpKind(StrEnum):
    """What the client asked for."""

    DOCUMENTS_ADD = "documents_add"
    DOCUMENTS_DELETE = "documents_delete"
    DOCUMENTS_DELETE_FILTER = "documents_delete_filter"
    DOCUMENTS_CLEAR = "documents_clear"
    DOCUMENTS_EDIT = "documents_edit"
    SETTINGS = "settings"
    INDEX_CREATE = "index_create"
    INDEX_DELETE = "index_delete"
    INDEX_UPDATE = "index_update"
    INDEX_SWAP = "index_swap"
    INDEX_COMPACT = "index_compact"
    INDEX_EXACT = "index_exact"  #: from now on, or no longer, reads leave ghosts out
    INDEX_GHOSTS = "index_ghosts"  #: every ghost made anew from the documents
    DUMP = "dump"


class Action(StrEnum):
    """What a lane does on its node for an op, after resolution."""

    NONE = "none"  #: the catalogue changed, no node need know
    ADD = "add"  #: documents, replace or merge
    DELETE = "delete"  #: explicit ids
    GHOSTS = "ghosts"  #: hidden documents of an exact index, to every node of it
    UNGHOST = "unghost"  #: all of those go
    CLEAR = "clear"
    SETTINGS = "settings"  #: all node settings; makes the index when it is not there
    PRIMARY_KEY = "primary_key"
    DROP = "drop"  #: the physical index goes; nobody waits for it


#: Meilisearch's task type of each kind.
TASK_TYPES = {
    OpKind.DOCUMENTS_ADD: "documentAdditionOrUpdate",
    OpKind.DOCUMENTS_DELETE: "documentDeletion",
    OpKind.DOCUMENTS_DELETE_FILTER: "documentDeletion",
    OpKind.DOCUMENTS_CLEAR: "documentDeletion",
    OpKind.DOCUMENTS_EDIT: "documentEdition",
    OpKind.SETTINGS: "settingsUpdate",
    OpKind.INDEX_CREATE: "indexCreation",
    OpKind.INDEX_DELETE: "indexDeletion",
    OpKind.INDEX_UPDATE: "indexUpdate",
    OpKind.INDEX_SWAP: "indexSwap",
    OpKind.INDEX_COMPACT: "indexCompaction",
    OpKind.INDEX_EXACT: "settingsUpdate",
    OpKind.INDEX_GHOSTS: "settingsUpdate",
    OpKind.DUMP: "dumpCreation",
}

#: Kinds that need nodes to stand at exactly their place in the log: resolved once everything before them is applied.
BARRIERS = frozenset(
    {
        OpKind.DOCUMENTS_DELETE_FILTER,
        OpKind.DOCUMENTS_EDIT,
        OpKind.INDEX_COMPACT,
        OpKind.INDEX_GHOSTS,
        OpKind.DUMP,
    }
)

_PREFIX = "miroir-op-"
_SHARDS_PREFIX = "miroir-shards-"
_NAMED_SHARDS_MAX = 64


def tag(first: int, last: int) -> str:
    """`customMetadata` of a node request that carries ops `first` to `last` of one index."""
    return f"{_PREFIX}{first}-{last}"


def shards_tag(what: str, shards: Collection[int]) -> str:
    """`customMetadata` of a node request that is about whole shards; with too many to name, about all."""
    named = ".".join(map(str, sorted(shards))) if len(shards) <= _NAMED_SHARDS_MAX else ""
    return f"{_SHARDS_PREFIX}{what}:{named}"


def parse_shards_tag(metadata: object) -> tuple[int, ...] | None:
    """Shards of such a tag, none for all of them; None for anything else."""
    if not isinstance(metadata, str) or not metadata.startswith(_SHARDS_PREFIX):
        return None
    return tuple(int(one) for one in metadata.rpartition(":")[2].split(".") if one.isdecimal())


def parse_tag(metadata: object) -> tuple[int, int] | None:
    """(first, last) of a tag of ours, None for anything else."""
    if not isinstance(metadata, str) or not metadata.startswith(_PREFIX):
        return None
    first, _, last = metadata[len(_PREFIX) :].partition("-")
    return (int(first), int(last)) if first.isdecimal() and last.isdecimal() else None


class NameQueues:
    """Order between ops that share a logical name: an op is at the head when it is first in all its names.

    Swap and rename carry several names, which is what ties the orders of two names together. Invariant: the
    ids in each queue grow.
    """

    def __init__(self) -> None:
        self._queues: dict[str, dict[int, None]] = {}
        self._names: dict[int, tuple[str, ...]] = {}
        self._nameless: set[int] = set()

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, op: int) -> bool:
        return op in self._names

    def add(self, op: int, names: tuple[str, ...]) -> None:
        """Queue `op` behind everything that shares a name with it. Ops come in the order of their ids."""
        self._names[op] = names
        if not names:
            self._nameless.add(op)
        for name in names:
            self._queues.setdefault(name, {})[op] = None

    def is_head(self, op: int) -> bool:
        """Whether nothing before `op` shares a name with it."""
        return all(next(iter(self._queues[name])) == op for name in self._names[op])

    def remove(self, op: int) -> list[int]:
        """Take `op` out; return ops that are at the head now, ascending."""
        candidates = set()
        self._nameless.discard(op)
        for name in self._names.pop(op):
            queue = self._queues[name]
            del queue[op]
            if queue:
                candidates.add(next(iter(queue)))
            else:
                del self._queues[name]
        return sorted(candidate for candidate in candidates if self.is_head(candidate))

    def heads(self) -> list[int]:
        """Every op at the head, ascending."""
        first = {next(iter(queue)) for queue in self._queues.values()}
        return sorted(self._nameless | {op for op in first if self.is_head(op)})

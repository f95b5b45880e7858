"""Durable state of the orchestrator: named tables of ordered keys, changed by atomic transactions.

The store knows nothing of ops or indexes: keys are tuples of integers and strings, values are bytes (encoded
by `core/records.py`). Everything that must change together changes in one `transact`. A small port on purpose:
get, put, delete, scan and an atomic step is what SQLite, Redis and a dict can all give.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Protocol, TypeVar

from miroir.errors import MiroirError

#: Sorts like the tuple; integers are >= 0 and come before strings; strings hold no NUL.
Key = tuple[int | str, ...]
T = TypeVar("T")


class Table(StrEnum):
    """Every table: its name, its key -> its value."""

    META = "meta"  #: (name,) -> cluster id, epoch, next op id, next physical number
    NODES = "nodes"  #: (node id,) -> core.records.NodeRecord
    CATALOGUE = (
        "catalogue"  #: (which, "name", logical uid) -> physical uid; (which, "index", physical) -> IndexState
    )
    PLACEMENT = "placement"  #: (physical uid,) -> PlacementRecord
    OPS = "ops"  #: (op id,) -> OpRecord, until its lanes are done with it
    PAYLOADS = "payloads"  #: (op id,) -> documents or ids as accepted
    RESOLUTIONS = "resolutions"  #: (op id,) -> Resolution
    TASKS = "tasks"  #: (op id,) -> meili.tasks.Task
    DOCUMENTS = "documents"  #: (physical uid, document id) -> [sequence number, field set]
    LANES = "lanes"  #: (physical uid, node id) -> LaneRecord
    KEYS = "keys"  #: (uid,) -> API key
    WEBHOOKS = "webhooks"  #: (uid,) -> webhook
    FEATURES = "features"  #: ("features",) -> experimental features
    OPERATIONS = "operations"  #: (operation id,) -> core.operation_records.OperationRecord
    COPIES = "copies"  #: (copy id,) -> core.operation_records.CopyRecord, until its operation ends
    IDEMPOTENCY = "idempotency"  #: (key uid, method, path, idempotency key) -> IdempotencyRecord


class StoreError(MiroirError):
    """The store did not do it: nothing of the transaction is kept."""


class StoreFullError(StoreError):
    """There is no room on the disk: nothing of the transaction is kept."""


class Conflict(StoreError):  # noqa: N818 - the name in errors.py
    """A compare-and-set lost: load again."""


class Reader(Protocol):
    """A consistent picture of the store, valid only inside the function it was given to."""

    def get(self, table: Table, key: Key) -> bytes | None: ...

    def get_many(self, table: Table, keys: Sequence[Key]) -> list[bytes | None]:
        """Values in the order of `keys`; None where there is none."""
        ...

    def scan(
        self, table: Table, prefix: Key = (), *, start: Key | None = None, limit: int | None = None
    ) -> Iterator[tuple[Key, bytes]]:
        """Rows whose key begins with `prefix`, in key order, from `start` (inclusive) on."""
        ...

    def values(self, table: Table, prefix: Key = ()) -> Iterator[bytes]:
        """The values that `scan` would give, in key order: several times as fast where keys do not matter."""
        ...


class Tx(Reader, Protocol):
    """A transaction: reads see its own writes."""

    def put(self, table: Table, key: Key, value: bytes) -> None: ...
    def put_many(self, table: Table, rows: Iterable[tuple[Key, bytes]]) -> None: ...
    def delete(self, table: Table, key: Key) -> None: ...
    def delete_many(self, table: Table, keys: Iterable[Key]) -> None: ...
    def delete_prefix(self, table: Table, prefix: Key) -> None: ...


class Store(Protocol):
    """Where state survives a crash.

    Promise: transactions run one after another, each atomic and durable (on disk) when `transact` returns. A
    cancelled `transact` may or may not have happened. `fn` runs synchronously, possibly in another thread: it
    touches nothing but its transaction and values nobody else changes meanwhile.
    """

    async def transact(self, fn: Callable[[Tx], T]) -> T:
        """Run `fn` in one transaction; its exception undoes the transaction and is raised here.

        Raises StoreError when the disk refuses.
        """
        ...

    def read(self, fn: Callable[[Reader], T]) -> T:
        """Run `fn` on a consistent picture of what is committed. Blocks; keep it short."""
        ...

    def close(self) -> None:
        """Finish what is queued, release the file. Idempotent."""
        ...

"""The op log: what was accepted, in order, durably; and the tasks that clients see of it.

One appender takes everything that waits and stores it in one transaction (group commit). A client that hangs up
does not stop its op once it waits here. Everything unfinished is also in memory; payloads only within a bound.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import orjson
import structlog

from miroir.core.records import (
    IdempotencyRecord,
    LaneRecord,
    OpRecord,
    Resolution,
    decode,
    encode,
    forgetting,
    kept_bytes,
)
from miroir.core.writes.ops import TASK_TYPES, OpKind
from miroir.core.writes.resolutions import Resolutions
from miroir.core.writes.task_table import TaskTable
from miroir.core.writes.write_limits import WriteLimits
from miroir.meili.codes import ApiError
from miroir.meili.large_documents import SentDocuments
from miroir.meili.tasks import FINISHED, Task
from miroir.ports.store import Key, Reader, Store, StoreError, Table, Tx
from miroir.services.writes.stored_documents import StoredDocuments, load_pages, store_pages

log = structlog.get_logger()

_NEXT_OP = ("next_op",)
_KEYS_PER_LOOK = 200
#: part of the bytes that it may keep above which whoever lags is given up
_FULL = 0.9
#: bytes of memory that a decoded payload takes per byte of its text
_DECODED_COST = 10
#: ... and what is kept of each document of a large one
_STORED_COST = 100


@dataclass(frozen=True, slots=True)
class Draft:
    """An op on its way into the log. `payload` is a JSON value (documents or ids), None without one."""

    kind: OpKind
    names: tuple[str, ...]
    index_uid: str | None
    args: dict[str, Any] = field(default_factory=dict)
    payload: Any = None
    details: dict[str, Any] | None = None
    custom_metadata: str | None = None
    swaps: tuple[tuple[str, str], ...] = ()
    idempotency: tuple[Key, bytes] | None = None  #: (scope and key, digest of the request)


@dataclass(slots=True)
class _Waiting:
    draft: Draft
    payload: bytes | SentDocuments
    size: int
    future: asyncio.Future[Task]


class OpLog:
    """Appends ops; remembers tasks, unfinished ops, their payloads and resolutions."""

    def __init__(self, store: Store, limits: WriteLimits, now_ns: Callable[[], int]) -> None:
        self._store = store
        self._limits = limits
        self._now_ns = now_ns
        self._waiting: list[_Waiting] = []
        self._wake = asyncio.Event()
        self.ops: dict[int, OpRecord] = {}  #: in the log, done ones until they are dropped
        self.resolutions = Resolutions()
        self.tasks = TaskTable()
        self.claimed: set[int] = set()  #: being sequenced: too late to cancel
        self.open_count = 0  #: ops whose task has not ended
        #: key of an index, or none -> ops about it whose task has ended, in this order, until they are dropped
        self.ended: dict[str, deque[int]] = {}
        self.kept_bytes = 0  #: of all ops in the log, about
        self._payloads: OrderedDict[int, tuple[Any, int]] = OrderedDict()
        self._cached_bytes = 0
        self._key_cursor: Key | None = None  #: where the next look for expired idempotency keys begins
        self._on_append: Callable[[OpRecord], None] = lambda op: None

    def on_append(self, listener: Callable[[OpRecord], None]) -> None:
        """Call `listener` with every op once it is durable, in order."""
        self._on_append = listener

    def open(self) -> None:
        """Load everything from the store."""

        def load(reader: Reader) -> None:
            self.ops = {o.id: o for _, v in reader.scan(Table.OPS) for o in (decode(OpRecord, v),)}
            self.resolutions = Resolutions(
                (int(k[0]), decode(Resolution, v)) for k, v in reader.scan(Table.RESOLUTIONS)
            )
            self.tasks = TaskTable(decode(Task, v) for _, v in reader.scan(Table.TASKS))

        self._store.read(load)
        self.kept_bytes = sum(kept_bytes(op, self.resolutions.get(op.id)) for op in self.ops.values())
        self.open_count = len(self.ops)
        for op in sorted(self.ops.values(), key=lambda op: op.id):
            if op.stage == "done":
                self.end(op)

    @property
    def is_nearly_full(self) -> bool:
        """Whether writes are soon refused, if nothing is forgotten."""
        return self.kept_bytes > self._limits.log_bytes_max * _FULL

    def has_outlived(self, op: int) -> bool:
        """Whether the op would have been forgotten by now if nobody needed it."""
        record, task = self.ops.get(op), self.tasks.get(op)
        if record is None or record.stage != "done":
            return False
        ended_at = 0 if task is None else task.finished_at or 0
        return self._now_ns() - ended_at > self._limits.keep_done_s * 1e9

    def end(self, op: OpRecord) -> None:
        """The task of an op has ended, and that is stored. Ops of one index end in their order."""
        self.ops[op.id] = op
        self.open_count -= 1
        resolution = self.resolutions.get(op.id)
        physical = None if resolution is None else resolution.physical
        self.ended.setdefault(physical or "", deque()).append(op.id)

    async def append(self, draft: Draft) -> Task:
        """Store one op; returns its task (an earlier one for a repeated idempotency key).

        Raises:
            ApiError: the log is full, or the idempotency key was used for another request.
            StoreError: the disk refuses.
        """
        earlier = self.earlier(draft)
        if earlier is not None:
            return earlier
        payload = _text(draft.payload)
        size = sum(payload.sizes) if isinstance(payload, SentDocuments) else len(payload)
        over = self.kept_bytes + size > self._limits.log_bytes_max
        if over or self.open_count + len(self._waiting) >= self._limits.log_ops_max:
            raise ApiError(
                "miroir_overloaded",
                "Too many writes wait to be applied. Retry later.",
                headers={"Retry-After": "5"},
            )
        future: asyncio.Future[Task] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(draft, payload, size, future))
        self._wake.set()
        return await future

    def earlier(self, draft: Draft) -> Task | None:
        """The task of the op that was accepted under the draft's idempotency key, None when there is none.

        A repeated request gets it whatever the state of the nodes and of the log is now.
        Raises ApiError when the key was used for another request.
        """
        if draft.idempotency is None:
            return None
        key, digest = draft.idempotency
        row = self._store.read(lambda reader: reader.get(Table.IDEMPOTENCY, key))
        record = None if row is None else decode(IdempotencyRecord, row)
        if record is None or record.expires_at <= self._now_ns():
            return None
        if record.body_sha256 != digest:
            raise _key_reused()
        task = self.tasks.get(record.op_id)
        if task is None:
            raise ApiError("task_not_found", f"Task `{record.op_id}` not found.")
        return task

    async def run(self) -> None:
        """The appender; until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            group, self._waiting = self._waiting, []
            if group:
                await self._append_group(group)
            del group  # a large body must not wait here for the next write

    async def _append_group(self, group: list[_Waiting]) -> None:
        now = self._now_ns()
        limits = self._limits
        pages: dict[int, list[int]] = {}

        def store(tx: Tx) -> list[tuple[OpRecord, Task] | int | None]:
            """Per op: what was stored, or the earlier op of its key, or None for a key used otherwise."""
            row = tx.get(Table.META, _NEXT_OP)
            next_op = 0 if row is None else int(row)
            done: list[tuple[OpRecord, Task] | int | None] = []
            for waiting in group:
                draft = waiting.draft
                if draft.idempotency is not None:
                    key, digest = draft.idempotency
                    old = tx.get(Table.IDEMPOTENCY, key)
                    record = None if old is None else decode(IdempotencyRecord, old)
                    if record is not None and record.expires_at > now:
                        done.append(record.op_id if record.body_sha256 == digest else None)
                        continue
                    expires = now + int(limits.idempotency_s * 1e9)
                    fresh = IdempotencyRecord(body_sha256=digest, op_id=next_op, expires_at=expires)
                    tx.put(Table.IDEMPOTENCY, key, encode(fresh))
                op, task = _rows(draft, next_op, waiting.size, now)
                tx.put(Table.OPS, (op.id,), encode(op))
                tx.put(Table.TASKS, (op.id,), encode(task))
                if isinstance(waiting.payload, SentDocuments):
                    pages[op.id] = store_pages(tx, op.id, waiting.payload)
                elif waiting.payload:
                    tx.put(Table.PAYLOADS, (op.id,), waiting.payload)
                done.append((op, task))
                next_op += 1
            tx.put(Table.META, _NEXT_OP, str(next_op).encode())
            return done

        try:
            stored = await self._store.transact(store)
        except Exception as error:
            for waiting in group:
                if not waiting.future.done():
                    waiting.future.set_exception(error)
            if not isinstance(error, StoreError):
                raise
            log.error("writes_refused_by_store", writes=len(group), error=str(error))
            return
        for waiting, outcome in zip(group, stored, strict=True):
            if isinstance(outcome, tuple):
                payload = waiting.draft.payload
                if isinstance(payload, SentDocuments):
                    op = outcome[0].id
                    payload = StoredDocuments(self._store, op, pages[op], payload.sizes, payload.kept_ids)
                self._register(*outcome, payload)
            self._answer(waiting, outcome)

    def _register(self, op: OpRecord, task: Task, payload: Any) -> None:
        self.ops[op.id] = op
        self.tasks[op.id] = task
        self.open_count += 1
        self.kept_bytes += kept_bytes(op, None)
        if payload is not None:
            self._cache(op.id, payload, op.payload_bytes)
        self._on_append(op)

    def _answer(self, waiting: _Waiting, outcome: tuple[OpRecord, Task] | int | None) -> None:
        future = waiting.future
        if future.done():
            return
        if isinstance(outcome, tuple):
            future.set_result(outcome[1])
        elif outcome is not None and outcome in self.tasks:
            future.set_result(self.tasks[outcome])
        elif outcome is not None:
            future.set_exception(ApiError("task_not_found", f"Task `{outcome}` not found."))
        else:
            future.set_exception(_key_reused())

    async def forget_keys(self) -> None:
        """Drop idempotency keys that have expired, a few rows of the table at a time."""
        now = self._now_ns()

        def look(reader: Reader) -> list[tuple[Key, bytes]]:
            return list(reader.scan(Table.IDEMPOTENCY, start=self._key_cursor, limit=_KEYS_PER_LOOK))

        rows = self._store.read(look)
        self._key_cursor = rows[-1][0] if len(rows) == _KEYS_PER_LOOK else None
        old = [key for key, row in rows if decode(IdempotencyRecord, row).expires_at <= now]
        if old:
            await self._store.transact(lambda tx: tx.delete_many(Table.IDEMPOTENCY, old))

    async def record(self, task: Task, also: Callable[[Tx, int], None] | None = None) -> Task:
        """Store a task that is no op (cancelation, deletion), under the next uid. Its uid is ignored.

        `also` stores something else with it, for the uid it gets.
        """

        def store(tx: Tx) -> Task:
            row = tx.get(Table.META, _NEXT_OP)
            uid = 0 if row is None else int(row)
            batch_uid = uid if task.status in FINISHED else None
            stored = msgspec.structs.replace(task, uid=uid, batch_uid=batch_uid)
            tx.put(Table.META, _NEXT_OP, str(uid + 1).encode())
            tx.put(Table.TASKS, (uid,), encode(stored))
            if also is not None:
                also(tx, uid)
            return stored

        stored = await self._store.transact(store)
        self.tasks[stored.uid] = stored
        return stored

    # --- payloads -----------------------------------------------------------------------------

    def payload(self, op: int) -> Any:
        """The documents or ids of an op; None when it has none or it is no longer kept."""
        cached = self._payloads.get(op)
        if cached is not None:
            return cached[0]
        row = self._store.read(lambda reader: reader.get(Table.PAYLOADS, (op,)))
        value = load_pages(self._store, op) if row is None else orjson.loads(row)
        if value is not None:
            self._cache(op, value, len(row or b""))
        return value

    def _cache(self, op: int, value: Any, size: int) -> None:
        size = len(value) * _STORED_COST if isinstance(value, StoredDocuments) else size * _DECODED_COST
        self._payloads[op] = (value, size)
        self._cached_bytes += size
        while self._cached_bytes > self._limits.rendered_bytes_max and len(self._payloads) > 1:
            self._cached_bytes -= self._payloads.popitem(last=False)[1][1]

    def uncache(self, op: int) -> None:
        """The payload is not needed soon."""
        found = self._payloads.pop(op, None)
        if found is not None:
            self._cached_bytes -= found[1]

    async def drop(self, ops: list[int], forgotten: Mapping[tuple[str, str], int]) -> None:
        """Forget ops that no lane needs any more; their tasks stay. Rows of lanes tell up to which step they are gone."""

        def store(tx: Tx) -> None:
            keys: list[Key] = [(op,) for op in ops]
            tx.delete_many(Table.OPS, keys)
            for key in keys:
                tx.delete_prefix(Table.PAYLOADS, key)
            tx.delete_many(Table.RESOLUTIONS, keys)
            for (
                lane,
                step,
            ) in forgotten.items():  # on the row as it is by now: a round may have ended meanwhile
                row = tx.get(Table.LANES, lane)
                old = None if row is None else decode(LaneRecord, row)
                tx.put(Table.LANES, lane, encode(forgetting(old, step)))

        await self._store.transact(store)
        for op in ops:
            record, resolution = self.ops.pop(op, None), self.resolutions.pop(op, None)
            if record is not None:
                self.kept_bytes -= kept_bytes(record, resolution)
            self.uncache(op)


def _text(payload: Any) -> bytes | SentDocuments:
    if payload is None:
        return b""
    return payload if isinstance(payload, SentDocuments) else orjson.dumps(payload)


def _rows(draft: Draft, op_id: int, payload_bytes: int, now_ns: int) -> tuple[OpRecord, Task]:
    op = OpRecord(
        id=op_id,
        kind=draft.kind.value,
        names=draft.names,
        index_uid=draft.index_uid,
        args=draft.args,
        payload_bytes=payload_bytes,
        accepted_at=now_ns,
    )
    task = Task(
        uid=op_id,
        kind=TASK_TYPES[draft.kind],
        index_uid=draft.index_uid,
        details=draft.details,
        enqueued_at=now_ns,
        custom_metadata=draft.custom_metadata,
        swaps=draft.swaps,
    )
    return op, task


def request_digest(*parts: bytes) -> bytes:
    """What two requests under one idempotency key must share."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


def _key_reused() -> ApiError:
    return ApiError(
        "miroir_idempotency_key_reused", "This `Idempotency-Key` was used for another request before."
    )

"""The store in one SQLite file: WAL, synchronous=FULL, one writer thread that commits groups.

Many transactions waiting at once share one commit and one fsync; each is still atomic by a savepoint of its own,
and none is reported done before the commit that holds it is on disk. Reads use a connection of their own and see
what is committed. `inline=True` (tests, simulation) runs everything in the calling thread.

A lock file keeps a second process out; a file of a newer schema is refused.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any, TypeVar

from miroir.ports.store import Key, Reader, StoreError, StoreFullError, Table, Tx

T = TypeVar("T")

_GROUP_MAX = 512
_TABLES_2 = (Table.OPERATIONS, Table.COPIES)
_TABLES_1 = tuple(table for table in Table if table not in _TABLES_2)


def _migration_1(connection: sqlite3.Connection) -> None:
    for table in _TABLES_1:
        # Large values make poor B-tree keys' neighbours: payloads keep a rowid.
        tail = "" if table in (Table.PAYLOADS, Table.RESOLUTIONS) else " WITHOUT ROWID"
        connection.execute(f"CREATE TABLE t_{table.value} (k BLOB PRIMARY KEY, v BLOB NOT NULL){tail}")


def _migration_2(connection: sqlite3.Connection) -> None:
    for table in _TABLES_2:
        connection.execute(
            f"CREATE TABLE t_{table.value} (k BLOB PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID"
        )


#: numbered from 1; never changed once released, only added to
MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (_migration_1, _migration_2)


class SqliteStore:
    """Implements `ports.store.Store`."""

    def __init__(self, path: str | Path, *, inline: bool = False, durable: bool = True) -> None:
        """Open or create the file.

        Args:
            path: the database file; its folder is created.
            inline: no writer thread.
            durable: False leaves fsync out, for simulations where only processes die.

        Raises:
            StoreError: another process has it open, it is of a newer version, or it cannot be read.
        """
        self._path = Path(path)
        made = _make_folder(self._path.parent)
        self._lock = _take_lock(self._path)
        self._inline = inline
        self._closed = False
        with ExitStack() as undo:
            undo.callback(os.close, self._lock)
            try:
                _make_private(self._path)
                self._writer = undo.enter_context(closing(self._connect(durable)))
                _migrate(self._writer, self._path)
                self._reader = undo.enter_context(closing(self._connect(durable)))
                if durable:
                    _sync_folders(self._path.parent, made)
            except (sqlite3.Error, OSError) as error:
                raise StoreError(f"opening {self._path}: {error}") from error
            undo.pop_all()
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        if not inline:
            self._thread = threading.Thread(target=self._work, name="store-writer", daemon=True)
            self._thread.start()

    def _connect(self, durable: bool) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'OFF'}")
        connection.execute("PRAGMA busy_timeout=5000")
        connection.execute("PRAGMA cache_size=-32000")
        return connection

    async def transact(self, fn: Callable[[Tx], T]) -> T:
        if self._closed:
            raise StoreError(f"{self._path} is closed")
        if self._inline:
            return self._run_inline(fn)
        loop = asyncio.get_running_loop()
        job = _Job(fn, loop, loop.create_future())
        self._queue.put(job)
        result: T = await job.future
        return result

    def read(self, fn: Callable[[Reader], T]) -> T:
        connection = self._reader
        try:
            connection.execute("BEGIN")
            try:
                return fn(_SqliteTx(connection))
            finally:
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise StoreError(f"reading {self._path}: {error}") from error

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
        self._reader.close()
        self._writer.close()
        os.close(self._lock)

    def _run_inline(self, fn: Callable[[Tx], T]) -> T:
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                result = fn(_SqliteTx(self._writer))
                self._writer.execute("COMMIT")
            except BaseException:
                self._roll_back()
                raise
        except sqlite3.Error as error:
            raise self._failure(error) from error
        return result

    def _roll_back(self) -> None:
        """End the transaction, if a full disk has not ended it already; one that cannot be ended now is ended later."""
        if self._writer.in_transaction:
            with suppress(sqlite3.Error):
                self._writer.execute("ROLLBACK")

    def _failure(self, error: Exception) -> StoreError:
        code = getattr(error, "sqlite_errorcode", None)
        kind = StoreFullError if code == sqlite3.SQLITE_FULL else StoreError
        return kind(f"writing {self._path}: {error}")

    def _work(self) -> None:
        """The writer thread: take what waits, commit it together, tell everybody."""
        while True:
            group, stop = self._take_group()
            if group:
                self._commit(group)
            del group  # what was written may be large, and the next may come late
            if stop:
                return

    def _take_group(self) -> tuple[list[_Job], bool]:
        """What waits, once something does; and whether that was all."""
        job = self._queue.get()
        group: list[_Job] = []
        while job is not None:
            group.append(job)
            if len(group) == _GROUP_MAX:
                return group, False
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _commit(self, group: list[_Job]) -> None:
        connection = self._writer
        try:
            self._roll_back()
            connection.execute("BEGIN IMMEDIATE")
            for job in group:
                connection.execute("SAVEPOINT job")
                try:
                    job.result = job.fn(_SqliteTx(connection))
                except sqlite3.Error:  # the disk's fault, not this job's: none of the group is kept
                    raise
                except Exception as error:  # noqa: BLE001 - handed to the caller, whatever it is
                    job.error = error
                    connection.execute("ROLLBACK TO job")
                connection.execute("RELEASE job")
            connection.execute("COMMIT")
        except (sqlite3.Error, MemoryError) as error:  # SQLite's own lack of memory comes as the latter
            self._roll_back()
            failure = self._failure(error)
            failure.__cause__ = error
            for job in group:
                job.error = failure
        for job in group:
            if not job.loop.is_closed():
                job.loop.call_soon_threadsafe(job.deliver)


class _Job:
    """One transaction that waits, and where its outcome goes."""

    __slots__ = ("error", "fn", "future", "loop", "result")

    def __init__(self, fn: Callable[[Tx], Any], loop: asyncio.AbstractEventLoop, future: Any) -> None:
        self.fn = fn
        self.loop = loop
        self.future: asyncio.Future[Any] = future
        self.result: Any = None
        self.error: Exception | None = None

    def deliver(self) -> None:
        if self.future.done():  # the caller was cancelled
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class _SqliteTx:
    """`ports.store.Tx` on a connection that is inside a transaction."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def get(self, table: Table, key: Key) -> bytes | None:
        row = self._connection.execute(
            f"SELECT v FROM t_{table.value} WHERE k = ?", (encode_key(key),)
        ).fetchone()
        return None if row is None else row[0]

    def get_many(self, table: Table, keys: Sequence[Key]) -> list[bytes | None]:
        execute = self._connection.execute
        query = f"SELECT v FROM t_{table.value} WHERE k = ?"
        rows = (execute(query, (encode_key(key),)).fetchone() for key in keys)
        return [None if row is None else row[0] for row in rows]

    def scan(
        self, table: Table, prefix: Key = (), *, start: Key | None = None, limit: int | None = None
    ) -> Iterator[tuple[Key, bytes]]:
        low = encode_key(prefix)
        high = _after(low)
        if start is not None:
            low = max(low, encode_key(start))
        clause = "k >= ?" if high is None else "k >= ? AND k < ?"
        parameters: list[object] = [low] if high is None else [low, high]
        query = f"SELECT k, v FROM t_{table.value} WHERE {clause} ORDER BY k"
        if limit is not None:
            query += " LIMIT ?"
            parameters.append(limit)
        for key, value in self._connection.execute(query, parameters):
            yield decode_key(key), value

    def values(self, table: Table, prefix: Key = ()) -> Iterator[bytes]:
        low = encode_key(prefix)
        high = _after(low)
        clause = "k >= ?" if high is None else "k >= ? AND k < ?"
        parameters = [low] if high is None else [low, high]
        query = f"SELECT v FROM t_{table.value} WHERE {clause} ORDER BY k"
        for (value,) in self._connection.execute(query, parameters):
            yield value

    def put(self, table: Table, key: Key, value: bytes) -> None:
        self._connection.execute(
            f"INSERT INTO t_{table.value} VALUES (?, ?) ON CONFLICT (k) DO UPDATE SET v = excluded.v",
            (encode_key(key), value),
        )

    def put_many(self, table: Table, rows: Iterable[tuple[Key, bytes]]) -> None:
        self._connection.executemany(
            f"INSERT INTO t_{table.value} VALUES (?, ?) ON CONFLICT (k) DO UPDATE SET v = excluded.v",
            ((encode_key(key), value) for key, value in rows),
        )

    def delete(self, table: Table, key: Key) -> None:
        self._connection.execute(f"DELETE FROM t_{table.value} WHERE k = ?", (encode_key(key),))

    def delete_many(self, table: Table, keys: Iterable[Key]) -> None:
        self._connection.executemany(
            f"DELETE FROM t_{table.value} WHERE k = ?", ((encode_key(key),) for key in keys)
        )

    def delete_prefix(self, table: Table, prefix: Key) -> None:
        low = encode_key(prefix)
        high = _after(low)
        if high is None:
            self._connection.execute(f"DELETE FROM t_{table.value} WHERE k >= ?", (low,))
        else:
            self._connection.execute(f"DELETE FROM t_{table.value} WHERE k >= ? AND k < ?", (low, high))


def encode_key(key: Key) -> bytes:
    """Bytes that sort as the key: 0x01 and eight bytes for an integer, 0x02, UTF-8 and NUL for a string."""
    parts = []
    for part in key:
        if isinstance(part, int):
            parts.append(b"\x01" + part.to_bytes(8, "big"))
        else:
            parts.append(b"\x02" + part.encode() + b"\x00")
    return b"".join(parts)


def decode_key(data: bytes) -> Key:
    """Inverse of `encode_key`."""
    parts: list[int | str] = []
    position = 0
    while position < len(data):
        if data[position] == 1:
            parts.append(int.from_bytes(data[position + 1 : position + 9], "big"))
            position += 9
        else:
            end = data.index(0, position)
            parts.append(data[position + 1 : end].decode())
            position = end + 1
    return tuple(parts)


def _after(prefix: bytes) -> bytes | None:
    """The least bytes above everything that begins with `prefix`; None: nothing is above."""
    return prefix + b"\xff" if prefix else None


def _make_folder(folder: Path) -> list[Path]:
    """Make the folder; returns those whose entries changed on the way."""
    fresh = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return [one.parent for one in fresh]


def _make_private(path: Path) -> None:
    """A new file is its owner's alone, and what SQLite puts beside it too: it holds keys of embedders and webhooks."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def _sync_folders(folder: Path, changed: Iterable[Path]) -> None:
    """A new file is only there after a power loss once its folder's entry is on disk too."""
    for one in (folder, *changed):
        handle = os.open(one, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _take_lock(path: Path) -> int:
    handle = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise StoreError(f"{path} is in use by another process") from error
    return handle


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise StoreError(
            f"{path} has schema version {version}, this program knows {len(MIGRATIONS)}: use a newer program"
        )
    for number in range(version, len(MIGRATIONS)):
        connection.execute("BEGIN IMMEDIATE")
        MIGRATIONS[number](connection)
        connection.execute(f"PRAGMA user_version = {number + 1}")
        connection.execute("COMMIT")

"""Durable state of the embedded engine in one SQLite file.

Rules: every method that writes is one transaction, or runs inside `with store.transaction():` which makes
many calls one; with WAL and synchronous=FULL a transaction that returned survives a power cut. No threads:
calls are short and run inline. Indexes are keyed by a number that never changes, so that a swap or rename
touches no document.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from miroir.engine.errors import EngineError
from miroir.meili.tasks import Task

SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE indexes (number INTEGER PRIMARY KEY AUTOINCREMENT, uid TEXT NOT NULL, record BLOB NOT NULL);
CREATE TABLE documents (
  index_number INTEGER NOT NULL, docid INTEGER NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY (index_number, docid)
) WITHOUT ROWID;
CREATE TABLE tasks (uid INTEGER PRIMARY KEY AUTOINCREMENT, record BLOB NOT NULL);
CREATE TABLE jobs (task_uid INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE batches (uid INTEGER PRIMARY KEY AUTOINCREMENT, record BLOB NOT NULL);
CREATE TABLE keys (uid TEXT PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE webhooks (uuid TEXT PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
"""


class IndexRow(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored of an index besides its documents. Times are ns since 1970; `settings` is JSON."""

    uid: str
    primary_key: str | None
    created_at: int
    updated_at: int
    settings: bytes
    field_ids: list[str]


_encode = msgspec.msgpack.Encoder().encode
_decode_index = msgspec.msgpack.Decoder(IndexRow).decode
_decode_task = msgspec.msgpack.Decoder(Task).decode


class Store:
    """One open store. `connection` may be shared by engines that live one after another (simulations)."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._depth = 0
        self._prepare()

    # --- opening ----------------------------------------------------------------------------------

    @classmethod
    def open(cls, path: Path | None) -> Store:
        """Open or create the store; None keeps everything in memory. Raises EngineError."""
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(
                ":memory:" if path is None else path, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            raise EngineError(f"cannot open {path}: {error}") from error
        try:
            return cls(connection)
        except BaseException:
            connection.close()
            raise

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection, for a successor after a simulated crash."""
        return self._connection

    def _prepare(self) -> None:
        connection = self._connection
        try:
            if connection.in_transaction:  # what a predecessor that crashed had not committed
                connection.rollback()
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")  # one process per file
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA busy_timeout=2000")
            found = connection.execute("PRAGMA user_version").fetchone()[0]
            if found == 0:
                with self.transaction():
                    for statement in filter(str.strip, _SCHEMA.split(";")):
                        connection.execute(statement)
                    connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            elif found != SCHEMA_VERSION:
                connection.close()
                raise EngineError(
                    f"the data has schema version {found}, this program reads version {SCHEMA_VERSION} only"
                )
        except sqlite3.Error as error:
            connection.close()
            raise EngineError(f"cannot read the data: {error}") from error

    def close(self) -> None:
        """Close the connection; nothing may be called afterwards."""
        self._connection.close()

    def size_bytes(self) -> int:
        """Size of the data, unused pages included."""
        pages = self._connection.execute("PRAGMA page_count").fetchone()[0]
        return int(pages) * int(self._connection.execute("PRAGMA page_size").fetchone()[0])

    def copy_to(self, path: Path) -> None:
        """Write a consistent copy of everything to a new file."""
        path.unlink(missing_ok=True)
        self._connection.execute("VACUUM INTO ?", (str(path),))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make everything inside one transaction; an exception undoes all of it. May be nested."""
        if self._depth == 0:
            self._connection.execute("BEGIN IMMEDIATE")
        self._depth += 1
        try:
            yield
        except BaseException:
            self._depth -= 1
            if self._depth == 0 and self._connection.in_transaction:
                self._connection.rollback()
            raise
        self._depth -= 1
        if self._depth == 0:
            try:
                self._connection.commit()
            except sqlite3.Error as error:
                self._connection.rollback()
                raise EngineError(f"cannot write the data: {error}") from error

    # --- small values -----------------------------------------------------------------------------

    def meta(self, name: str) -> bytes | None:
        row = self._connection.execute("SELECT value FROM meta WHERE name=?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def set_meta(self, name: str, value: bytes) -> None:
        self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?,?)", (name, value))

    def records(self, table: str) -> dict[str, bytes]:
        """Every record of `keys` or `webhooks` by its id."""
        return dict(self._connection.execute(f"SELECT * FROM {_named(table)}"))

    def put_record(self, table: str, uid: str, record: bytes) -> None:
        self._connection.execute(f"INSERT OR REPLACE INTO {_named(table)} VALUES (?,?)", (uid, record))

    def delete_record(self, table: str, uid: str) -> None:
        column = "uid" if table == "keys" else "uuid"
        self._connection.execute(f"DELETE FROM {_named(table)} WHERE {column}=?", (uid,))

    # --- indexes and documents --------------------------------------------------------------------

    def indexes(self) -> list[tuple[int, IndexRow]]:
        rows = self._connection.execute("SELECT number, record FROM indexes ORDER BY number")
        return [(number, _decode_index(record)) for number, record in rows]

    def next_index_number(self) -> int:
        return self._next("indexes")

    def put_index(self, number: int, row: IndexRow) -> None:
        self._connection.execute(
            "INSERT OR REPLACE INTO indexes VALUES (?,?,?)", (number, row.uid, _encode(row))
        )

    def delete_index(self, number: int) -> None:
        self._connection.execute("DELETE FROM indexes WHERE number=?", (number,))
        self._connection.execute("DELETE FROM documents WHERE index_number=?", (number,))

    def documents(self, number: int) -> Iterator[tuple[int, bytes]]:
        """(docid, body) in docid order."""
        return self._connection.execute(
            "SELECT docid, body FROM documents WHERE index_number=? ORDER BY docid", (number,)
        )

    def put_documents(self, number: int, documents: Iterable[tuple[int, bytes]]) -> None:
        self._connection.executemany(
            "INSERT OR REPLACE INTO documents VALUES (?,?,?)",
            ((number, docid, body) for docid, body in documents),
        )

    def delete_documents(self, number: int, docids: Iterable[int]) -> None:
        self._connection.executemany(
            "DELETE FROM documents WHERE index_number=? AND docid=?", ((number, docid) for docid in docids)
        )

    def clear_documents(self, number: int) -> None:
        self._connection.execute("DELETE FROM documents WHERE index_number=?", (number,))

    # --- tasks and batches ------------------------------------------------------------------------

    def next_task_uid(self) -> int:
        """One more than the highest uid ever given."""
        return self._next("tasks")

    def next_batch_uid(self) -> int:
        return self._next("batches")

    def _next(self, table: str) -> int:
        row = self._connection.execute("SELECT seq FROM sqlite_sequence WHERE name=?", (table,)).fetchone()
        return 0 if row is None else int(row[0]) + 1

    def tasks(self) -> Iterator[Task]:
        """Every task in uid order."""
        for (record,) in self._connection.execute("SELECT record FROM tasks ORDER BY uid"):
            yield _decode_task(record)

    def put_task(self, task: Task) -> None:
        self._connection.execute("INSERT OR REPLACE INTO tasks VALUES (?,?)", (task.uid, _encode(task)))

    def delete_tasks(self, uids: Iterable[int]) -> None:
        self._connection.executemany("DELETE FROM tasks WHERE uid=?", ((uid,) for uid in uids))

    def jobs(self) -> Iterator[tuple[int, bytes]]:
        return self._connection.execute("SELECT task_uid, body FROM jobs ORDER BY task_uid")

    def job(self, task_uid: int) -> bytes | None:
        row = self._connection.execute("SELECT body FROM jobs WHERE task_uid=?", (task_uid,)).fetchone()
        return None if row is None else bytes(row[0])

    def put_job(self, task_uid: int, body: bytes) -> None:
        self._connection.execute("INSERT OR REPLACE INTO jobs VALUES (?,?)", (task_uid, body))

    def delete_jobs(self, task_uids: Iterable[int]) -> None:
        self._connection.executemany("DELETE FROM jobs WHERE task_uid=?", ((uid,) for uid in task_uids))

    def batches(self) -> Iterator[tuple[int, bytes]]:
        return self._connection.execute("SELECT uid, record FROM batches ORDER BY uid")

    def put_batch(self, uid: int, record: bytes) -> None:
        self._connection.execute("INSERT OR REPLACE INTO batches VALUES (?,?)", (uid, record))

    def delete_batches(self, uids: Iterable[int]) -> None:
        self._connection.executemany("DELETE FROM batches WHERE uid=?", ((uid,) for uid in uids))


def _named(table: str) -> str:
    assert table in ("keys", "webhooks"), table
    return table

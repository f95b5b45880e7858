"""The store: atomic, durable, grouped, ordered, and for one process only."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miroir.adapters.store_sqlite import SqliteStore, decode_key, encode_key
from miroir.ports.store import StoreError, Table, Tx

parts = st.one_of(
    st.integers(0, 2**63 - 1), st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
)


@pytest.fixture(params=[True, False], ids=["inline", "thread"])
def store(request, tmp_path):
    opened = SqliteStore(tmp_path / "s.db", inline=request.param)
    yield opened
    opened.close()


@given(st.lists(parts, max_size=4), st.lists(parts, max_size=4))
def test_keys_come_back_and_prefixes_hold(left, right):
    assert decode_key(encode_key(tuple(left))) == tuple(left)
    assert encode_key((*left, *right)).startswith(encode_key(tuple(left)))


@given(st.lists(st.tuples(st.text("ab\u00e9\U0001f370", max_size=4), st.integers(0, 300)), max_size=20))
def test_keys_sort_as_tuples(keys):
    assert sorted(keys, key=encode_key) == sorted(keys)


def test_a_raising_transaction_leaves_nothing_while_its_neighbours_stay(store):
    async def main():
        async def put(number: int) -> None:
            def change(tx: Tx) -> None:
                tx.put(Table.META, (number,), b"x")
                if number % 2:
                    raise ValueError(number)

            await store.transact(change)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_settled(put(n))) for n in range(20)]
        return [task.result() for task in tasks]

    outcomes = asyncio.run(main())
    assert [type(o) for o in outcomes] == [ValueError if n % 2 else type(None) for n in range(20)]
    kept = store.read(lambda r: [k for k, _ in r.scan(Table.META)])
    assert kept == [(n,) for n in range(0, 20, 2)]


async def _settled(awaitable):
    try:
        return await awaitable
    except ValueError as error:
        return error


def test_scan_sees_exactly_the_prefix_in_order(store):
    rows = [(("a", 2), b"2"), (("a", 10), b"10"), (("ab", 1), b"x"), (("b", 1), b"y")]
    asyncio.run(store.transact(lambda tx: tx.put_many(Table.LANES, rows)))
    assert store.read(lambda r: list(r.scan(Table.LANES, ("a",)))) == rows[:2]
    assert store.read(lambda r: list(r.scan(Table.LANES, ("a",), start=("a", 3)))) == rows[1:2]
    assert store.read(lambda r: list(r.scan(Table.LANES, limit=3))) == rows[:3]
    asyncio.run(store.transact(lambda tx: tx.delete_prefix(Table.LANES, ("a",))))
    assert store.read(lambda r: list(r.scan(Table.LANES))) == rows[2:]


def test_what_was_reported_done_is_there_after_opening_again(tmp_path):
    first = SqliteStore(tmp_path / "s.db")
    asyncio.run(first.transact(lambda tx: tx.put(Table.META, ("a",), b"1")))
    first.close()
    second = SqliteStore(tmp_path / "s.db")
    assert second.read(lambda r: r.get_many(Table.META, [("a",), ("b",)])) == [b"1", None]
    second.close()


def test_a_second_opening_is_refused(tmp_path):
    first = SqliteStore(tmp_path / "s.db")
    with pytest.raises(StoreError, match="in use"):
        SqliteStore(tmp_path / "s.db")
    first.close()
    SqliteStore(tmp_path / "s.db").close()


def test_a_newer_file_is_refused(tmp_path):
    SqliteStore(tmp_path / "s.db").close()
    connection = sqlite3.connect(tmp_path / "s.db")
    connection.execute("PRAGMA user_version = 999")
    connection.close()
    with pytest.raises(StoreError, match="schema version 999"):
        SqliteStore(tmp_path / "s.db")


class _Failing:
    """A connection that fails as often as it has errors, when a transaction ends."""

    def __init__(self, inner, *errors):
        self.inner, self.errors = inner, list(errors)

    @property
    def in_transaction(self):
        return self.inner.in_transaction

    def execute(self, statement, *parameters):
        if self.errors and statement in ("COMMIT", "ROLLBACK"):
            raise self.errors.pop(0)
        return self.inner.execute(statement, *parameters)

    def close(self):
        self.inner.close()


@pytest.mark.parametrize("errors", [[MemoryError()], [sqlite3.OperationalError("disk I/O error")] * 2])
def test_whatever_goes_wrong_with_a_commit_the_writer_goes_on(tmp_path, errors):
    store = SqliteStore(tmp_path / "s.db")
    store._writer = _Failing(store._writer, *errors)

    async def main():
        async with asyncio.timeout(5):
            with pytest.raises(StoreError):
                await store.transact(lambda tx: tx.put(Table.META, ("a",), b"1"))
            await store.transact(lambda tx: tx.put(Table.META, ("b",), b"1"))

    asyncio.run(main())
    assert store.read(lambda r: [k for k, _ in r.scan(Table.META)]) == [("b",)]
    store.close()


def test_the_files_are_their_owner_s_alone(tmp_path):
    store = SqliteStore(tmp_path / "s.db")
    asyncio.run(store.transact(lambda tx: tx.put(Table.META, ("a",), b"1")))
    modes = {path.name: path.stat().st_mode & 0o077 for path in tmp_path.iterdir()}
    assert set(modes) >= {"s.db", "s.db-wal", "s.db.lock"}
    assert not any(modes.values()), modes
    store.close()

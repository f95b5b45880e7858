"""What every store promises (`ports/store.py`), one suite over all of them."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from miroir.adapters.store_sqlite import SqliteStore
from miroir.ports.store import Conflict, Key, Store, StoreError, Table, Tx

Open = Callable[[Path], Store]
ADAPTERS: dict[str, Open] = {
    "sqlite-thread": SqliteStore,
    "sqlite-inline": lambda path: SqliteStore(path, inline=True),
}


@pytest.fixture(params=list(ADAPTERS))
def opening(request: pytest.FixtureRequest) -> Open:
    return ADAPTERS[request.param]


@pytest.fixture
def store(opening: Open, tmp_path: Path) -> Iterator[Store]:
    opened = opening(tmp_path / "s.db")
    yield opened
    opened.close()


def rows(store: Store, table: Table = Table.META) -> list[tuple[Key, bytes]]:
    return store.read(lambda reader: list(reader.scan(table)))


def put(key: Key, value: bytes = b"x", table: Table = Table.META) -> Callable[[Tx], None]:
    return lambda tx: tx.put(table, key, value)


def test_a_transaction_returns_what_its_function_returns_and_sees_its_own_writes(store: Store) -> None:
    def change(tx: Tx) -> list[bytes | None]:
        tx.put(Table.META, ("a",), b"1")
        tx.put(Table.META, ("a",), b"2")
        tx.put(Table.META, ("b",), b"3")
        tx.delete(Table.META, ("b",))
        return tx.get_many(Table.META, [("b",), ("a",)])

    assert asyncio.run(store.transact(change)) == [None, b"2"]
    assert rows(store) == [(("a",), b"2")]


def test_readers_see_what_is_committed_and_nothing_else(store: Store) -> None:
    seen: list[list[tuple[Key, bytes]]] = []

    def change(tx: Tx) -> None:
        tx.put(Table.META, ("a",), b"1")
        seen.append(rows(store))

    asyncio.run(store.transact(change))
    assert seen == [[]]
    assert rows(store) == [(("a",), b"1")]


def test_an_exception_undoes_its_transaction_alone_and_comes_back_as_it_is(store: Store) -> None:
    async def one(number: int) -> BaseException | None:
        def change(tx: Tx) -> None:
            tx.put(Table.META, (number,), b"x")
            if number % 3 == 0:
                raise (Conflict if number % 2 else ValueError)(str(number))

        try:
            await store.transact(change)
        except (Conflict, ValueError) as error:
            return error
        return None

    async def main() -> list[BaseException | None]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(number)) for number in range(12)]
        return [task.result() for task in tasks]

    outcomes = asyncio.run(main())
    expected = [type(None) if n % 3 else Conflict if n % 2 else ValueError for n in range(12)]
    assert [type(outcome) for outcome in outcomes] == expected
    assert [key for key, _ in rows(store)] == [(n,) for n in range(12) if n % 3]


def test_transactions_run_one_after_another(store: Store) -> None:
    def increment(tx: Tx) -> int:
        value = int(tx.get(Table.META, ("n",)) or b"0") + 1
        tx.put(Table.META, ("n",), str(value).encode())
        return value

    async def main() -> list[int]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(store.transact(increment)) for _ in range(50)]
        return [task.result() for task in tasks]

    assert asyncio.run(main()) == list(range(1, 51))


def test_a_cancelled_caller_harms_nobody(store: Store) -> None:
    async def main() -> None:
        hanging = asyncio.create_task(store.transact(put(("a",))))
        await asyncio.sleep(0)
        hanging.cancel()
        await store.transact(put(("b",)))
        assert ("b",) in dict(rows(store))
        assert set(dict(rows(store))) <= {("a",), ("b",)}

    asyncio.run(main())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(
        st.tuples(
            st.sampled_from(["put", "delete", "prefix"]), st.sampled_from("ab\u00e9"), st.integers(0, 300)
        ),
        max_size=30,
    ),
    prefix=st.sampled_from([(), ("a",), ("\u00e9",), ("a", 7)]),
    start=st.none() | st.integers(0, 300),
    limit=st.none() | st.integers(0, 5),
)
def test_tables_behave_as_sorted_maps(
    opening: Open,
    tmp_path_factory: pytest.TempPathFactory,
    changes: list[tuple[str, str, int]],
    prefix: Key,
    start: int | None,
    limit: int | None,
) -> None:
    store = opening(tmp_path_factory.mktemp("model") / "s.db")
    model: dict[Key, bytes] = {}

    def change(tx: Tx) -> None:
        for what, name, number in changes:
            if what == "put":
                model[name, number] = f"{name}{number}".encode()
                tx.put_many(Table.LANES, [((name, number), model[name, number])])
            elif what == "delete":
                tx.delete_many(Table.LANES, [(name, number)])
                model.pop((name, number), None)
            else:
                tx.delete_prefix(Table.LANES, (name,))
                for key in [key for key in model if key[0] == name]:
                    del model[key]

    asyncio.run(store.transact(change))
    first = None if start is None or not prefix else (prefix[0], start)
    got = store.read(lambda reader: list(reader.scan(Table.LANES, prefix, start=first, limit=limit)))
    wanted = [
        (key, value)
        for key, value in sorted(model.items())
        if key[: len(prefix)] == prefix and (first is None or key >= first)
    ]
    values = store.read(lambda reader: list(reader.values(Table.LANES, prefix)))
    everything = store.read(lambda reader: list(reader.scan(Table.LANES, prefix)))
    store.close()
    assert got == wanted[:limit]
    assert values == [value for _, value in everything]


def test_a_closed_store_refuses_and_closing_twice_is_nothing(opening: Open, tmp_path: Path) -> None:
    store = opening(tmp_path / "s.db")
    asyncio.run(store.transact(put(("a",))))
    store.close()
    store.close()
    with pytest.raises(StoreError):
        asyncio.run(store.transact(put(("b",))))
    again = opening(tmp_path / "s.db")
    assert [key for key, _ in rows(again)] == [("a",)]
    again.close()


def test_a_copy_of_the_files_at_any_moment_holds_every_write_acknowledged_before(
    opening: Open, tmp_path: Path
) -> None:
    """What a power loss leaves: the bytes of the files, without the process that wrote them."""
    store = opening(tmp_path / "live" / "s.db")
    kept: list[tuple[int, Path]] = []

    async def main() -> None:
        for number in range(12):
            await store.transact(put((number,), bytes([number]) * 5000))
            if number % 3 == 0:
                target = tmp_path / f"copy{number}"
                target.mkdir()
                for name in ("s.db", "s.db-wal"):  # the shared memory file is not on any disk
                    if (tmp_path / "live" / name).exists():
                        shutil.copyfile(tmp_path / "live" / name, target / name)
                kept.append((number, target))

    asyncio.run(main())
    store.close()
    for number, folder in kept:
        survivor = opening(folder / "s.db")
        assert rows(survivor) == [((n,), bytes([n]) * 5000) for n in range(number + 1)]
        survivor.close()


def test_a_second_opening_of_the_same_files_is_refused_in_words(opening: Open, tmp_path: Path) -> None:
    first = opening(tmp_path / "s.db")
    with pytest.raises(StoreError, match="in use by another process"):
        opening(tmp_path / "s.db")
    first.close()
    opening(tmp_path / "s.db").close()


def test_no_thread_is_left_behind(opening: Open, tmp_path: Path) -> None:
    before = threading.active_count()
    store = opening(tmp_path / "s.db")
    asyncio.run(store.transact(put(("a",))))
    store.close()
    assert threading.active_count() == before

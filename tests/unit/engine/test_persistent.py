"""Versions of maps and key lists behave like dicts and sorted lists, and never change."""

from hypothesis import given
from hypothesis import strategies as st

from miroir.engine.persistent import OrderedKeys, PersistentMap

changes = st.lists(st.dictionaries(st.integers(0, 2000), st.none() | st.integers(), max_size=300), max_size=5)


@given(changes)
def test_versions_equal_a_dict_and_stay(history: list[dict[int, int | None]]) -> None:
    model: dict[int, int] = {}
    version: PersistentMap[int, int] = PersistentMap()
    versions: list[tuple[PersistentMap[int, int], dict[int, int]]] = []
    for change in history:
        version = version.updated(change)
        for key, value in change.items():
            if value is None:
                model.pop(key, None)
            else:
                model[key] = value
        versions.append((version, dict(model)))
    for made, expected in versions:
        assert dict(made) == expected
        assert len(made) == len(expected)


@given(st.sets(st.integers(0, 50)), st.sets(st.integers(0, 50)))
def test_ordered_keys_are_the_sorted_set(before: set[int], after: set[int]) -> None:
    keys = OrderedKeys(map(float, before)).updated(
        [float(k) for k in after - before], [float(k) for k in before - after]
    )
    assert keys.keys == sorted(map(float, after))

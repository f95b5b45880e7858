"""A dict that remembers what was touched is otherwise a dict."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miroir.core.changes import Changes

KEYS = st.integers(0, 5)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), KEYS, KEYS),
        st.tuples(st.just("delete"), KEYS),
        st.tuples(st.just("pop"), KEYS),
        st.tuples(st.just("update"), st.dictionaries(KEYS, KEYS)),
        st.tuples(st.just("take")),
    )
)


@given(st.dictionaries(KEYS, KEYS), STEPS)
def test_a_copy_kept_up_by_touched_keys_is_always_equal(rows: dict[int, int], steps: list[Any]) -> None:
    changes: Changes[int, int] = Changes(rows)
    model, copy = dict(rows), dict[int, int]()

    def follow() -> None:
        for key in changes.take_changed():
            copy.pop(key, None)
            if key in changes:
                copy[key] = changes[key]

    for step in steps:
        match step:
            case ("set", key, value):
                changes[key] = model[key] = value
            case ("delete", key) if key in model:
                del changes[key], model[key]
            case ("pop", key):
                assert changes.pop(key, None) == model.pop(key, None)
            case ("update", more):
                changes.update(more)
                model.update(more)
            case ("take",):
                follow()
        assert changes == model
    follow()
    assert copy == model
    assert changes.take_changed() == set()


def test_ways_that_leave_no_trace_are_closed() -> None:
    changes: Changes[int, int] = Changes({1: 1})
    for way in (
        changes.clear,
        changes.popitem,
        lambda: changes.setdefault(2, 2),
        lambda: changes.__ior__({}),
    ):
        with pytest.raises(NotImplementedError):
            way()

"""Resolutions by index are those that a search of all would find."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from miroir.core.records import Resolution
from miroir.core.writes.resolutions import Resolutions

INDEXES = st.sampled_from(["a", "b", None])


@given(st.lists(INDEXES, max_size=30), st.sets(st.integers(0, 30)), st.integers(-1, 30), st.booleans())
def test_what_is_found_by_index_is_what_there_is(
    indexes: list[str | None], dropped: set[int], op: int, loaded: bool
) -> None:
    rows = [(number, Resolution(physical=index)) for number, index in enumerate(indexes)]
    found = Resolutions(reversed(rows) if loaded else ())
    for number, resolution in () if loaded else rows:
        found[number] = resolution
    for number in dropped:
        assert found.pop(number) == dict(rows).get(number)
        assert found.pop(number, None) is None
    left = {number: resolution for number, resolution in rows if number not in dropped}
    assert found == left
    for index in ("a", "b", "never"):
        mine = sorted((n, r) for n, r in left.items() if r.physical == index)
        assert found.last_of(index) == max((n for n, _ in mine), default=-1)
        assert found.after(index, op) == [(n, r) for n, r in mine if n > op]

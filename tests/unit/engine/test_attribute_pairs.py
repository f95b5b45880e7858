"""The memory of word pairs in one attribute."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from miroir.engine.attribute_pairs import AttributePairs, Words

WORDS = st.frozensets(st.sampled_from("abcd"), max_size=4)
UNIVERSES = st.none() | st.sets(st.integers(0, 15)).map(BitMap)


def same_field(left: Words, right: Words) -> BitMap:
    """Each ordered pair has one document of its own."""
    return BitMap("abcd".index(one) * 4 + "abcd".index(other) for one in left for other in right)


@given(st.lists(st.tuples(WORDS, WORDS, UNIVERSES), max_size=6))
def test_pairs_stay_as_first_asked_for(asked: list[tuple[Words, Words, BitMap | None]]) -> None:
    """The same as remembering every single pair."""
    pairs = AttributePairs(same_field)
    memory: dict[tuple[str, str], BitMap] = {}
    for left, right, universe in asked:
        expected = BitMap()
        for one in left:
            for other in right:
                documents = same_field(frozenset(one), frozenset(other))
                fresh = documents if universe is None else documents & universe
                expected |= memory.setdefault((one, other), fresh)
        assert pairs.documents(left, right, universe) == expected

"""The facet tree stays a tree over exactly the values there are, whatever the batches."""

from hypothesis import given
from hypothesis import strategies as st

from miroir.engine.facet_tree import FacetTree

values = st.integers(0, 400)
batches = st.lists(st.tuples(st.sets(values, max_size=200), st.sets(values, max_size=60)), max_size=6)


def check(tree: FacetTree, keys: list[int]) -> None:
    below = keys
    for level in tree.levels:
        assert list(level) == sorted(set(level))
        assert set(level) <= set(below), "a group is named by its first member"
        assert below[0] == level[0], "no member stands before the first group"
        starts = [below.index(name) for name in level]
        sizes = [end - start for start, end in zip(starts, [*starts[1:], len(below)], strict=True)]
        assert min(sizes) >= 1
        below = list(level)


@given(batches)
def test_groups_cover_the_values_after_every_batch(history: list[tuple[set[int], set[int]]]) -> None:
    keys: set[int] = set()
    tree = FacetTree()
    for added, removed in history:
        before = keys
        keys = (keys | added) - removed
        tree = tree.grown(sorted(keys), (added | removed) & (before | keys))
        if keys:
            check(tree, sorted(keys))


def test_many_changes_build_the_tree_anew() -> None:
    keys = list(range(1600))
    assert [len(level) for level in FacetTree().grown(keys, keys).levels] == [400, 100, 25, 7]


def test_few_changes_add_one_level_at_a_time() -> None:
    keys = list(range(100))
    once = FacetTree().grown(keys, keys)
    assert [len(level) for level in once.levels] == [25]
    assert [len(level) for level in once.grown(keys, [50]).levels] == [26, 7]

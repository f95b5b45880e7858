"""Order between ops that share names, and the tags nodes carry."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from miroir.core.writes.ops import NameQueues, parse_tag, tag


@given(st.lists(st.sets(st.sampled_from("abc"), max_size=3), max_size=12), st.data())
def test_an_op_is_at_the_head_only_when_nothing_before_it_shares_a_name(names, data):
    queues = NameQueues()
    waiting = {}
    for op, mine in enumerate(names):
        queues.add(op, tuple(sorted(mine)))
        waiting[op] = mine
    while waiting:
        free = [op for op, mine in waiting.items() if not any(o < op and waiting[o] & mine for o in waiting)]
        assert queues.heads() == free
        gone = data.draw(st.sampled_from(free))
        del waiting[gone]
        fresh = queues.remove(gone)
        after = [op for op, mine in waiting.items() if not any(o < op and waiting[o] & mine for o in waiting)]
        assert fresh == sorted(set(after) - set(free))
    assert len(queues) == 0


@given(st.integers(0, 2**40), st.integers(0, 2**40))
def test_tags_come_back(first, last):
    assert parse_tag(tag(first, last)) == (first, last)


@given(st.one_of(st.none(), st.integers(), st.text()))
def test_foreign_metadata_is_no_tag(metadata):
    assert parse_tag(metadata) is None

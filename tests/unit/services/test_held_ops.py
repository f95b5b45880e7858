"""Ops that a copy holds back go to its target in requests that a node takes."""

from __future__ import annotations

from collections.abc import Collection
from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from miroir.core.moves.operation_records import CopyRecord
from miroir.core.records import Resolution
from miroir.core.writes.ops import Action
from miroir.core.writes.resolutions import Resolutions
from miroir.services.moves.held_ops import HeldOps

COPY = CopyRecord(id=1, operation=1, physical="p", target="new", shards=(0,), leaves=(None,))
MIB = 1 << 20


@given(st.lists(st.lists(st.integers(0, 6 * MIB), max_size=3), max_size=6))
def test_batches_hold_everything_in_order_and_stay_small(sizes: list[list[int]]) -> None:
    """An op alone may be larger: clients' bounds are those of its lanes, too."""
    payloads = {op: [bytes(1) * size for size in lines] for op, lines in enumerate(sizes)}

    def lines_of(op: int, physical: str, shards: Collection[int]) -> list[bytes]:
        return payloads[op]

    resolutions = Resolutions(
        (op, Resolution(physical="p", action=Action.ADD.value, primary_key="id")) for op in payloads
    )
    held = HeldOps(
        cast(Any, SimpleNamespace(resolutions=resolutions)),
        cast(Any, SimpleNamespace(lines_of=lines_of)),
        cast(Any, SimpleNamespace(owner=lambda layout: layout)),
    )
    copy, sent = COPY, list[bytes]()
    while (batch := held.next_batch(copy)) is not None:
        assert batch.ops == 1 or sum(map(len, batch.lines)) <= 8 * MIB
        sent.extend(batch.lines)
        assert batch.last > copy.followed
        copy = CopyRecord(
            id=1, operation=1, physical="p", target="new", shards=(0,), leaves=(None,), followed=batch.last
        )
    assert list(map(len, sent)) == [size for lines in sizes for size in lines]

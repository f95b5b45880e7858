"""How positions are kept, and what the distance between two of them costs. Source: semantics A.6 and C.8."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from miroir.engine.packed import Packed, positions_of

_Labels: TypeAlias = npt.NDArray[np.int64]

_COST_BOUNDS = (0, 1, 4, 7, 11, 16, 24, 64, 256, 1024)  #: largest distance of cost 0, 1, 2...
_POSITIONS = 0x10000


def stored_position(position: int) -> int:
    """Positions are kept exactly up to 15, then as the next power of two (24 for 16 to 23)."""
    if position < 16:
        return position
    if position < 24:
        return 24
    return min(1 << (position - 1).bit_length(), 0xFFFF)


_STORED = np.array([stored_position(p) for p in range(_POSITIONS)], dtype=np.int64)
_COST_OF_DISTANCE = np.searchsorted(np.array(_COST_BOUNDS), np.arange(_POSITIONS + 4), side="left").astype(
    np.int64
)
_cost_tables: dict[tuple[int, int], _Labels] = {}


def position_costs(query_position: int, size: int) -> _Labels:
    """For every position of a word, the cost of its distance to the query position for a `size`-gram."""
    table = _cost_tables.get((query_position, size))
    if table is None:
        distance = np.abs(_STORED - query_position)
        table = _COST_OF_DISTANCE[distance].copy()
        for i in range(1, size):
            table += _COST_OF_DISTANCE[np.minimum(distance + i, _POSITIONS)]
        if len(_cost_tables) < 64:
            _cost_tables[(query_position, size)] = table
    return table


def stored_positions_of(packed: Packed) -> _Labels:
    """Bucketed positions of occurrences."""
    stored: _Labels = _STORED[positions_of(packed)]
    return stored

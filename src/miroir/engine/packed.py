"""Sorted arrays of packed occurrences (docid << 32 | field << 16 | position) and what can be read off them."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

Packed: TypeAlias = npt.NDArray[np.uint64]

NOWHERE: Packed = np.empty(0, dtype=np.uint64)
D16, D32 = np.uint64(16), np.uint64(32)
_MASK = np.uint64(0xFFFF)


def documents_of(packed: Packed) -> BitMap:
    """The documents of sorted occurrences."""
    if not len(packed):
        return BitMap()
    docids = (packed >> D32).astype(np.uint32)
    keep = np.empty(len(docids), dtype=bool)
    keep[0] = True
    np.not_equal(docids[1:], docids[:-1], out=keep[1:])
    return BitMap(array("I", docids[keep].tobytes()))


def fields_of(packed: Packed) -> npt.NDArray[np.uint64]:
    return (packed >> D16) & _MASK


def positions_of(packed: Packed) -> npt.NDArray[np.uint64]:
    return packed & _MASK


def union(arrays: Sequence[Packed]) -> Packed:
    """Sorted distinct occurrences of several sorted arrays."""
    arrays = [a for a in arrays if len(a)]
    if not arrays:
        return NOWHERE
    if len(arrays) == 1:
        return arrays[0]
    merged = np.concatenate(arrays)
    merged.sort()
    return merged


def within(packed: Packed, fields: frozenset[int]) -> Packed:
    """The occurrences in some fields only."""
    if not len(packed):
        return packed
    keep = np.isin(fields_of(packed), np.fromiter(sorted(fields), dtype=np.uint64, count=len(fields)))
    return packed[keep]


def adjacent(left: Packed, right: Packed, distance: int) -> BitMap:
    """Documents where a `right` stands exactly `distance` positions after a `left` in the same field."""
    # A carry out of the position bits would need a word at the very end of the range: not worth a pass.
    step = np.uint64(distance)
    if len(left) <= len(right):
        return documents_of(left[_contained(left + step, right)])
    return documents_of(right[_contained(right - step, left)])


def _contained(wanted: Packed, sorted_values: Packed) -> npt.NDArray[np.bool_]:
    if not len(sorted_values):
        return np.zeros(len(wanted), dtype=bool)
    places = np.searchsorted(sorted_values, wanted)
    places[places == len(sorted_values)] = 0
    found: npt.NDArray[np.bool_] = sorted_values[places] == wanted
    return found


def within_documents(packed: Packed, documents: BitMap) -> Packed:
    if not len(packed) or not documents:
        return NOWHERE
    wanted = np.frombuffer(documents.to_array(), dtype=np.uint32)
    return packed[np.isin((packed >> D32).astype(np.uint32), wanted)]

"""Semantic search as a ranking rule, and the merge of a keyword list with a semantic one.

Source: search-semantics F.1 to F.3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
from pyroaring import BitMap

from miroir.engine.distinct import sharing_values
from miroir.engine.facets import FieldFacets
from miroir.engine.ranking.rule import Bucket
from miroir.engine.ranking.score import (
    Detail,
    GeoDetail,
    ScoreValue,
    SortDetail,
    VectorDetail,
    global_score,
    score_values,
)
from miroir.engine.vectors import Embedder

if TYPE_CHECKING:
    from miroir.engine.graph import QueryGraph

#: A keyword hit is good enough to skip the semantic search from this score times its weight on.
GOOD_ENOUGH_SCORE = 0.45
_SAME_SCORE = 2.220446049250313e-16

#: One hit: docid and what every rule said of it.
Ranked = tuple[int, Sequence[Detail]]


class VectorSortRule:
    """Buckets of equal similarity to a vector, best first; last those without a vector."""

    def __init__(self, embedder: Embedder, target: Sequence[float], limit: int) -> None:
        self._embedder = embedder
        self._target = target
        self._limit = limit
        self._groups: Iterator[tuple[float, list[int]]] = iter(())

    def start(self, universe: BitMap, graph: QueryGraph | None) -> None:
        """Find the nearest of the parent bucket."""
        self._fill(universe)

    def _fill(self, universe: BitMap) -> bool:
        """As many documents as are wanted in all; False when no document left has a vector."""
        nearest = self._embedder.nearest_by_slot(self._target, universe, self._limit)
        self._groups = (
            (similarity, [docid for docid, _ in group])
            for similarity, group in groupby(nearest, key=lambda pair: pair[1])
        )
        return bool(nearest)

    def next_bucket(self, universe: BitMap) -> Bucket | None:
        """The most similar documents left."""
        if not universe:
            return None
        while True:
            for similarity, docids in self._groups:
                common = BitMap(docids) & universe
                if common:
                    return Bucket(common, VectorDetail(similarity))
            if not self._fill(universe):
                return Bucket(universe.copy(), VectorDetail(None))


def is_good_enough(keyword: Sequence[Ranked], wanted: int, ratio: float) -> bool:
    """Whether the keyword list alone answers a hybrid search: complete, and every hit good."""
    weight = float(np.float32(1) - np.float32(ratio))
    return len(keyword) >= wanted and all(
        global_score(details) * weight >= GOOD_ENOUGH_SCORE for _, details in keyword
    )


@dataclass(frozen=True, slots=True)
class HybridHits:
    """One page of a hybrid search. `excluded`: documents a hit stands for, when there is a distinct attribute."""

    hits: tuple[Ranked, ...]
    semantic_count: int
    excluded: BitMap


def merge_hybrid(
    keyword: Sequence[Ranked],
    semantic: Sequence[Ranked],
    *,
    ratio: float,
    offset: int,
    limit: int,
    distinct: FieldFacets | None = None,
) -> HybridHits:
    """Merge two ranked lists by weighted scores, the semantic one first on ties; first appearance wins."""
    semantic_weight = float(np.float32(ratio))
    keyword_weight = float(np.float32(1) - np.float32(ratio))
    lists = (
        [(score_values(details), (docid, details)) for docid, details in semantic],
        [(score_values(details), (docid, details)) for docid, details in keyword],
    )
    excluded = BitMap()
    page: list[Ranked] = []
    semantic_count = skipped = 0
    places = [0, 0]
    while len(page) < limit and (places[0] < len(lists[0]) or places[1] < len(lists[1])):
        side = _better_side(lists, places, semantic_weight, keyword_weight)
        docid, details = lists[side][places[side]][1]
        places[side] += 1
        if docid in excluded:
            continue
        excluded.add(docid)
        if distinct is not None:
            excluded |= sharing_values(distinct, docid)
        if skipped < offset:
            skipped += 1
            continue
        semantic_count += side == 0
        page.append((docid, details))
    return HybridHits(tuple(page), semantic_count, excluded if distinct is not None else BitMap())


def _better_side(
    lists: tuple[list[tuple[list[ScoreValue], Ranked]], list[tuple[list[ScoreValue], Ranked]]],
    places: Sequence[int],
    left_weight: float,
    right_weight: float,
) -> int:
    if places[0] >= len(lists[0]):
        return 1
    if places[1] >= len(lists[1]):
        return 0
    left, right = lists[0][places[0]][0], lists[1][places[1]][0]
    return 0 if compare_values(left, right, left_weight, right_weight) >= 0 else 1


def compare_values(
    left: Sequence[ScoreValue], right: Sequence[ScoreValue], left_weight: float, right_weight: float
) -> int:
    """Positive when `left` is better. A sequence that ends first is worse."""
    for one, other in zip(left, right, strict=False):
        order = _compare_element(one, other, left_weight, right_weight)
        if order:
            return order
    return (len(left) > len(right)) - (len(left) < len(right))


def _compare_element(one: ScoreValue, other: ScoreValue, left_weight: float, right_weight: float) -> int:
    if isinstance(one, float | int):
        if not isinstance(other, float | int):
            return -1 if one == 0 else 1
        weighted = one * left_weight, other * right_weight
        if abs(weighted[0] - weighted[1]) <= _SAME_SCORE:
            return 0
        return 1 if weighted[0] > weighted[1] else -1
    if isinstance(other, float | int):
        return 1 if other == 0 else -1
    if isinstance(one, SortDetail) and isinstance(other, SortDetail):
        return compare_sort_values(one.value, other.value, ascending=one.ascending)
    if isinstance(one, GeoDetail) and isinstance(other, GeoDetail):
        return compare_distances(one.distance, other.distance, ascending=one.ascending)
    return 0


def compare_sort_values(one: float | str | None, other: float | str | None, *, ascending: bool) -> int:
    """Positive when `one` stands before `other`: numbers, strings, nothing; within a type in the direction."""
    kinds = [0 if isinstance(v, float | int) else 1 if isinstance(v, str) else 2 for v in (one, other)]
    if kinds[0] != kinds[1]:
        return 1 if kinds[0] < kinds[1] else -1
    if one is None or other is None or one == other:
        return 0
    is_smaller = one < other  # type: ignore[operator]
    return 1 if is_smaller == ascending else -1


def compare_distances(one: float | None, other: float | None, *, ascending: bool) -> int:
    """Positive when `one` stands before `other`; a distance stands before none."""
    if one is None or other is None:
        return (one is not None) - (other is not None)
    if one == other:
        return 0
    return 1 if (one < other) == ascending else -1

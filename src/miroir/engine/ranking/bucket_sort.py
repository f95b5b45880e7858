"""Carry out a list of ranking rules, lazily, until enough documents are out. Source: semantics C.11, C.13.

Rule 0 splits the universe, each of its buckets goes through rule 1, and so on; the last rule's buckets come
out in order of docid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from pyroaring import BitMap

from miroir.engine.errors import Late
from miroir.engine.graph import QueryGraph
from miroir.engine.ranking.rule import Bucket, RankingRule
from miroir.engine.ranking.score import Detail, SkippedDetail, global_score

#: Candidates -> (those that stay, documents of the index that these exclude).
Distinct = Callable[[BitMap], tuple[BitMap, BitMap]]


@dataclass(slots=True)
class Ranked:
    """`docids` with their `details`, best first; `candidates` is what counts as found."""

    docids: list[int] = field(default_factory=list)
    details: list[tuple[Detail, ...]] = field(default_factory=list)
    candidates: BitMap = field(default_factory=BitMap)


def bucket_sort(
    rules: Sequence[RankingRule],
    graph: QueryGraph | None,
    universe: BitMap,
    length: int,
    *,
    distinct: Distinct | None = None,
    threshold: float | None = None,
    evaluate_max: int | None = None,
    is_late: Callable[[], bool] = lambda: False,
) -> Ranked:
    """The first `length` documents of `universe`.

    `evaluate_max` (more than `length`) makes a search with a threshold go on for the sake of exact totals.
    When `is_late` turns true, what is left comes out unsorted and marked as skipped.
    """
    if not rules:
        return _in_docid_order(universe, length, distinct)
    return _BucketSort(rules, universe, length, distinct, threshold, is_late).run(
        graph, length if evaluate_max is None else max(evaluate_max, length)
    )


def _in_docid_order(universe: BitMap, length: int, distinct: Distinct | None) -> Ranked:
    if distinct is None:
        docids = list(universe[:length])
        return Ranked(docids, [()] * len(docids), universe.copy())
    kept: list[int] = []
    excluded = BitMap()
    for docid in universe:
        if len(kept) >= length:
            break
        if docid not in excluded:
            excluded |= distinct(BitMap((docid,)))[1]
            kept.append(docid)
    return Ranked(kept, [()] * len(kept), (universe - excluded) | BitMap(kept))


class _BucketSort:
    def __init__(
        self,
        rules: Sequence[RankingRule],
        universe: BitMap,
        length: int,
        distinct: Distinct | None,
        threshold: float | None,
        is_late: Callable[[], bool],
    ) -> None:
        self._rules = rules
        self._length = length
        self._distinct = distinct
        self._threshold = threshold
        self._is_late = is_late
        self._universes = [BitMap() for _ in rules]
        self._universes[0] = universe.copy()
        self._scores: list[Detail] = []
        self._ranked = Ranked(candidates=universe.copy())

    def run(self, graph: QueryGraph | None, evaluate_max: int) -> Ranked:
        level = 0
        graphs: list[QueryGraph | None] = [graph] * len(self._rules)
        self._start(0, graph)
        while len(self._ranked.docids) < evaluate_max:
            universe = self._universes[level]
            bucket = self._next_bucket(level) if universe else None
            if bucket is None:
                self._universes[level] = BitMap()
                if level == 0:
                    break
                level -= 1
                self._scores.pop()
                continue
            self._scores.append(bucket.detail)
            self._universes[level] = universe - bucket.docids
            if self._is_below_threshold():
                self._ranked.candidates -= bucket.docids
                self._ranked.candidates -= self._universes[level]
            elif level == len(self._rules) - 1:
                self._emit(bucket.docids)
            elif bucket.docids:
                next_graph = bucket.graph if bucket.graph is not None else graphs[level]
                level += 1
                graphs[level] = next_graph
                self._universes[level] = bucket.docids
                self._start(level, next_graph)
                continue
            self._scores.pop()
        return self._ranked

    def _start(self, level: int, graph: QueryGraph | None) -> None:
        # A rule that is too late to start is not asked either: time does not come back.
        with suppress(Late):
            self._rules[level].start(self._universes[level], graph)

    def _next_bucket(self, level: int) -> Bucket | None:
        """The next bucket of a rule; when time is spent, all that is left to it comes out as skipped."""
        if not self._is_late():
            try:
                return self._rules[level].next_bucket(self._universes[level])
            except Late:
                pass
        self._emit_skipped(level)
        return None

    def _is_below_threshold(self) -> bool:
        return self._threshold is not None and global_score(self._scores) < self._threshold

    def _emit_skipped(self, level: int) -> None:
        documents = self._universes[level]
        self._scores.append(SkippedDetail())
        if self._is_below_threshold():
            self._ranked.candidates -= documents
        else:
            self._emit(documents)
        self._scores.pop()

    def _emit(self, documents: BitMap) -> None:
        if self._distinct is not None and documents:
            documents, excluded = self._distinct(documents)
            # Buckets may share their sets with a rule's memory: never change one in place.
            self._universes = [universe - excluded for universe in self._universes]
            self._ranked.candidates -= excluded
        self._ranked.candidates |= documents
        room = self._length - len(self._ranked.docids)
        docids = list(documents[:room]) if room > 0 else []
        self._ranked.docids.extend(docids)
        self._ranked.details.extend([tuple(self._scores)] * len(docids))

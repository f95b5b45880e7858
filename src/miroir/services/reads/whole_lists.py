"""Reads all matches of a search where they are few, so that it can be gone through as by one node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from miroir.core.reads.covering import Share
from miroir.core.reads.hybrid_merge import shift_hits
from miroir.core.reads.merging import Hit, merge, repair_scores, take_hits
from miroir.core.reads.path_costs import repair_proximity
from miroir.core.reads.scores import searchable_count
from miroir.core.reads.search_plan import SearchPlan, kind_of, plan_search
from miroir.core.reads.whole_lists import (
    Found,
    found_by_both,
    found_by_similarity,
    found_by_words,
    is_worth_reading,
    list_of,
    matches_of,
    sequences_of,
)
from miroir.services.reads.ranked import Ranked
from miroir.services.reads.scatter import Ask, Reading, Scatter
from miroir.services.reads.spelling import found_sequences

#: Matches of one search that are read for the sake of its counts; where there are more, nodes' own counts are added.
_MATCHES_MAX = 1_000


class WholeLists:
    """Settles what a search shows and counts, where nodes cannot tell."""

    def __init__(self, scatter: Scatter) -> None:
        self._scatter = scatter

    async def settle(
        self, reading: Reading, ranked: Ranked, *, depth: int, needed: Sequence[str]
    ) -> frozenset[str] | None:
        """Put the hits of a ranked list right; the sequences of its candidates.

        None: nodes tell as they are asked, or there are too many matches to read. Raises NodeRefusal, ApiError
        miroir_index_incomplete.
        """
        query = ranked.plan.query
        if not is_worth_reading(reading.index, query):
            return None
        kind = kind_of(query)
        words = plan_search(reading.index, query, depth=depth, needed=tuple(needed))
        similar = plan_search(reading.index, query, kind="semantic", depth=depth, needed=tuple(needed))
        if kind != "hybrid":  # of both halves, each hit is shown with the marks of its own
            words, similar = replace(words, two_phase=True), replace(similar, two_phase=True)
        keyword = semantic = None
        if kind != "semantic":
            keyword = await self._all(reading, words, needed)
            if keyword is None:
                return None
        if kind == "semantic" or (kind == "hybrid" and query.vector is not None):
            semantic = await self._all(reading, similar, needed)
            if semantic is None:
                return None
        return _settled(reading, ranked, words, similar, keyword, semantic)

    async def _all(self, reading: Reading, plan: SearchPlan, needed: Sequence[str]) -> list[Hit] | None:
        """Everything that matches, in order; None where that is too much."""
        chunk = min(plan.max_total_hits, _MATCHES_MAX)
        counts = await self._scatter.ask(reading, lambda share, _: Ask("/search", matches_of(plan, share)))
        if sum(answer.value["estimatedTotalHits"] for answer in counts) > _MATCHES_MAX or chunk == 0:
            return None
        answers = await self._scatter.ask(reading, lambda share, _: Ask("/search", sequences_of(plan, share)))
        seqs: dict[int, list[str]] = {}
        for answer in answers:
            seqs.setdefault(answer.origin, []).extend(found_sequences(answer.value))
        lists: list[list[Hit]] = []
        retrieved = [*needed, *(() if plan.distinct is None else (plan.distinct,))]
        for start in range(0, max(map(len, seqs.values()), default=0), chunk):

            def build(share: Share, origin: int, start: int = start) -> Ask | None:
                mine = seqs.get(origin, [])[start : start + chunk]
                return Ask("/search", list_of(plan, share, mine, retrieved)) if mine else None

            found = await self._scatter.ask(reading, build)
            lists += [take_hits(answer.value["hits"], answer.origin) for answer in found]
        repair_scores(lists)
        repair_proximity(lists, searchable_count(plan.index))
        if plan.semantic:
            assert plan.query.hybrid is not None
            embedders = reading.index.settings.get("embedders") or {}
            for hits in lists:
                shift_hits(hits, embedders.get(plan.query.hybrid.embedder) or {})
        return merge(lists)


def _settled(
    reading: Reading,
    ranked: Ranked,
    words: SearchPlan,
    similar: SearchPlan,
    keyword: list[Hit] | None,
    semantic: list[Hit] | None,
) -> frozenset[str]:
    """Go through the lists, and leave in `ranked` what was found."""
    found: Found | None = None
    ranked.keyword_hits = None
    if keyword is not None and semantic is not None:
        assert words.query.hybrid is not None
        found = found_by_both(similar, words.query.hybrid.semantic_ratio, keyword, semantic)
        if found is not None:
            ranked.keyword_hits = found_by_words(words, keyword).hits
    elif semantic is not None:
        found = found_by_similarity(similar, semantic)
    ranked.plan = similar
    if found is None:
        assert keyword is not None
        found, ranked.plan = found_by_words(words, keyword), words
    ranked.hits, ranked.shares = found.hits, reading.shares
    ranked.total = ranked.candidates = len(found.candidates)
    return found.candidates

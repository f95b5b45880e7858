"""One ranked list over all shards: asked, merged, deduplicated, cut, and counted as one node would."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from miroir.core.reads.candidates import (
    Visit,
    by_insertion,
    has_relevancy,
    mixed_count,
    needs_everything,
    throws_out,
    walk,
)
from miroir.core.reads.count_bodies import above, count_only, deeper, distinct_values, undropped
from miroir.core.reads.covering import Share
from miroir.core.reads.distinct import ValueKey, deduplicate, duplicates_filter, needs_listing
from miroir.core.reads.facet_merge import FacetSum
from miroir.core.reads.first_ask import first_limit, suffices
from miroir.core.reads.hybrid_merge import mix
from miroir.core.reads.merging import Hit, merge
from miroir.core.reads.scores import searchable_count
from miroir.core.reads.search_plan import (
    Matching,
    SearchPlan,
    join_filters,
    node_search,
    only,
    winners,
)
from miroir.core.topology import IndexView
from miroir.services.reads.frequency import FrequencySearch
from miroir.services.reads.listing import LISTED_MAX, Listed, Lister, hits_of, repaired
from miroir.services.reads.scatter import Answer, Ask, Builder, Reading, Scatter

#: how to ask for more hits than at first
Further = Callable[[SearchPlan, int], Builder]


@dataclass(slots=True)
class Ranked:
    """`hits` are the first `plan.depth` of the whole index, cut by threshold; `total` as a node counts."""

    plan: SearchPlan
    hits: list[Hit]
    total: int
    facets: FacetSum | None
    shares: Sequence[Share]
    candidates: int  #: matches before distinct and threshold took some off
    values: list[list[ValueKey]] = field(default_factory=list)
    visited: list[Visit] = field(
        default_factory=list
    )  #: survivors of `distinct` that one node had come across
    query_vector: list[float] | None = None
    keyword_hits: list[Hit] | None = None  #: of a hybrid search: what its half with words found
    counted: frozenset[str] | None = None  #: sequences of all that is counted, where they had to be listed


class Ranker:
    """Carries a `SearchPlan` out against the nodes."""

    def __init__(self, scatter: Scatter) -> None:
        self._scatter = scatter
        self._frequency = FrequencySearch(scatter)
        self._lister = Lister(scatter)

    async def rank(
        self, reading: Reading, plan: SearchPlan, *, counted: bool = True, by_name: bool = False
    ) -> Ranked:
        """The merged list. `counted` False leaves distinct totals alone (a hybrid half).

        `by_name`: which documents are counted must be known, unless it is all that match (or too many).
        """
        if needs_everything(plan, counted=counted) or (by_name and throws_out(plan)):
            ranked = await self._listed(reading, plan)
            if ranked is not None:
                return ranked
        further = _deeper
        leveled = await self._frequency.search(reading, plan)
        if leveled is None:
            answers, lists = await self._page(reading, plan)
        else:
            lists, plan = leveled.lists, leveled.plan
            answers = await self._scatter.ask(
                reading, lambda share, _: Ask("/search", count_only(plan, share))
            )
        named = plan.query.distinct is not None
        if plan.distinct and any(needs_listing(hits, plan.distinct, named=named) for hits in lists):
            listed = await self._listed(reading, plan)
            if listed is not None:
                return listed
            lists, further = await self._undropped(reading, plan), _without_distinct
        merged = repaired(plan, lists, None if plan.distinct else plan.depth)
        asked = plan.depth
        total = sum(answer.value["estimatedTotalHits"] for answer in answers)
        ranked = Ranked(
            plan=plan,
            hits=merged,
            total=total,
            facets=facet_sum(answers, reading.index) if plan.query.facets else None,
            shares=[answer.share for answer in answers],
            candidates=total,
            query_vector=next((a.value["queryVector"] for a in answers if "queryVector" in a.value), None),
        )
        if plan.distinct:
            hits, values = deduplicate(merged, plan.distinct)
            ranked.hits, ranked.values = hits[: plan.depth], values[: plan.depth]
            if not plan.distinct_is_countable:
                if counted and plan.query.is_paged:
                    survivors = [hit for hit, _ in await self._survivors(reading, plan)]
                    ranked.total = len(survivors)
                    if ranked.facets is not None:
                        ranked.facets = facet_sum(
                            await self.count_hits(reading, ranked, survivors), reading.index
                        )
                else:  # what nodes dropped is off their totals; what was dropped here comes off now
                    ranked.total = max(len(ranked.hits), total - (len(merged) - len(hits)))
            elif counted and (plan.depth or _is_exhaustive(plan)):
                if not _is_exhaustive(plan):
                    visited = await self._visited(reading, ranked, lists, asked, further)
                elif plan.query.facets:  # of every hit that deduplication leaves, however few are shown
                    visited = await self._survivors(reading, plan)
                else:
                    visited = list(zip(hits, values, strict=True))
                ranked.visited = visited
                await self._count_distinct(reading, ranked, visited)
        threshold = plan.query.ranking_score_threshold
        if threshold is not None:
            if counted and plan.query.is_paged and _is_above(merged[-1:], plan, threshold):
                listed = await self._listed(reading, plan)
                if listed is not None:
                    return listed
            await self._cut(reading, ranked, threshold, counted=counted)
        return ranked

    async def _page(self, reading: Reading, plan: SearchPlan) -> tuple[list[Answer], list[list[Hit]]]:
        """The answers of all shares and their hits: as many as the page needs."""
        answers = await self._scatter.ask(
            reading,
            lambda share, _: Ask("/search", node_search(plan, share) | {"limit": first_limit(plan, share)}),
        )
        lists = [hits_of(plan, answer.value["hits"], place) for place, answer in enumerate(answers)]
        if suffices(plan, lists, [first_limit(plan, answer.share) for answer in answers]):
            return answers, lists
        answers = await self._scatter.ask(reading, lambda share, _: Ask("/search", node_search(plan, share)))
        return answers, [hits_of(plan, answer.value["hits"], place) for place, answer in enumerate(answers)]

    async def _listed(self, reading: Reading, plan: SearchPlan) -> Ranked | None:
        """By looking at everything that matches; None where there is too much of it."""
        listed = await self._lister.everything(reading, plan)
        if listed is None:
            return None
        query = plan.query
        whole = query.is_paged and plan.wanted < plan.max_total_hits
        walked = walk(
            listed.found,
            plan.wanted,
            query.ranking_score_threshold,
            whole=whole,
            similar=plan.semantic and has_relevancy(plan),
        )
        counted = walked.counted
        if _is_exhaustive(plan):
            counted = by_insertion(listed.found, counted)
        ranked = _ranked(listed, walked.hits, counted)
        ranked.visited = [(hit, listed.found.values.get(hit.seq, [])) for hit in walked.visited]
        await self._count_listed(reading, ranked, listed)
        return ranked

    async def mixed(
        self, reading: Reading, keyword: SearchPlan, semantic: SearchPlan, ratio: float
    ) -> Ranked | None:
        """A hybrid search by looking at everything that its halves find; None where there is too much of it."""
        query, distinct = keyword.query, keyword.distinct
        halves = [await self._lister.everything(reading, plan) for plan in (keyword, semantic)]
        words, near = halves
        if words is None or near is None:
            return None
        whole = query.is_paged and keyword.wanted < keyword.max_total_hits
        walked = [
            walk(half.found, keyword.wanted, query.ranking_score_threshold, whole=whole)
            for half in (words, near)
        ]
        if _is_exhaustive(keyword):
            walked[0] = replace(walked[0], counted=by_insertion(words.found, walked[0].counted))
        hits = mix(walked[0].hits, walked[1].hits, ratio, searchable_count(reading.index))
        if distinct:
            hits, _ = deduplicate(hits, distinct)
        page = hits[: keyword.wanted]
        counted = mixed_count((words.found, near.found), walked, page, distinct=distinct is not None)
        ranked = _ranked(near, page, counted)
        await self._count_listed(reading, ranked, near)
        return both(ranked, _ranked(words, walked[0].hits, counted), page)

    async def _count_listed(self, reading: Reading, ranked: Ranked, listed: Listed) -> None:
        """Facets of what is counted."""
        if ranked.plan.query.facets and ranked.counted is not None:
            kept = [hit for hit in listed.found.hits if hit.seq in ranked.counted]
            ranked.facets = facet_sum(await self.count_hits(reading, ranked, kept), reading.index)

    async def _undropped(self, reading: Reading, plan: SearchPlan) -> list[list[Hit]]:
        """The lists of nodes that drop nothing, as far as they are needed here.

        Of documents with several values a node may drop one for the sake of another that is itself dropped by
        a document elsewhere.
        """
        assert plan.distinct is not None
        asked = plan.depth
        while True:
            answers = await self._scatter.ask(reading, _without_distinct(plan, asked))
            lists = [hits_of(plan, answer.value["hits"], place) for place, answer in enumerate(answers)]
            kept, _ = deduplicate(merge(lists), plan.distinct)
            last = kept[plan.depth - 1].key if 0 < plan.depth <= len(kept) else None
            cut_short = [hits for hits in lists if len(hits) >= asked > 0]
            if asked >= LISTED_MAX or all(last is not None and h[-1].key >= last for h in cut_short):
                return lists
            asked = min(max(4 * asked, 100), LISTED_MAX)

    async def _survivors(self, reading: Reading, plan: SearchPlan) -> list[Visit]:
        """Every hit that deduplication leaves, up to `maxTotalHits`."""
        assert plan.distinct is not None
        answers = await self._scatter.ask(reading, _deeper(plan, LISTED_MAX))
        lists = [hits_of(plan, answer.value["hits"], place) for place, answer in enumerate(answers)]
        return list(zip(*deduplicate(merge(lists), plan.distinct), strict=True))

    async def _visited(
        self, reading: Reading, ranked: Ranked, lists: Sequence[list[Hit]], asked: int, further: Further
    ) -> list[Visit]:
        """Survivors one node would have come across: a bucket of ties is deduplicated as a whole.

        Our sequence rule makes every bucket a single hit, so the bucket that the page cuts is read to its end
        here, with larger limits, up to `maxTotalHits`.
        """
        plan = ranked.plan
        assert plan.distinct is not None
        if len(ranked.hits) < plan.depth:
            return list(zip(ranked.hits, ranked.values, strict=True))
        last = ranked.hits[-1].key[:-1]
        while (
            last
            and asked < LISTED_MAX
            and any(len(hits) >= asked and hits[-1].key[:-1] <= last for hits in lists)
        ):
            asked = min(max(4 * asked, 100), LISTED_MAX)
            answers = await self._scatter.ask(reading, further(plan, asked))
            lists = [hits_of(plan, answer.value["hits"], place) for place, answer in enumerate(answers)]
        if not last:
            return list(zip(ranked.hits, ranked.values, strict=True))
        hits, values = deduplicate(merge(lists), plan.distinct)
        pairs = zip(hits, values, strict=True)
        return [(hit, keys) for hit, keys in pairs if hit.key[:-1] <= last]

    async def _count_distinct(self, reading: Reading, ranked: Ranked, visited: list[Visit]) -> None:
        """Totals and facets without the duplicates a node would have dropped on its way (H8)."""
        plan = ranked.plan
        assert plan.distinct is not None
        exhaustive = _is_exhaustive(plan)
        answers = await self._scatter.ask(
            reading,
            lambda share, _: Ask(
                "/search", distinct_values(plan, share) if exhaustive else count_only(plan, share)
            ),
        )
        ranked.candidates = sum(answer.value["estimatedTotalHits"] for answer in answers)
        everything = facet_sum(answers, reading.index)
        if exhaustive:
            values = everything.values(plan.distinct)
            ranked.total = ranked.candidates - sum(values.values()) + len(values)
            if ranked.facets is None:
                return
        duplicates = duplicates_filter(plan.distinct, [keys for _, keys in visited])
        if duplicates is None:
            if not exhaustive:
                ranked.total = ranked.candidates
            ranked.facets = everything if plan.query.facets else None
            return
        sharing = await self._scatter.ask(
            reading, lambda share, _: Ask("/search", count_only(plan, share, duplicates))
        )
        if not exhaustive:
            with_value = sum(1 for _, keys in visited if keys)
            shared = sum(answer.value["estimatedTotalHits"] for answer in sharing)
            ranked.total = ranked.candidates - (shared - with_value)
        if ranked.facets is not None:
            kept = [hit for hit, keys in visited if keys]
            for answer in sharing:
                add_facets(everything, answer, sign=-1)
            for answer in await self.count_hits(reading, ranked, kept):
                add_facets(everything, answer)
            ranked.facets = everything

    async def _cut(self, reading: Reading, ranked: Ranked, threshold: float, *, counted: bool) -> None:
        """Drop hits below the threshold; totals shrink only if the cut was reached (H12)."""
        kept = [hit for hit in ranked.hits if hit.score >= threshold]
        reached = len(kept) < ranked.plan.depth
        ranked.hits = kept
        ranked.values = ranked.values[: len(kept)]
        if not reached:
            if ranked.plan.query.is_paged and counted:
                await self._count_above(reading, ranked, threshold)
            return
        ranked.total = len(kept)
        if ranked.facets is not None and counted:
            ranked.facets = facet_sum(await self.count_hits(reading, ranked, kept), reading.index)

    async def _count_above(self, reading: Reading, ranked: Ranked, threshold: float) -> None:
        """Exhaustive totals where more hits pass than can be reached: by the nodes' own, unrepaired scores."""
        answers = await self._scatter.ask(
            reading, lambda share, _: Ask("/search", above(ranked.plan, share, threshold))
        )
        ranked.total = sum(answer.value["totalHits"] for answer in answers)
        if ranked.facets is not None:
            ranked.facets = facet_sum(answers, reading.index)

    async def count_hits(self, reading: Reading, ranked: Ranked, hits: Sequence[Hit]) -> list[Answer]:
        """Facets of exactly these hits."""
        seqs: dict[int, list[str]] = {}  # by share, of which a hybrid search has two on a node
        for hit in hits:
            seqs.setdefault(hit.share, []).append(hit.seq)
        plan = replace(ranked.plan, filter=None, matching={})

        def build(share: Share, origin: int) -> Ask:
            return Ask("/search", count_only(plan, share, only(seqs.get(origin) or [""])))

        return await self._scatter.ask(reading, build, shares=ranked.shares)

    async def fetch_bodies(self, reading: Reading, ranked: Ranked, page: Sequence[Hit]) -> None:
        """The second phase: give the hits of the page their documents (H19)."""
        if not ranked.plan.two_phase or not page:
            return
        seqs: dict[int, list[str]] = {}
        for hit in page:
            seqs.setdefault(hit.share, []).append(hit.seq)

        def build(share: Share, origin: int) -> Ask | None:
            mine = seqs.get(origin)
            return Ask("/search", winners(ranked.plan, share, mine)) if mine else None

        answers = await self._scatter.ask(reading, build, shares=ranked.shares)
        bodies: dict[str, dict[str, Any]] = {}
        for answer in answers:
            for body in answer.value["hits"]:
                bodies[body["_miroir_seq"]] = body
        for hit in page:
            hit.body = bodies.get(hit.seq, hit.body)


def both(semantic: Ranked, keyword: Ranked, hits: list[Hit]) -> Ranked:
    """A hybrid search's page: counted as its semantic half is, each hit from the share that showed it."""
    asked = {id(hit) for hit in keyword.hits}
    for hit in hits:
        if id(hit) in asked:
            hit.share += len(semantic.shares)
    return replace(semantic, hits=hits, values=[], shares=[*semantic.shares, *keyword.shares])


def _is_above(last: Sequence[Hit], plan: SearchPlan, threshold: float) -> bool:
    """Whether there may be more above a threshold than were asked for."""
    return bool(last) and (last[0].score >= threshold and plan.depth >= plan.max_total_hits)


def _is_exhaustive(plan: SearchPlan) -> bool:
    """Whether a node drops every duplicate before it counts, and not those alone that it came across."""
    return plan.query.is_paged and not plan.semantic


def _ranked(listed: Listed, hits: list[Hit], counted: frozenset[str]) -> Ranked:
    return Ranked(
        plan=listed.plan,
        hits=hits,
        total=len(counted),
        facets=None,
        shares=listed.shares,
        candidates=len(counted),
        values=[listed.found.values.get(hit.seq, []) for hit in hits],
        counted=counted,
    )


def counted_matching(ranked: Ranked, matching: Matching) -> Matching:
    """What a search counts: its matches without the duplicates that were dropped on the way."""
    if ranked.counted is not None:
        return Matching({}, only(sorted(ranked.counted)))
    distinct = ranked.plan.distinct
    dropped = None if distinct is None else duplicates_filter(distinct, [keys for _, keys in ranked.visited])
    if dropped is None:
        return matching
    kept = only([hit.seq for hit, _ in ranked.visited])
    return Matching(matching.body, join_filters(matching.filter, f"(NOT {dropped}) OR {kept}"))


def facet_sum(answers: Sequence[Answer], index: IndexView) -> FacetSum:
    """The facets of several answers added up."""
    total = FacetSum(index)
    for answer in answers:
        add_facets(total, answer)
    return total


def add_facets(total: FacetSum, answer: Answer, sign: int = 1) -> None:
    """Add one answer's facets, or take them off."""
    distribution = answer.value.get("facetDistribution") or {}
    total.add(distribution, answer.value.get("facetStats") or {}, sign)


def _without_distinct(plan: SearchPlan, limit: int) -> Builder:
    return lambda share, _: Ask("/search", undropped(plan, share, limit))


def _deeper(plan: SearchPlan, limit: int) -> Builder:
    return lambda share, _: Ask("/search", deeper(plan, share, limit))

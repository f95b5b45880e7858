"""Marks of hits that the shard of a hit sets otherwise than one node would: asked again, of those hits alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from miroir.core.reads.covering import Share
from miroir.core.reads.marks import (
    Body,
    Reach,
    groups_lacking,
    question_of,
    reach_of,
    remarked,
    with_left_out,
)
from miroir.core.reads.merging import Hit
from miroir.core.reads.search_plan import SearchPlan, counting_word, remarking, whole_with_marks
from miroir.core.reads.short_prefixes import (
    can_exist,
    short_prefix,
    shows_prefix,
    with_prefix,
    without_prefix,
)
from miroir.core.reads.word_frequency import Question
from miroir.core.reserved import SEQ_FIELD
from miroir.meili.commands import SearchQuery
from miroir.services.reads.ranked import Ranked
from miroir.services.reads.scatter import Ask, Builder, Reading, Scatter

#: Searches of one node for one page; what would need more is shown as it came.
_SEARCHES_MAX = 40


class Marker:
    """Sets the marks of a page right."""

    def __init__(self, scatter: Scatter) -> None:
        self._scatter = scatter

    async def complete(self, reading: Reading, ranked: Ranked, page: Sequence[Hit]) -> None:
        """Change `_formatted` and `_matchesPosition` of hits of the page where that is needed.

        Raises NodeRefusal, ApiError miroir_index_incomplete.
        """
        query = ranked.plan.query
        if not page or (ranked.plan.semantic and ranked.keyword_hits is None):
            return
        asked = question_of(reading.index, query)
        if asked is None:
            return
        hits = ranked.hits if ranked.keyword_hits is None else ranked.keyword_hits
        reach = reach_of(asked, query, hits)
        if reach is not None:
            await self._look_up(reading, ranked, reach, hits, page)
        elif any(hit.left_out for hit in page):
            await self._add_left_out(reading, ranked, asked, page)
        prefix = short_prefix(reading.index, query, asked)
        if prefix is not None:
            await self._agree_on_prefix(reading, ranked, asked, prefix, page)

    async def _look_up(
        self, reading: Reading, ranked: Ranked, reach: Reach, hits: Sequence[Hit], page: Sequence[Hit]
    ) -> None:
        """Add the marks of words that the shard did not look up; `hits` are those that words found."""
        plan = ranked.plan
        groups = groups_lacking(reach, hits, page, alone=plan.two_phase)
        if not groups:
            return

        def build(share: Share, origin: int) -> Ask | None:
            queries: list[Body] = []
            for kept, seqs in groups.get(origin, {}).items():
                texts = [reach.rewritten(kept, first) for first in reach.lacking(kept)]
                queries += remarking(plan, share, seqs, texts)
            return _many(plan, queries) if 0 < len(queries) <= _SEARCHES_MAX else None

        await self._ask(reading, ranked, build, page)

    async def _add_left_out(
        self, reading: Reading, ranked: Ranked, asked: Question, page: Sequence[Hit]
    ) -> None:
        """Add the marks of words that hits were found without (`matchingStrategy: frequency`)."""
        plan = ranked.plan
        groups: dict[int, dict[tuple[int, ...], list[str]]] = {}
        for hit in page:
            if hit.left_out:
                groups.setdefault(hit.share, {}).setdefault(hit.left_out, []).append(hit.seq)

        def build(share: Share, origin: int) -> Ask | None:
            queries: list[Body] = []
            for left_out, seqs in groups.get(origin, {}).items():
                queries += remarking(plan, share, seqs, with_left_out(asked, left_out))[1:]
            return _many(plan, queries) if 0 < len(queries) <= _SEARCHES_MAX else None

        await self._ask(reading, ranked, build, page)

    async def _ask(self, reading: Reading, ranked: Ranked, build: Builder, page: Sequence[Hit]) -> None:
        """Put the marks together that several searches of one node show."""
        bodies: dict[str, list[Body]] = {}
        for answer in await self._scatter.ask(reading, build, shares=ranked.shares):
            for result in answer.value["results"]:
                for body in result["hits"]:
                    bodies.setdefault(body[SEQ_FIELD], []).append(body)
        for hit in page:
            found = bodies.get(hit.seq)
            if found:
                _change(hit, remarked(found, ranked.plan.query), ranked.plan)

    async def _agree_on_prefix(
        self, reading: Reading, ranked: Ranked, asked: Question, prefix: str, page: Sequence[Hit]
    ) -> None:
        """Mark a short unfinished word in all hits or in none."""
        plan = ranked.plan
        counted = Reach(asked, 0)
        having = [hit for hit in page if counted.kept(hit) == len(asked.words)]
        showing = {hit.share for hit in having if shows_prefix(hit.body, prefix, plan.query)}
        if all(hit.share in showing for hit in having):
            return
        seqs: dict[int, list[str]] = {}
        for hit in having:
            seqs.setdefault(hit.share, []).append(hit.seq)

        def build(share: Share, origin: int) -> Ask:
            mine = seqs.get(origin)
            return _many(
                plan,
                [counting_word(prefix), *([whole_with_marks(plan, share, mine)] if mine else [])],
            )

        answers = await self._scatter.ask(reading, build, shares=ranked.shares)
        results: list[list[dict[str, Any]]] = [answer.value["results"] for answer in answers]
        is_word = can_exist(reading.index, prefix) and any(each[0]["estimatedTotalHits"] for each in results)
        whole = {body[SEQ_FIELD]: body for each in results for part in each[1:] for body in part["hits"]}
        _settle(having, whole, prefix, plan, is_word=is_word)


def _settle(
    hits: Sequence[Hit], whole: Mapping[str, Body], prefix: str, plan: SearchPlan, *, is_word: bool
) -> None:
    """Mark a beginning in all hits if it is a word; in none if it is not, and some shard did not mark it."""
    # Positions show marks everywhere, also in attributes that are not highlighted.
    only_positions = SearchQuery(q=plan.query.q, show_matches_position=True)
    marked = {h.share for h in hits if h.seq in whole and shows_prefix(whole[h.seq], prefix, only_positions)}
    if all(hit.share in marked for hit in hits if hit.seq in whole):
        return
    for hit in hits:
        if hit.seq in whole and is_word != (hit.share in marked):
            change = with_prefix if is_word else without_prefix
            _change(hit, change(hit.body, whole[hit.seq], prefix, plan.query), plan)


def _many(plan: SearchPlan, searches: Sequence[Body]) -> Ask:
    """Several searches of one index at once."""
    uid = plan.index.physical_uid
    return Ask(
        "", {"queries": [{"indexUid": uid, **search} for search in searches]}, absolute="/multi-search"
    )


def _change(hit: Hit, change: Body | None, plan: SearchPlan) -> None:
    if change is None:
        return
    if not plan.query.show_matches_position:
        change.pop("_matchesPosition", None)
    hit.body |= change

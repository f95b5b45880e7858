"""Searches with `matchingStrategy: frequency`, asked level by level where shards would drop different words."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from miroir.core.reads.covering import Share
from miroir.core.reads.marks import question_of, shows_marks
from miroir.core.reads.merging import Hit, merge, take_hits
from miroir.core.reads.scores import searchable_count
from miroir.core.reads.search_plan import SearchPlan, node_search, with_filter
from miroir.core.reads.word_frequency import (
    Levels,
    Question,
    grouped,
    leaves_gap,
    levels,
    not_from_start,
    question,
    ranked_at,
)
from miroir.meili.commands import JsonObject
from miroir.services.reads.scatter import Answer, Ask, Reading, Scatter

#: Searches for one question; beyond it nodes decide by themselves.
_SEARCHES_MAX = 64


@dataclass(frozen=True, slots=True)
class Leveled:
    """`lists` of hits as nodes would have given them; `plan` counts what matches."""

    lists: list[list[Hit]]
    plan: SearchPlan


class FrequencySearch:
    """Asks nodes so that the words of the whole index decide."""

    def __init__(self, scatter: Scatter) -> None:
        self._scatter = scatter

    async def search(self, reading: Reading, plan: SearchPlan) -> Leveled | None:
        """None where nodes decide as the whole would, or where that cannot be told: ask them as they are."""
        asked = _question(plan)
        if asked is None:
            return None
        found = await self._levels(reading, plan, asked)
        if found is None:
            return None
        lists: list[list[Hit]] = []
        searches = 0
        for cost, sets in found.removed():
            searches += len(sets)
            if searches > _SEARCHES_MAX:
                return None
            for removed in sets:
                part = _rewritten(plan, asked, removed, "last")
                rank = found.best_rank - cost
                gap = leaves_gap(len(asked.words), removed)
                for place, hits in enumerate(await self._hits(reading, part, rank, found.best_rank, gap=gap)):
                    lists.append(_taken(hits, place) if gap else take_hits(hits, place))
                    for hit in lists[-1]:
                        hit.left_out = removed
            if len({hit.seq for hits in lists for hit in hits}) >= plan.depth:
                break
        counting = _rewritten(plan, asked, found.always, "all")
        return Leveled(_without_repeats(lists), counting)

    async def _hits(
        self, reading: Reading, plan: SearchPlan, rank: int, best_rank: int, *, gap: bool
    ) -> list[list[dict[str, Any]]]:
        answers = await self._scatter.ask(reading, lambda share, _: Ask("/search", node_search(plan, share)))
        if gap:
            for body in (body for answer in answers for body in answer.value["hits"]):
                not_from_start(body, searchable_count(plan.index))
        return [ranked_at(answer.value["hits"], rank, best_rank) for answer in answers]

    async def _levels(self, reading: Reading, plan: SearchPlan, asked: Question) -> Levels | None:
        """The levels by the counts of all shards; None where every node comes to the same by its own."""
        size = len(asked.words)

        def build(share: Share, _: int) -> Ask:
            return Ask("", _counting(plan, asked, share), absolute="/multi-search")

        answers = await self._scatter.ask(reading, build)
        counts = [_totals(answer) for answer in answers]
        whole = [sum(own[number] for own in counts) for number in range(size)]
        if all(grouped(own[size:]) == grouped(whole) for own in counts):
            return None
        return levels(whole, asked.phrase_words)


def _taken(hits: list[dict[str, Any]], place: int) -> list[Hit]:
    """Hits whose details were changed: not in the order of their node any more."""
    taken = [hit for body in hits for hit in take_hits([body], place)]
    return sorted(taken, key=lambda hit: hit.key)


def _question(plan: SearchPlan) -> Question | None:
    query = plan.query
    rules = plan.index.settings.get("rankingRules") or ["words"]
    if query.matching_strategy != "frequency" or not query.q or plan.semantic:
        return None
    if _first_rule(rules) != "words" or (plan.two_phase and shows_marks(query)):
        return None
    asked = question(query.q, plan.index.settings, cut=True)
    if asked is None or not asked.words or len(asked.words) + asked.phrase_words < 2:
        return None
    # The marks of what is left out are added afterwards, but not beside phrases.
    return None if shows_marks(query) and question_of(plan.index, query) is None else asked


def _first_rule(rules: list[str]) -> str:
    """The rule that ranks first in a keyword search; `words` comes by itself before those that need it."""
    needing = ("typo", "proximity", "attribute", "attributeRank", "wordPosition", "exactness")
    return "words" if rules[0] in needing else rules[0]


def _rewritten(plan: SearchPlan, asked: Question, removed: tuple[int, ...], strategy: str) -> SearchPlan:
    """The plan for a part of the words. Nodes search all of the words by `last`, which shows their number."""
    change = {"q": asked.without(removed), "matchingStrategy": strategy}
    return replace(plan, matching=plan.matching | change, body=plan.body | change)


def _counting(plan: SearchPlan, asked: Question, share: Share) -> JsonObject:
    """Asks a node how often each word occurs: in its part of the index, then in all that it holds."""
    kept = {k: v for k, v in plan.matching.items() if k in ("attributesToSearchOn", "locales")}
    bodies = [
        {"indexUid": plan.index.physical_uid, "q": asked.word(number), "limit": 0, **kept}
        | {"matchingStrategy": "all"}
        for number in range(len(asked.words))
    ]
    return {"queries": [*(with_filter(body, share.shard_filter) for body in bodies), *bodies]}


def _totals(answer: Answer) -> list[int]:
    return [result["estimatedTotalHits"] for result in answer.value["results"]]


def _without_repeats(lists: list[list[Hit]]) -> list[list[Hit]]:
    """Every document once, where it matches most words."""
    seen: set[str] = set()
    best: list[Hit] = []
    for hit in merge(lists):
        if hit.seq not in seen:
            seen.add(hit.seq)
            best.append(hit)
    return [best]

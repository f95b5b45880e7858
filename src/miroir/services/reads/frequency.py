"""Searches with `matchingStrategy: frequency`, asked level by level where shards would drop different words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from miroir.core.reads.covering import Share
from miroir.core.reads.frequency_levels import Levels, Words, grouped, levels, ranked_at, ways_kept
from miroir.core.reads.marks import question_of, shows_marks
from miroir.core.reads.merging import Hit, merge, take_hits
from miroir.core.reads.path_costs import repair_all
from miroir.core.reads.search_plan import Matching, SearchPlan, node_search, sequences, with_filter
from miroir.core.reads.word_frequency import Question, question
from miroir.meili.commands import JsonObject
from miroir.services.reads.scatter import Answer, Ask, Reading, Scatter
from miroir.services.reads.spelling import found_sequences

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
        for cost, ways in await self._ways(reading, plan, asked, found):
            searches += len(ways)
            if searches > _SEARCHES_MAX:
                return None
            lists += await self._hits(reading, plan, asked, ways, (found.best_rank - cost, found.best_rank))
            if len({hit.seq for hits in lists for hit in hits}) >= plan.depth:
                break
        lists = ways_kept(lists)
        repair_all(plan, lists)
        counting = _rewritten(plan, asked.without(found.always), "all")
        return Leveled(_without_repeats(lists), counting)

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

    async def _ways(
        self, reading: Reading, plan: SearchPlan, asked: Question, found: Levels
    ) -> Iterator[tuple[int, list[Words]]]:
        """The ways that find something, cheapest first; all there are where too much matches to tell."""
        if found.are_plain:
            return found.removed()
        rest = [tuple(other for other in found.always if other != word) for word in found.always]
        texts = [asked.without(removed) for removed in (found.always, *rest)]
        matchings = [Matching(_rewritten(plan, text, "all").matching, plan.filter) for text in texts]
        answers = await self._many(
            reading, plan, lambda share: [sequences(each, share) for each in matchings]
        )
        having: dict[str, set[int]] = {}
        for results in answers:
            if any(len(found_sequences(each)) < each["estimatedTotalHits"] for each in results):
                return found.removed()
            for seq in found_sequences(results[0]):
                having[seq] = set()
            for word, each in zip(found.always, results[1:], strict=True):
                for seq in found_sequences(each):
                    having.setdefault(seq, set()).add(word)
        return found.finding(set(map(frozenset, having.values())))

    async def _hits(
        self,
        reading: Reading,
        plan: SearchPlan,
        asked: Question,
        ways: Sequence[Words],
        ranks: tuple[int, int],
    ) -> list[list[Hit]]:
        """What each way finds on each node: one list for each of both."""
        parts = [_rewritten(plan, asked.lacking(removed), "frequency") for removed in ways]
        answers = await self._many(
            reading, plan, lambda share: [node_search(part, share) | {"facets": []} for part in parts]
        )
        lists = []
        for place, results in enumerate(answers):
            for removed, result in zip(ways, results, strict=True):
                hits = take_hits(ranked_at(result["hits"], len(removed), *ranks), place)
                for hit in hits:
                    hit.left_out = removed
                lists.append(hits)
        return lists

    async def _many(
        self, reading: Reading, plan: SearchPlan, bodies: Callable[[Share], list[JsonObject]]
    ) -> list[list[JsonObject]]:
        """Several searches of every node at once."""

        def build(share: Share, _: int) -> Ask:
            uid = plan.index.physical_uid
            queries = [{"indexUid": uid, **body} for body in bodies(share)]
            return Ask("", {"queries": queries}, absolute="/multi-search")

        return [answer.value["results"] for answer in await self._scatter.ask(reading, build)]


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


def _rewritten(plan: SearchPlan, text: str, strategy: str) -> SearchPlan:
    """The plan for another text."""
    change = {"q": text, "matchingStrategy": strategy}
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

"""Searches with `matchingStrategy: frequency`, asked level by level where shards would drop different words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from miroir.core.reads.candidates import RELEVANCY, has_relevancy
from miroir.core.reads.covering import Share
from miroir.core.reads.frequency_levels import (
    Levels,
    Words,
    grouped,
    levels,
    ranked_at,
    ways_kept,
    with_joined,
)
from miroir.core.reads.marks import question_of, shows_marks
from miroir.core.reads.merging import Hit, merge, take_hits
from miroir.core.reads.path_costs import is_joined, repair_all
from miroir.core.reads.search_plan import Matching, SearchPlan, node_search, only, sequences, with_filter
from miroir.core.reads.word_frequency import Question, question
from miroir.meili.commands import JsonObject
from miroir.services.reads.scatter import Answer, Ask, NodeRefusal, Reading, Scatter
from miroir.services.reads.spelling import found_sequences

#: Searches for one question; beyond it nodes decide by themselves.
_SEARCHES_MAX = 64


@dataclass(frozen=True, slots=True)
class Leveled:
    """`lists` of hits as nodes would have given them; `plan` counts what matches."""

    lists: list[list[Hit]]
    plan: SearchPlan


@dataclass(slots=True)
class _Having:
    """Words of each match, by sequence. `joined_only`: some have words only in a concatenation, which no query finds alone."""

    words: dict[str, set[int]]
    joined_only: bool


class FrequencySearch:
    """Asks nodes so that the words of the whole index decide."""

    def __init__(self, scatter: Scatter) -> None:
        self._scatter = scatter

    async def search(self, reading: Reading, plan: SearchPlan) -> Leveled | None:
        """None where nodes decide as the whole would, or where that cannot be told: ask them as they are."""
        asked = _question(plan)
        if asked is None:
            return None
        try:
            return await self._leveled(reading, plan, asked)
        except NodeRefusal:
            return None  # nodes refuse it as it is, in their words

    async def _leveled(self, reading: Reading, plan: SearchPlan, asked: Question) -> Leveled | None:
        found = await self._levels(reading, plan, asked)
        if found is None:
            return None
        counting = _rewritten(plan, asked.without(found.always), "all")
        ways_found = found.removed()
        if found.joined or not found.are_plain:
            having = await self._having(reading, plan, asked, found)
            if having is not None:
                ways_found = found.finding(set(map(frozenset, having.words.values())))
                if having.joined_only:
                    counting = _counting_only(plan, having.words)
        by_words = _first_rule(plan) == "words"
        lists: list[list[Hit]] = []
        searches = 0
        for cost, ways in ways_found:
            searches += len(ways)
            if searches > _SEARCHES_MAX:
                return None
            hits = await self._hits(reading, plan, asked, ways, (found.best_rank - cost, found.best_rank))
            lists += [
                [hit for hit in each if is_joined(hit) or not found.is_joined(hit.left_out)] for each in hits
            ]
            if by_words and len({hit.seq for hits in lists for hit in hits}) >= plan.depth:
                break
        lists = ways_kept(lists)
        repair_all(plan, lists)
        return Leveled(_without_repeats(lists), counting)

    async def _levels(self, reading: Reading, plan: SearchPlan, asked: Question) -> Levels | None:
        """The levels by the counts of all shards; None where every node comes to the same by its own."""
        size = len(asked.words)

        def build(share: Share, _: int) -> Ask:
            return Ask("", _counting(plan, asked, share), absolute="/multi-search")

        answers = await self._scatter.ask(reading, build)
        counts = [_totals(answer) for answer in answers]
        half = len(counts[0]) // 2
        whole = with_joined(size, [sum(each) for each in zip(*(own[:half] for own in counts), strict=True)])
        if all(grouped(with_joined(size, own[half:]).words) == grouped(whole.words) for own in counts):
            return None
        return levels(whole.words, asked.phrase_words, whole.joined)

    async def _having(
        self, reading: Reading, plan: SearchPlan, asked: Question, found: Levels
    ) -> _Having | None:
        """Which of the words that may go missing each match has; None where too much matches."""
        kept = found.kept_alone()
        rest = [tuple(word for word in found.always if word not in each) for each in kept]
        texts = [asked.without(removed) for removed in (found.always, *rest)]
        matchings = [Matching(_rewritten(plan, text, "all").matching, plan.filter) for text in texts]
        answers = await self._many(
            reading, plan, lambda share: [sequences(each, share) for each in matchings]
        )
        having = _Having({}, joined_only=False)
        for results in answers:
            if any(len(found_sequences(each)) < each["estimatedTotalHits"] for each in results):
                return None
            mine: dict[str, set[int]] = {seq: set() for seq in found_sequences(results[0])}
            apart = len(mine)
            for words, each in zip(kept, results[1:], strict=True):
                for seq in found_sequences(each):
                    mine.setdefault(seq, set()).update(words)
            having.joined_only |= len(mine) > apart
            having.words.update(mine)
        return having

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
    if query.matching_strategy != "frequency" or not query.q or plan.semantic:
        return None
    if (plan.two_phase and shows_marks(query)) or not has_relevancy(plan):
        return None
    asked = question(query.q, plan.index.settings, cut=True)
    if asked is None or not asked.words or len(asked.words) + asked.phrase_words < 2:
        return None
    # The marks of what is left out are added afterwards, but not beside phrases.
    return None if shows_marks(query) and question_of(plan.index, query) is None else asked


def _first_rule(plan: SearchPlan) -> str:
    """The rule that ranks first; `words` comes by itself before those that need it, `sort` needs something to sort by."""
    rules = plan.index.settings.get("rankingRules") or ["words"]
    active = [rule for rule in rules if rule != "sort" or plan.query.sort]
    return "words" if not active or active[0] in RELEVANCY else active[0]


def _rewritten(plan: SearchPlan, text: str, strategy: str) -> SearchPlan:
    """The plan for another text."""
    change = {"q": text, "matchingStrategy": strategy}
    return replace(plan, matching=plan.matching | change, body=plan.body | change)


def _counting_only(plan: SearchPlan, seqs: Iterable[str]) -> SearchPlan:
    """The plan for exactly these documents."""
    blank = _rewritten(plan, "", "all")
    return replace(blank, filter=only(sorted(seqs)))


def _counting(plan: SearchPlan, asked: Question, share: Share) -> JsonObject:
    """Asks a node how often each word occurs: in its part of the index, then in all that it holds.

    With them for pairs of neighbours, and for those of these that have either word: what is left has them joined.
    """
    kept = {k: v for k, v in plan.matching.items() if k in ("attributesToSearchOn", "locales")}
    size = len(asked.words)

    def body(text: str) -> JsonObject:
        uid = plan.index.physical_uid
        return {"indexUid": uid, "q": text, "limit": 0, **kept, "matchingStrategy": "all"}

    words = [body(asked.word(number)) for number in range(size)]
    pairs = [
        body(text)
        for number in range(size - 1)
        for text in (asked.pair(number), asked.also(number, number), asked.also(number + 1, number))
    ]
    counting = [*words, *pairs]
    return {"queries": [*(with_filter(each, share.shard_filter) for each in counting), *counting]}


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

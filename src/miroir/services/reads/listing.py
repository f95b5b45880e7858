"""Everything that a search finds, in order: asked only where a page of each shard cannot tell what one node would say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from miroir.core.reads.candidates import Listing, listing
from miroir.core.reads.count_bodies import bound, listed
from miroir.core.reads.covering import Share
from miroir.core.reads.hybrid_merge import semantic_hits, shift_all
from miroir.core.reads.merging import Hit, merge, take_hits
from miroir.core.reads.path_costs import repair_all
from miroir.core.reads.search_plan import SearchPlan, node_search
from miroir.meili.commands import JsonObject
from miroir.services.reads.frequency import FrequencySearch
from miroir.services.reads.scatter import Ask, Reading, Scatter

#: Matches of one search that are listed; where there are more, what is shown is what pages can tell.
LISTED_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Listed:
    """`found` without documents; `plan` fetches those of a page."""

    plan: SearchPlan
    found: Listing
    shares: Sequence[Share]


class Lister:
    """Lists everything that matches a plan."""

    def __init__(self, scatter: Scatter) -> None:
        self._scatter = scatter
        self._frequency = FrequencySearch(scatter)

    async def everything(self, reading: Reading, plan: SearchPlan) -> Listed | None:
        """None when there is too much of it."""
        counts = await self._scatter.ask(reading, lambda share, _: Ask("/search", bound(plan, share)))
        if sum(answer.value["estimatedTotalHits"] for answer in counts) > LISTED_MAX:
            return None
        whole = listed(plan, LISTED_MAX)
        shares = [answer.share for answer in counts]
        leveled = await self._frequency.search(reading, whole)
        if leveled is not None:
            counting = leveled.plan
            lists, plan = leveled.lists, replace(plan, matching=counting.matching, filter=counting.filter)
        else:
            answers = await self._scatter.ask(
                reading, lambda share, _: Ask("/search", node_search(whole, share))
            )
            if any(len(each.value["hits"]) < each.value["estimatedTotalHits"] for each in answers):
                return None  # the node was not told yet that it may list so many
            lists = [hits_of(plan, answer.value["hits"], place) for place, answer in enumerate(answers)]
            shares = [answer.share for answer in answers]
        merged = repaired(plan, lists)
        return Listed(replace(plan, two_phase=True), listing(merged, plan.distinct), shares)


def hits_of(plan: SearchPlan, raw: list[JsonObject], place: int) -> list[Hit]:
    """One node's hits, in the order in which they are merged."""
    if not plan.semantic:
        return take_hits(raw, place)
    hits = semantic_hits(raw, place, plan.query.sort or (), plan.index.settings["rankingRules"])
    shift_all(hits, plan)
    return hits


def repaired(plan: SearchPlan, lists: Sequence[list[Hit]], limit: int | None = None) -> list[Hit]:
    """The lists as one, scores as one node would have given them."""
    repair_all(plan, lists)
    return merge(lists, limit)

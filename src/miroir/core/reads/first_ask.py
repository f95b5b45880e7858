"""How many hits to ask of each node at first: fewer than the page has, for a page's hits lie on several nodes. Pure.

Which shard a document is in has nothing to do with its rank, so that a node's part of a page is spread like a sample.
Where a node's list turns out too short, all are asked for a whole page each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from miroir.core.reads.covering import Share
from miroir.core.reads.merging import Hit, merge
from miroir.core.reads.path_costs import varies
from miroir.core.reads.search_plan import SearchPlan

#: below this many hits there is nothing to save
_DEPTH_MIN = 8
#: standard deviations above the mean: about one page in a hundred is asked for twice
_DEVIATIONS = 2.5


def first_limit(plan: SearchPlan, share: Share) -> int:
    """Hits to ask of a node at first; the whole page where every hit may matter."""
    depth = plan.depth
    if depth < _DEPTH_MIN or plan.distinct or plan.semantic or plan.two_phase:
        return depth
    if plan.by_frequency or not _typos_first(plan.index.settings.get("rankingRules") or ()):
        return depth  # the end of the page may move
    if plan.query.ranking_score_threshold is not None:
        return depth
    part = len(share.shards) / plan.index.shard_count
    mean = depth * part
    return min(depth, math.ceil(mean + _DEVIATIONS * math.sqrt(mean * (1 - part))))


def suffices(plan: SearchPlan, lists: Sequence[list[Hit]], limits: Sequence[int]) -> bool:
    """Whether the page, and what is shown of its hits, would be the same with longer lists.

    Scores are repaired by what other shards show in the same bucket: a list that reaches the page's end has shown
    something of every bucket on the page. Where proximities may be rated anew, the end itself can move.
    """
    short = [hits for hits, limit in zip(lists, limits, strict=True) if plan.depth > limit <= len(hits)]
    if not short:
        return True
    page = merge(lists, plan.depth)
    if len(page) < plan.depth:
        return False
    last = page[-1]
    if varies(last, by_frequency=plan.by_frequency):
        return False
    try:
        return all(hits[-1].key >= last.key for hits in short)
    except TypeError:  # shards rank by different rules at the moment
        return False


def _typos_first(rules: Sequence[str]) -> bool:
    """Whether typos tell concatenations apart before proximities are compared."""
    return "proximity" not in rules or "typo" in rules[: rules.index("proximity")]

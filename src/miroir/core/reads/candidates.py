"""What one node would have counted and shown, told from the list of everything that matches.

A node goes through its ranked buckets until the page is full, and counts what it has not thrown out on its way: below
a threshold, or sharing a value of the distinct attribute with a document it kept. Given every match of all shards in
order, that way is gone here once more. reference: search-semantics C.11, C.13, F.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from miroir.core.reads.distinct import ValueKey, distinct_keys
from miroir.core.reads.merging import Hit
from miroir.core.reads.search_plan import SearchPlan

#: In a semantic search similarities are compared where the first of these stands.
RELEVANCY = frozenset(
    ("words", "typo", "proximity", "attribute", "attributeRank", "wordPosition", "exactness")
)
#: a hit and the values of the distinct attribute it holds
Visit = tuple[Hit, list[ValueKey]]


@dataclass(frozen=True, slots=True)
class Listing:
    """Every match of a search in its order, `values` those of the distinct attribute by sequence."""

    hits: Sequence[Hit]
    values: dict[str, list[ValueKey]]


@dataclass(frozen=True, slots=True)
class Walked:
    """`hits`: the page and what lies before it; `visited`: all survivors come across; `counted`: sequences."""

    hits: list[Hit]
    visited: list[Hit]
    counted: frozenset[str]


def falls_in_score(plan: SearchPlan) -> bool:
    """Whether no hit can have a higher score than those before it: no value is compared before words are."""
    if not plan.semantic and not (plan.query.q or "").strip():
        return True
    by_value = False
    for name in plan.index.settings["rankingRules"]:
        if name not in RELEVANCY:
            by_value |= bool(plan.query.sort) if name == "sort" else True
        elif plan.semantic or by_value:
            return not by_value
    return True


def has_relevancy(plan: SearchPlan) -> bool:
    """Whether some rule compares words, and so similarities."""
    return any(name in RELEVANCY for name in plan.index.settings["rankingRules"])


def breaks_ties(plan: SearchPlan) -> bool:
    """Whether values decide between documents that are equally relevant."""
    return any(":" in name for name in plan.index.settings["rankingRules"]) or bool(plan.query.sort)


def needs_everything(plan: SearchPlan, *, counted: bool) -> bool:
    """Whether pages of the shards, and counts, cannot tell what one node would have shown and counted."""
    if plan.query.ranking_score_threshold is not None and (
        plan.distinct or not falls_in_score(plan) or (plan.semantic and plan.query.is_paged)
    ):
        return True
    if plan.distinct is None:
        return False
    if not plan.distinct_is_countable:
        return True
    if not counted:
        return False
    if plan.by_frequency:
        return (
            True  # the matches may be found by several searches, and then no node's buckets are the whole's
        )
    has_facets, is_exhaustive = bool(plan.query.facets), plan.query.is_paged and not plan.semantic
    # By counts alone several values of a document, and other spellings of a facet, cannot be told.
    return (has_facets or is_exhaustive) if plan.index.exact else (has_facets and is_exhaustive)


def throws_out(plan: SearchPlan) -> bool:
    """Whether a node may count less than what matches."""
    return bool(plan.distinct) or plan.query.ranking_score_threshold is not None


def listing(hits: Sequence[Hit], distinct: str | None) -> Listing:
    """The list with the values that decide which hits are duplicates."""
    if distinct is None:
        return Listing(hits, {})
    return Listing(hits, {hit.seq: distinct_keys(hit.body, distinct) for hit in hits})


def walk(
    everything: Listing, depth: int, threshold: float | None, *, whole: bool, similar: bool = False
) -> Walked:
    """Go through the buckets until `depth` hits are found; `whole`: to the end, for the sake of exact totals.

    `similar`: by similarity, of which a node knows none when it needs no hits at all.
    """
    if whole and similar and depth == 0 and threshold is not None and threshold > 0.0:
        return Walked([], [], frozenset())
    hits: list[Hit] = []
    visited: list[Hit] = []
    seen: set[ValueKey] = set()
    below: set[str] = set()
    values = everything.values
    for bucket in _buckets(everything.hits):
        if len(hits) >= depth and not (whole and threshold is not None):
            break
        for hit in bucket:
            mine = values.get(hit.seq, ())
            if not seen.isdisjoint(mine):
                continue
            if threshold is not None and hit.score < threshold:
                below.add(hit.seq)
                continue
            seen.update(mine)
            visited.append(hit)
            if len(hits) < depth:
                hits.append(hit)
    counted = _without(everything, seen, visited) - below
    return Walked(hits, visited, frozenset(counted))


def by_insertion(everything: Listing, counted: frozenset[str]) -> frozenset[str]:
    """Of what was counted one document per value, whichever was inserted first: exhaustive totals of keyword searches."""
    seen: set[ValueKey] = set()
    kept = []
    for seq in sorted(counted):
        mine = everything.values.get(seq, ())
        if seen.isdisjoint(mine):
            seen.update(mine)
            kept.append(seq)
    return frozenset(kept)


def mixed_count(
    lists: Sequence[Listing], walked: Iterable[Walked], page: Sequence[Hit], *, distinct: bool
) -> frozenset[str]:
    """What a hybrid search counts, of which `page` is the mixed list up to the end of the page."""
    counted = frozenset().union(*(each.counted for each in walked))
    if not distinct:
        return counted
    values: dict[str, list[ValueKey]] = {}
    for each in lists:
        values.update(each.values)
    seen = {key for hit in page for key in values.get(hit.seq, ())}
    kept = {seq for seq in counted if seen.isdisjoint(values.get(seq, ()))}
    return frozenset(kept | {hit.seq for hit in page})


def _buckets(hits: Sequence[Hit]) -> Iterator[list[Hit]]:
    """Hits that no rule tells apart. Without rules every hit is its own: a node then stops at the page's end."""
    if hits and not hits[0].key[:-1]:
        return ([hit] for hit in hits)
    grouped = groupby(hits, key=lambda hit: (hit.key[:-1], round(hit.score, 12)))
    return (sorted(group, key=lambda hit: hit.seq) for _, group in grouped)


def _without(everything: Listing, seen: set[ValueKey], visited: Sequence[Hit]) -> set[str]:
    """Sequences of all but those that share a value with a survivor and are none themselves."""
    if not seen:
        return {hit.seq for hit in everything.hits}
    kept = {hit.seq for hit in everything.hits if seen.isdisjoint(everything.values.get(hit.seq, ()))}
    return kept | {hit.seq for hit in visited}

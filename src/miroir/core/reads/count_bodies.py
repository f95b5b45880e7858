"""What is asked of nodes to count what a search finds, and to look further down its list. reference: H6, H8, H12."""

from __future__ import annotations

from dataclasses import replace

from miroir.core.reads.covering import Share
from miroir.core.reads.search_plan import SearchPlan, node_search, with_filter
from miroir.core.reserved import SEQ_FIELD
from miroir.meili.commands import FilterValue, JsonObject


def listed(plan: SearchPlan, limit: int) -> SearchPlan:
    """The plan for everything that matches, without documents and without dropping any; bodies come later."""
    body = plan.matching | {"limit": limit, "showRankingScore": True, "showRankingScoreDetails": True}
    body["attributesToRetrieve"] = [plan.distinct] if plan.distinct else []
    if plan.distinct:
        body["distinct"] = SEQ_FIELD
    return replace(plan, depth=limit, body=body)


def bound(plan: SearchPlan, share: Share) -> JsonObject:
    """Counts what `listed` may find, and is refused where the search is."""
    body = count_only(plan, share)
    if plan.semantic:
        body["hybrid"] = {**body["hybrid"], "semanticRatio": 1.0}
    return body | {"distinct": plan.query.distinct} if plan.query.distinct is not None else body


def undropped(plan: SearchPlan, share: Share, limit: int) -> JsonObject:
    """The first request once more, with a distinct attribute that is different in every document."""
    return node_search(plan, share) | {"distinct": SEQ_FIELD, "limit": limit}


def deeper(plan: SearchPlan, share: Share, limit: int) -> JsonObject:
    """The same list, further down, without documents."""
    body = plan.matching | {"limit": limit, "showRankingScore": True, "showRankingScoreDetails": True}
    body["attributesToRetrieve"] = [plan.distinct] if plan.distinct else []
    if plan.query.distinct is not None:
        body["distinct"] = plan.query.distinct
    return with_filter(body, plan.filter, share.shard_filter)


def count_only(plan: SearchPlan, share: Share, extra: FilterValue | None = None) -> JsonObject:
    """Totals and facets of everything that matches: with `limit` 0 a node ignores `distinct`."""
    body = dict(plan.matching)
    body["limit"] = 0
    if plan.query.facets:
        body["facets"] = list(plan.query.facets)
    return with_filter(body, plan.filter, share.shard_filter, extra)


def above(plan: SearchPlan, share: Share, threshold: float) -> JsonObject:
    """Exhaustive totals and facets of the hits above a threshold; in page mode a node looks at all of them."""
    body = plan.matching | {"page": 1, "hitsPerPage": 1, "attributesToRetrieve": []}
    body["rankingScoreThreshold"] = threshold
    if plan.query.distinct is not None:
        body["distinct"] = plan.query.distinct
    if plan.query.facets:
        body["facets"] = list(plan.query.facets)
    return with_filter(body, plan.filter, share.shard_filter)


def distinct_values(plan: SearchPlan, share: Share) -> JsonObject:
    """As `count_only`, with the values of the distinct attribute as a facet."""
    body = count_only(plan, share)
    facets = list(plan.query.facets or ())
    assert plan.distinct is not None
    if plan.distinct not in facets:
        facets.append(plan.distinct)
    return {**body, "facets": facets}

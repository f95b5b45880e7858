"""Documents near a document: which of the most similar are shown, and how many there are. reference: F.4, H24."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from miroir.core.reads.candidates import breaks_ties, falls_in_score, has_relevancy
from miroir.core.reads.hybrid_merge import f32, shift_all
from miroir.core.reads.merging import Hit
from miroir.core.reads.search_plan import SearchPlan, max_total_hits
from miroir.core.reserved import SEQ_FIELD
from miroir.core.topology import IndexView
from miroir.meili.commands import JsonObject, SimilarQuery

_EPSILON = 1.1920929e-07


def similar_body(query: SimilarQuery) -> JsonObject:
    """A /similar request as the client wrote it, for a node to judge; it returns no hits."""
    body: JsonObject = {"id": query.id, "embedder": query.embedder, "limit": 0}
    if query.attributes_to_retrieve is not None:
        body["attributesToRetrieve"] = list(query.attributes_to_retrieve)
    if query.filter is not None:
        body["filter"] = query.filter
    return body


def undistinguished(plan: SearchPlan) -> SearchPlan:
    """The plan of a search in which no attribute makes duplicates, whatever the settings say."""
    every = {"distinct": SEQ_FIELD}
    return replace(plan, distinct=None, matching=plan.matching | every, body=plan.body | every)


def vector_of(document: Mapping[str, Any], embedder: str) -> tuple[float, ...] | None:
    """The document's (first) vector of an embedder."""
    entry = (document.get("_vectors") or {}).get(embedder)
    vectors = entry.get("embeddings") if isinstance(entry, dict) else entry
    if not vectors:
        return None
    return tuple(vectors[0] if isinstance(vectors[0], list) else vectors)


def ranks_by_similarity(plan: SearchPlan) -> bool:
    """Whether nodes put similarity first: then their first hits are enough."""
    return plan.semantic and has_relevancy(plan) and falls_in_score(plan)


def nearest(lists: Sequence[Sequence[Hit]], plan: SearchPlan) -> list[Hit]:
    """All hits that have a similarity, the most similar first, with the details of this route."""
    found = []
    for hit in (hit for hits in lists for hit in hits):
        similarity = (hit.details.get("vectorSort") or {}).get("similarity")
        if similarity is not None:
            hit.key = (-similarity, hit.seq)
            hit.details = {"vectorSort": {"order": 0, "similarity": similarity}}
            hit.score = similarity
            found.append(hit)
    found.sort(key=lambda hit: hit.key)
    if plan.semantic:
        shift_all(found, plan)
    return found


def compared_here(plan: SearchPlan) -> bool:
    """Whether nodes compare no similarities at all, since no rule does: then vectors are compared here."""
    return plan.semantic and not has_relevancy(plan)


def compare_here(lists: Sequence[Sequence[Hit]], plan: SearchPlan) -> None:
    """Give hits the similarity of their (first) vector, in single precision, and take the vectors off again."""
    assert plan.query.hybrid is not None
    assert plan.query.vector is not None
    target = [f32(each) for each in plan.query.vector]
    for hit in (hit for hits in lists for hit in hits):
        vector = vector_of(hit.body, plan.query.hybrid.embedder)
        if vector is not None:
            hit.details["vectorSort"] = {"similarity": _similarity(vector, target)}
            hit.score = hit.details["vectorSort"]["similarity"]
        if not plan.query.retrieve_vectors:
            hit.body.pop("_vectors", None)


def _similarity(one: Sequence[float], other: Sequence[float]) -> float:
    norms = f32(f32(math.sqrt(_dot(one, one))) * f32(math.sqrt(_dot(other, other))))
    if norms <= _EPSILON:
        return 1.0
    cosine = min(1.0, max(-1.0, f32(_dot(one, other) / norms)))
    return f32(1.0 - f32(f32(1.0 - cosine) / 2.0))


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    total = 0.0
    for left, right in zip(one, other, strict=False):
        total = f32(total + f32(left * right))
    return total


def is_settled(
    lists: Sequence[Sequence[Hit]], found: Sequence[Hit], plan: SearchPlan, wanted: int, size: int
) -> bool:
    """Whether no hit that a node has not shown could be among the `wanted` nearest."""
    cut = [hits for hits in lists if len(hits) >= size]
    if not cut or not plan.semantic or (ranks_by_similarity(plan) and not breaks_ties(plan)):
        return True
    if len(found) < wanted or not ranks_by_similarity(plan):
        return False
    last = found[wanted - 1].key[0]
    return all(hits[-1].key[0] > last or not hits[-1].key for hits in cut)


def page_of(near: Sequence[Hit], query: SimilarQuery, candidates: int) -> tuple[list[Hit], int]:
    """(the page, how many count as found). The first hit of the page below the threshold ends both."""
    page: list[Hit] = []
    end = query.offset + query.limit
    for place, hit in enumerate(near[query.offset : end], query.offset):
        if query.ranking_score_threshold is not None and hit.score < query.ranking_score_threshold:
            return page, place
        page.append(hit)
    return page, candidates


def shown_total(index: IndexView, total: int) -> int:
    """`estimatedTotalHits` as this route prints it."""
    return min(total, max_total_hits(index))

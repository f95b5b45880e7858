"""Keyword and semantic lists mixed into one. reference: search-semantics F.3, H10."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from miroir.core.reads.candidates import RELEVANCY
from miroir.core.reads.marks import shows_marks
from miroir.core.reads.merging import SEQ_RULE, Hit, take_hits
from miroir.core.reads.score_order import Value, compare, weighted
from miroir.core.reads.scores import score_values
from miroir.core.reads.search_plan import SearchPlan
from miroir.meili.commands import SearchQuery

_GOOD_ENOUGH = 0.45
_F32_EPSILON = 1.1920929e-07


def knows_words(query: SearchQuery) -> bool:
    """Whether nodes must know the words in the semantic half too: to mark them, or to leave some out."""
    return "-" in (query.q or "") or shows_marks(query)


def keyword_suffices(hits: Sequence[Hit], depth: int, ratio: float) -> bool:
    """Whether a node would not even have looked at vectors."""
    return len(hits) >= depth and all(hit.score * (1.0 - ratio) >= _GOOD_ENOUGH for hit in hits)


def mix(keyword: Sequence[Hit], semantic: Sequence[Hit], ratio: float, searchable_count: int) -> list[Hit]:
    """Two-way merge, the semantic list first on ties; of a document found twice the better place stays."""
    weight = f32(ratio)
    left = [_valued(hit, weight, searchable_count) for hit in semantic]
    right = [_valued(hit, f32(1.0 - weight), searchable_count) for hit in keyword]
    mixed: list[Hit] = []
    seen: set[str] = set()
    one = other = 0
    while one < len(left) or other < len(right):
        if other >= len(right) or (one < len(left) and _compare(left[one], right[other]) <= 0):
            hit = semantic[one]
            one += 1
        else:
            hit = keyword[other]
            other += 1
        if hit.seq not in seen:
            seen.add(hit.seq)
            mixed.append(hit)
    return mixed


def semantic_hits(
    raw: list[dict[str, Any]], share: int, sorts: Sequence[str], rules: Sequence[str]
) -> list[Hit]:
    """A node's semantic list, also out of an answer in which a document without vector shows as found by words.

    (A node that must know the words is asked a hybrid search which is next to a semantic one: what has a vector comes
    by similarity, and what has none may come as a keyword hit.)
    """
    if not any(rule in RELEVANCY for rule in rules) or all(
        "vectorSort" in body["_rankingScoreDetails"] for body in raw
    ):
        return take_hits(raw, share)
    for body in raw:
        if "vectorSort" not in body["_rankingScoreDetails"]:
            body["_rankingScoreDetails"] = _without_vector(body["_rankingScoreDetails"], sorts, rules)
            body["_rankingScore"] = 0.0
    hits = [hit for body in raw for hit in take_hits([body], share)]
    return sorted(hits, key=lambda hit: hit.key)


def _without_vector(details: Mapping[str, Any], sorts: Sequence[str], rules: Sequence[str]) -> dict[str, Any]:
    """The details of a keyword hit as a semantic search gives them to a document without vector."""
    first = next(place for place, rule in enumerate(rules) if rule in RELEVANCY)
    before, custom = set(rules[:first]), {rule for rule in rules if ":" in rule}
    values = [
        (name, detail)
        for name, detail in sorted(details.items(), key=lambda item: item[1]["order"])
        if "value" in detail or "distance" in detail
    ]
    early = [
        item
        for item in values
        if item[0] in before or ("sort" in before and _is_sorted(item[0], sorts, custom))
    ]
    late = [item for item in values if item not in early]
    ordered = [*early, ("vectorSort", {"similarity": None}), *late]
    return {name: {**detail, "order": place} for place, (name, detail) in enumerate(ordered)}


def _is_sorted(name: str, sorts: Sequence[str], custom: set[str]) -> bool:
    """Whether a value is compared because the request sorts by it."""
    return name in sorts or (name not in custom and name != SEQ_RULE)


def is_semantic(hit: Hit) -> bool:
    """Whether the hit came from the semantic list."""
    return "vectorSort" in hit.details


def _valued(hit: Hit, weight: float, searchable_count: int) -> tuple[list[Value], float]:
    return weighted(score_values(hit.details, hit.score, searchable_count), weight), hit.score * weight


def _compare(left: tuple[list[Value], float], right: tuple[list[Value], float]) -> int:
    """As between queries of a federation, but a score beats a sort unless it is exactly 0."""
    for one, other in zip(left[0], right[0], strict=False):
        one_scored, other_scored = one[0] in ("score", "vector"), other[0] in ("score", "vector")
        if one_scored != other_scored:
            if one_scored:
                return 1 if one[1] == 0.0 else -1
            return -1 if other[1] == 0.0 else 1
        order = compare([one], [other], left[1], right[1])
        if order:
            return order
    return len(right[0]) - len(left[0])


def f32(value: float) -> float:
    """Rounded to single precision, as a node keeps ratios and similarities."""
    return float(struct.unpack("f", struct.pack("f", value))[0])


def shift_all(hits: Sequence[Hit], plan: SearchPlan) -> None:
    """Apply the embedder's distribution, kept off the nodes, to the similarities shown."""
    hybrid = plan.query.hybrid
    assert hybrid is not None
    embedder = (plan.index.settings.get("embedders") or {}).get(hybrid.embedder) or {}
    distribution = embedder.get("distribution")
    if not distribution:
        return
    for hit in hits:
        detail = hit.details.get("vectorSort")
        if detail is not None and detail["similarity"] is not None:
            detail["similarity"] = hit.score = shift(detail["similarity"], distribution)


def shift(similarity: float, distribution: Mapping[str, Any]) -> float:
    """The similarity a node shows for an embedder with a `distribution` (F.2), from the raw one."""
    factor = f32(0.4 / f32(float(distribution["sigma"])))
    offset = f32(0.5 - f32(factor * f32(float(distribution["mean"]))))
    shifted = f32(f32(factor * similarity) + offset)
    return _F32_EPSILON if shifted <= 0.0 else min(shifted, 1.0)

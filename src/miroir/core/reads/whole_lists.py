"""A search whose matches are few enough to be read whole: what one node would show and count of them. Pure.

What `distinct` and `rankingScoreThreshold` take off a node's candidates depends on how far it reads, bucket by bucket;
a list of everything that matches, in order, is enough to go the same way. reference: search-semantics C.11, C.13, F.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from miroir.core.reads.covering import Share
from miroir.core.reads.distinct import ValueKey, distinct_keys
from miroir.core.reads.hybrid_merge import keyword_suffices, mix
from miroir.core.reads.merging import Hit
from miroir.core.reads.projection import at_path
from miroir.core.reads.scores import searchable_count
from miroir.core.reads.search_plan import SearchPlan, kind_of, max_total_hits, only, with_filter
from miroir.core.reserved import SEQ_FIELD
from miroir.core.topology import IndexView
from miroir.meili.commands import JsonObject, SearchQuery

_NEGATIVE = re.compile(r"(?:(?<=\s)|^)-\w+")
_NEGATIVE_PHRASE = re.compile(r"(?:\s|^)-$")


@dataclass(frozen=True, slots=True)
class Found:
    """`hits`, best first, as far as asked; `candidates` by sequence: totals and facets count these."""

    hits: list[Hit]
    candidates: frozenset[str]


def is_worth_reading(index: IndexView, query: SearchQuery) -> bool:
    """Whether nodes, each asked for its part, cannot tell what one node would have counted or shown."""
    if query.matching_strategy == "frequency":  # whose words are decided by nodes
        return False
    if query.ranking_score_threshold is not None:
        return True
    if query.distinct or index.settings.get("distinctAttribute"):
        return True
    return kind_of(query) == "hybrid" and negatives(query.q or "") != ""


def negatives(text: str) -> str:
    """The part of a query that says what must not match: `-word`, `-"some words"`."""
    found: list[str] = []
    parts = text.split('"')
    for number, part in enumerate(parts):
        if number % 2 == 0:
            found += _NEGATIVE.findall(part)
        elif _NEGATIVE_PHRASE.search(parts[number - 1]):
            found.append(f'-"{part}"')
    return " ".join(found)


# --- requests -------------------------------------------------------------------------------------


def matches_of(plan: SearchPlan, share: Share) -> JsonObject:
    """Asks a node how many documents match, and with `facets` which."""
    return with_filter({**_matching(plan), "limit": 0}, plan.filter, share.shard_filter)


def sequences_of(plan: SearchPlan, share: Share) -> JsonObject:
    """Asks a node for the sequences of everything that matches."""
    return {**matches_of(plan, share), "facets": [SEQ_FIELD]}


def list_of(plan: SearchPlan, share: Share, seqs: Sequence[str], needed: Sequence[str]) -> JsonObject:
    """Asks a node for these matches in order, none dropped; with the documents if the plan has one phase."""
    body = {**(plan.matching if plan.two_phase else plan.body), "limit": len(seqs)}
    body |= {"showRankingScore": True, "showRankingScoreDetails": True, "distinct": SEQ_FIELD}
    body.pop("facets", None)
    if plan.two_phase:
        body["attributesToRetrieve"] = list(needed)
    return with_filter(body, share.shard_filter, plan.filter, only(seqs))


def _matching(plan: SearchPlan) -> JsonObject:
    """What matches; a semantic half of a hybrid search finds everything but what must not match."""
    if not plan.semantic:
        return plan.matching
    query = plan.query
    unwanted = negatives(query.q or "") if kind_of(query) == "hybrid" else ""
    return {"q": unwanted} if unwanted else {}


# --- what one node makes of a list ----------------------------------------------------------------


class _Sharing:
    """Which of all matches share a value of the distinct attribute."""

    def __init__(self, hits: Sequence[Hit], attribute: str) -> None:
        self._keys: dict[str, list[ValueKey]] = {}
        self._holders: dict[ValueKey, set[str]] = {}
        for hit in hits:
            keys = self._keys[hit.seq] = distinct_keys(at_path(hit.body, attribute))
            for key in keys:
                self._holders.setdefault(key, set()).add(hit.seq)

    def with_value_of(self, seq: str) -> Iterator[str]:
        for key in self._keys.get(seq, ()):
            yield from self._holders[key]


def found_by_words(plan: SearchPlan, hits: Sequence[Hit]) -> Found:
    """A keyword search, from everything that matches in order."""
    sharing = None if plan.distinct is None else _Sharing(hits, plan.distinct)
    found = _ranked(plan, hits, sharing)
    if plan.query.is_paged and sharing is not None:
        return replace(found, candidates=_one_each(sorted(found.candidates), sharing))
    return found


def found_by_similarity(plan: SearchPlan, hits: Sequence[Hit]) -> Found:
    """A semantic search, from everything that passes the filter in order."""
    return _ranked(plan, hits, None if plan.distinct is None else _Sharing(hits, plan.distinct))


def found_by_both(
    plan: SearchPlan, ratio: float, keyword: Sequence[Hit], semantic: Sequence[Hit]
) -> Found | None:
    """A hybrid search; None where its words suffice and no vector is looked at."""
    by_words, by_similarity = found_by_words(plan, keyword), found_by_similarity(plan, semantic)
    if keyword_suffices(by_words.hits, plan.depth, ratio):
        return None
    sharing = None if plan.distinct is None else _Sharing([*keyword, *semantic], plan.distinct)
    mixed = mix(by_words.hits, by_similarity.hits, ratio, searchable_count(plan.index))
    candidates = by_words.candidates | by_similarity.candidates
    if sharing is None:
        return Found(mixed[: plan.depth], candidates)
    excluded: set[str] = set()
    kept: list[Hit] = []
    for hit in mixed:
        if len(kept) == plan.depth:
            break
        if hit.seq not in excluded:
            excluded.update((hit.seq, *sharing.with_value_of(hit.seq)))
            kept.append(hit)
    return Found(kept, (candidates - excluded) | {hit.seq for hit in kept})


def _one_each(seqs: Sequence[str], sharing: _Sharing) -> frozenset[str]:
    """The first document of every value, in the order of sequences."""
    excluded: set[str] = set()
    kept = []
    for seq in seqs:
        if seq not in excluded:
            excluded.update(sharing.with_value_of(seq))
            kept.append(seq)
    return frozenset(kept)


def _ranked(plan: SearchPlan, hits: Sequence[Hit], sharing: _Sharing | None) -> Found:
    """Bucket by bucket until enough hits are out, as a node goes."""
    length, threshold = plan.depth, plan.query.ranking_score_threshold
    stop = length
    if plan.query.is_paged and threshold is not None:
        stop = max(length, max_total_hits(plan.index))
    has_rules = any(len(hit.key) > 1 for hit in hits)
    if not has_rules:
        threshold, stop = None, length
    candidates = {hit.seq for hit in hits}
    dropped: set[str] = set()
    kept: list[Hit] = []
    for _, group in groupby(hits, key=lambda hit: hit.key[:-1] if has_rules else hit.seq):
        if len(kept) >= stop:
            break
        bucket = [hit for hit in group if hit.seq not in dropped]
        if not bucket:
            continue
        if threshold is not None and bucket[0].score < threshold:
            candidates.difference_update(hit.seq for hit in bucket)
            continue
        if sharing is not None:
            bucket, excluded = _survivors(bucket, sharing)
            dropped |= excluded
            candidates = (candidates - excluded) | {hit.seq for hit in bucket}
        kept += bucket[: max(0, length - len(kept))]
    return Found(kept, frozenset(candidates))


def _survivors(bucket: Sequence[Hit], sharing: _Sharing) -> tuple[list[Hit], set[str]]:
    """The hits of a bucket that stay, and everything that shares a value with one of them."""
    excluded: set[str] = set()
    survivors = []
    for hit in bucket:
        if hit.seq not in excluded:
            excluded.update(sharing.with_value_of(hit.seq))
            survivors.append(hit)
    return survivors, excluded

"""Proximities of shards made comparable where shards found different ways through the query.

A node rates proximity against the longest way it found in a bucket: where only a concatenation matched ("harcourt" for
"harc ourt") that is shorter than where both words did, and so it is where words between the matching ones are left out
(`matchingStrategy: frequency` leaves out either of two words that are equally frequent). One node that holds all would
know all these ways, and rate by the longest. The scale of each shard is told from its scores.
reference: search-semantics C.3, C.7, H16.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, product
from typing import Any

from miroir.core.reads.merging import Hit, Key, put_in_order, repair_scores
from miroir.core.reads.scores import fold, merged, rank_choices, ranks_of, scales, searchable_count
from miroir.core.reads.search_plan import SearchPlan

_CLOSE = 1e-9
#: A concatenation costs at least so many typos; below, all ways are equally long that have the same words.
CONCATENATED = 2
#: hits of one bucket that one search of one node found: they are rated by one scale
_Found = tuple[int, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class _Scale:
    """What rates the hits that one node found in a bucket: `largest` ranks of proximity, by as many `terms`."""

    terms: int
    largest: int


def is_joined(hit: Hit) -> bool:
    """Whether a hit may have words of the query in a concatenation."""
    typo = hit.details.get("typo")
    return typo is None or bool(typo["typoCount"] >= CONCATENATED)


def varies(hit: Hit, *, by_frequency: bool) -> bool:
    """Whether ways of several lengths may end in the bucket of a hit. `by_frequency`: any word may be left out."""
    if hit.proximity_at is None or hit.details.get("words", {}).get("matchingWords", 2) < 2:
        return False
    typo = hit.details.get("typo")
    if by_frequency or typo is None or typo["order"] > hit.details["proximity"]["order"]:
        return True  # of the last two: what is one word here and two there is not told apart yet
    return bool(typo["typoCount"] >= CONCATENATED)


def repair_all(plan: SearchPlan, lists: Sequence[list[Hit]]) -> None:
    """Give the hits of all shards the scores that one node would have given them."""
    repair_scores(lists)
    repair_proximity(lists, searchable_count(plan.index), by_frequency=plan.by_frequency)


def repair_proximity(lists: Sequence[list[Hit]], searchable_count: int, *, by_frequency: bool) -> None:
    """Rate proximity in every bucket by the longest way that any shard found in it."""
    buckets: dict[Key, dict[_Found, list[Hit]]] = {}
    for hits in lists:
        for hit in hits:
            if varies(hit, by_frequency=by_frequency):
                found = buckets.setdefault(hit.key[: hit.proximity_at], {})
                found.setdefault((hit.share, hit.left_out), []).append(hit)
    rated = [
        _rate_alike(list(found.values()), searchable_count) for found in buckets.values() if len(found) > 1
    ]
    if any(rated):
        for hits in lists:
            put_in_order(hits)


def _rate_alike(found: Sequence[list[Hit]], searchable_count: int) -> bool:
    """Give the hits of one bucket one scale, and tell whether any had another.

    Where several scales fit, what is shown is the same by each of them: it says nothing about others, and stays.
    """
    possible = [_possible(hits, searchable_count) for hits in found]
    longest = max((fitting[0].largest for fitting in possible if len(fitting) == 1), default=0)
    short = [
        (hits, fitting[0])
        for hits, fitting in zip(found, possible, strict=True)
        if fitting and fitting[0].largest < longest
    ]
    for hits, scale in short:
        for hit in hits:
            _rate(hit, scale, longest, searchable_count)
    return bool(short)


def _rate(hit: Hit, scale: _Scale, longest: int, searchable_count: int) -> None:
    """Show a hit as on a longer scale: what its own way costs stays, and what the rules behind tell apart."""
    at = hit.proximity_at
    assert at is not None
    above, most, _ = _around(hit, scale.terms, searchable_count)
    rank = round(hit.details["proximity"]["score"] * scale.largest)
    within = (hit.score * most - (above - 1)) * scale.largest - (rank - 1)
    rank = longest - (scale.largest - rank)
    hit.score = (above - 1 + (rank - 1 + within) / longest) / most
    score = rank / longest
    hit.details["proximity"]["score"] = score
    hit.key = (*hit.key[:at], -round(score, 12), *hit.key[at + 1 :])


def _possible(hits: Sequence[Hit], searchable_count: int) -> list[_Scale]:
    """The scales by which all of some hits can have the scores that they show, the longest first.

    Several fit where no rule behind the proximity takes anything off: then every scale shows the same.
    """
    details = hits[0].details
    first = details["words"]["matchingWords"] if "words" in details else 2
    for terms in dict.fromkeys((first, *range(2, 11))):
        around = [_around(hit, terms, searchable_count) for hit in hits]
        fits = [
            _Scale(terms, largest)
            for _, largest in scales(details["proximity"]["score"], terms)
            if all(_fits(hit, largest, *each) for hit, each in zip(hits, around, strict=True))
        ]
        if fits:
            return fits
    return []


def _fits(hit: Hit, largest: int, above: int, most: int, within: Sequence[float]) -> bool:
    """Whether the scale gives the score that is shown."""
    score = hit.details["proximity"]["score"]
    rank = round(score * largest)
    if abs(rank - score * largest) >= _CLOSE:
        return False
    return any(abs((above - 1 + (rank - 1 + each) / largest) / most - hit.score) < _CLOSE for each in within)


def _around(hit: Hit, terms: int, searchable_count: int) -> tuple[int, int, list[float]]:
    """Rank and largest rank by the rules before the proximity; the scores that those behind it may make.

    Sort values have no part in either.
    """
    details: Mapping[str, Any] = hit.details
    place = details["proximity"]["order"]
    before: list[tuple[int, int]] = []
    behind: list[Iterator[list[tuple[int, int]]]] = []
    for name, detail in sorted(details.items(), key=lambda item: item[1]["order"]):
        if name == "proximity" or "value" in detail or "distance" in detail or name == "vectorSort":
            continue
        if detail["order"] < place:
            before.extend(ranks_of(name, detail, terms, searchable_count))
        else:
            behind.append(rank_choices(name, detail, terms, searchable_count))
    return (*merged(before), [fold(chain.from_iterable(each)) for each in product(*behind)])

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
from typing import Any

from miroir.core.reads.merging import Hit, Key, put_in_order
from miroir.core.reads.scores import fold, ranks_of, scales

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


def varies(hit: Hit, *, by_frequency: bool) -> bool:
    """Whether ways of several lengths may end in the bucket of a hit. `by_frequency`: any word may be left out."""
    if hit.proximity_at is None or hit.details.get("words", {}).get("matchingWords", 2) < 2:
        return False
    typo = hit.details.get("typo")
    if by_frequency or typo is None or typo["order"] > hit.details["proximity"]["order"]:
        return True  # of the last two: what is one word here and two there is not told apart yet
    return bool(typo["typoCount"] >= CONCATENATED)


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
    possible = [list(_possible(hits, searchable_count)) for hits in found]
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
    """Show a hit as on a longer scale: what its own way costs stays."""
    at = hit.proximity_at
    assert at is not None
    rank = longest - (scale.largest - round(hit.details["proximity"]["score"] * scale.largest))
    hit.score = _score_of(hit, (rank, longest), scale.terms, searchable_count)
    score = rank / longest
    hit.details["proximity"]["score"] = score
    hit.key = (*hit.key[:at], -round(score, 12), *hit.key[at + 1 :])


def _possible(hits: Sequence[Hit], searchable_count: int) -> Iterator[_Scale]:
    """The scales by which all of some hits can have the scores that they show, the longest first.

    Several fit where no rule behind the proximity takes anything off: then every scale shows the same.
    """
    details = hits[0].details
    first = details["words"]["matchingWords"] if "words" in details else 2
    for terms in dict.fromkeys((first, *range(2, 11))):
        fits = [
            largest
            for _, largest in scales(details["proximity"]["score"], terms)
            if all(_fits(hit, _Scale(terms, largest), searchable_count) for hit in hits)
        ]
        if fits:
            yield from (_Scale(terms, largest) for largest in fits)
            return


def _fits(hit: Hit, scale: _Scale, searchable_count: int) -> bool:
    """Whether the scale gives the score that is shown."""
    score = hit.details["proximity"]["score"]
    rank = round(score * scale.largest)
    if abs(rank - score * scale.largest) >= _CLOSE:
        return False
    return abs(_score_of(hit, (rank, scale.largest), scale.terms, searchable_count) - hit.score) < _CLOSE


def _score_of(hit: Hit, proximity: tuple[int, int], terms: int, searchable_count: int) -> float:
    """The score of a hit with another proximity; sort values have no part in it."""
    details: Mapping[str, Any] = hit.details
    ranks: list[tuple[int, int]] = []
    for name, detail in sorted(details.items(), key=lambda item: item[1]["order"]):
        if name == "proximity":
            ranks.append(proximity)
        elif "value" not in detail and "distance" not in detail and name != "vectorSort":
            ranks.extend(ranks_of(name, detail, terms, searchable_count))
    return fold(ranks)

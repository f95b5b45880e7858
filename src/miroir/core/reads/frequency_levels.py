"""Which words of a query may go missing together under `matchingStrategy: frequency`, and what that is worth. Pure.

A node leaves the most frequent words out first, but holds to that only along the query: a word may be missing while
more frequent words before it are there, not while such words behind it are. Each such set of words is a way through the
query; ways that lack equally many words share a bucket. Documents belong to the first way that finds them, and ways
that find none of their own are forgotten. reference: search-semantics C.3, C.5, H11.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

from miroir.core.reads.merging import Hit, Key

_NEVER = 1 << 62
#: numbers of words in a query, ascending
Words = tuple[int, ...]


def grouped(counts: Sequence[int]) -> list[list[int]]:
    """Words by how often they occur, the most frequent first; words that never occur before all others."""
    found: dict[int, list[int]] = {}
    for number, count in enumerate(counts):
        found.setdefault(count or _NEVER, []).append(number)
    return [found[count] for count in sorted(found, reverse=True)]


@dataclass(frozen=True, slots=True)
class Counts:
    """In how many documents each word is, by itself or in a concatenation."""

    words: list[int]
    joined: frozenset[
        int
    ]  #: words that some document has only joined with the next, or of which it has the next so


def with_joined(size: int, counts: Sequence[int]) -> Counts:
    """Of `size` words: how many documents have each, then for every two neighbours three numbers.

    These are of what finds both or their concatenation, and how many of that have the first, and the second, by itself.
    """
    words = list(counts[:size])
    joined = []
    for number in range(size - 1):
        both, first, second = counts[size + 3 * number : size + 3 * number + 3]
        words[number] += max(0, both - first)
        words[number + 1] += max(0, both - second)
        if both > min(first, second):
            joined.append(number)
    return Counts(words, frozenset(joined))


@dataclass(frozen=True, slots=True)
class Levels:
    """What may go missing."""

    places: tuple[int, ...]  #: group of each word, by its number; the most frequent ones are group 0
    always: Words  #: all that may go missing
    unknown: frozenset[int]  #: words of them that no document has: without all of them nothing matches
    best_rank: int
    joined: frozenset[int] = frozenset()  #: words that some document has joined with the next

    def removed(self) -> Iterator[tuple[int, list[Words]]]:
        """(cost, sets of words that may be missing together at this cost, as paths are walked), the cheapest first."""
        for cost in range(len(self.unknown), len(self.always) + 1):
            sets = [each for each in combinations(self.always, cost) if self._may_go(each)]
            if sets:
                yield cost, sets

    def _may_go(self, words: Words) -> bool:
        gone = set(words)
        passed = self._passed_over(words)
        return self.unknown <= gone and all(self._is_joined(later, word, gone) for word, later in passed)

    def _passed_over(self, words: Words) -> list[tuple[int, int]]:
        """Words that are missing, with others behind them that are more frequent and stay."""
        stay = [number for number in self.always if number not in words]
        return [(w, s) for w in words for s in stay if s > w and self.places[s] < self.places[w]]

    def _is_joined(self, number: int, missing: int, gone: set[int]) -> bool:
        """Whether a word may stay in a concatenation with a neighbour that is not more frequent than the missing one."""
        neighbours = ((number - 1, number - 1), (number, number + 1))
        return any(
            pair in self.joined and other not in gone and self.places[other] >= self.places[missing]
            for pair, other in neighbours
        )

    def is_joined(self, words: Words) -> bool:
        """Whether what is left, without these words, can only be found joined."""
        return bool(self._passed_over(words))

    def kept_alone(self) -> list[frozenset[int]]:
        """What to ask together of the words that may go missing, so as to know which of them each document has."""
        single = [frozenset((word,)) for word in self.always]
        pairs = [frozenset((one, other)) for one, other in pairwise(self.always) if other == one + 1]
        # A word that may not be missing, and that a document has only joined with one that may be.
        held = {
            one
            for number in self.joined
            for one, other in ((number, number + 1), (number + 1, number))
            if one in self.always and other not in self.always
        }
        more = [frozenset((word, one)) for one in sorted(held) for word in self.always if word != one]
        return list(dict.fromkeys((*single, *pairs, *more)))

    @property
    def are_plain(self) -> bool:
        """Whether no two ways share a bucket."""
        return all(len(sets) == 1 for _, sets in self.removed())

    def finding(self, patterns: set[frozenset[int]]) -> Iterator[tuple[int, list[Words]]]:
        """As `removed`, of ways that find something first. `patterns`: which of `always` some documents have."""
        left = set(patterns)
        for cost, sets in self.removed():
            ways = []
            for words in sets:
                found = {pattern for pattern in left if set(self.always) <= pattern | set(words)}
                if found:
                    ways.append(words)
                    if not self.is_joined(words):  # they may have the words, but apart
                        left -= found
            if ways:
                yield cost, ways


def levels(counts: Sequence[int], phrase_words: int, joined: frozenset[int] = frozenset()) -> Levels:
    """The levels of a question by how often each of its words occurs."""
    groups = grouped(counts)
    removable = groups if phrase_words else groups[:-1]
    places = {number: place for place, group in enumerate(groups) for number in group}
    always = tuple(sorted(number for group in removable for number in group))
    return Levels(
        places=tuple(places[number] for number in range(len(counts))),
        always=always,
        unknown=frozenset(number for number in always if not counts[number]),
        best_rank=1 + max(0, phrase_words - 1) + len(always),
        joined=joined,
    )


def ranked_at(raw: Sequence[dict[str, Any]], missing: int, rank: int, best_rank: int) -> list[dict[str, Any]]:
    """Hits that lack just the `missing` words nothing has, with the rank and the score that they have in the whole.

    Changes the details. `words` must be the first rule.
    """
    hits = []
    for body in raw:
        words = body["_rankingScoreDetails"]["words"]
        matching, largest = words["matchingWords"], words["maxMatchingWords"]
        if matching != largest - missing:
            continue
        below = body["_rankingScore"] * largest - (matching - 1)
        body["_rankingScore"] = (rank - 1 + below) / best_rank
        words.update(matchingWords=rank, maxMatchingWords=best_rank, score=rank / best_rank)
        hits.append(body)
    return hits


def ways_kept(lists: Sequence[list[Hit]]) -> list[list[Hit]]:
    """The hits of ways that a node would go on with: those that are first to find a hit of the bucket."""
    buckets: dict[Key, dict[Words, list[Hit]]] = {}
    for hits in lists:
        for hit in hits:
            bucket = buckets.setdefault(hit.key[: hit.proximity_at or 1], {})
            bucket.setdefault(hit.left_out, []).append(hit)
    dropped: set[int] = set()
    for bucket in buckets.values():
        found: set[str] = set()
        for left_out in sorted(bucket):
            seqs = {hit.seq for hit in bucket[left_out]}
            if seqs <= found:
                dropped.update(map(id, bucket[left_out]))
            found |= seqs
    return [[hit for hit in hits if id(hit) not in dropped] for hits in lists]

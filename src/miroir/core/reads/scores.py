"""Ranking scores of shards made what one node would have shown, and split into comparable values.

A node's global score is a number in a mixed radix: S = sum (rank_i - 1)/(max_1..max_i) + 1/(max_1..max_k). Its
`maxTypoCount` depends on which n-gram paths exist on that node, so scores of shards differ while the counts
behind them agree. reference: search-semantics C.12, H2, G.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from math import prod
from typing import Any

from miroir.core.topology import IndexView
from miroir.meili.settings_rules import attribute_list

Details = Mapping[str, Any]

#: Meilisearch folds ranks in 32 bits and wraps; beyond this its number says nothing.
_RANK_LIMIT = 2**32
_CLOSE = 1e-9


def repaired(score: float, details: Details, largest_typo_count: int) -> float | None:
    """The score with `maxTypoCount` replaced by the largest any shard showed in the same bucket.

    None when the ranks before `typo` are not all shown (a rule order other than words, sorts, typo).
    """
    typo = details["typo"]
    largest_matching = rank = 1
    for name, detail in details.items():
        if detail["order"] >= typo["order"]:
            continue
        if name == "words":
            rank, largest_matching = detail["matchingWords"], detail["maxMatchingWords"]
        elif "value" not in detail and "distance" not in detail:
            return None
    if _overflows(details):
        return None
    count, local = typo["typoCount"], typo["maxTypoCount"] + 1
    below_words = score * largest_matching - (rank - 1)
    below_typo = below_words * local - (local - count - 1)
    largest = largest_typo_count + 1
    return float((rank - 1 + (largest - count - 1 + below_typo) / largest) / largest_matching)


def _overflows(details: Details) -> bool:
    """Whether the product of maxima may pass 32 bits, so that the shown number wrapped around."""
    words = details.get("words", details["typo"])
    terms = words.get("maxMatchingWords", words.get("maxTypoCount", 0) // 2 + 1)
    if terms < 6:
        return False
    typo = details["typo"]["maxTypoCount"] + 1
    product = terms * typo * (1 + 3 * (terms - 1)) * (1 + 10 * terms) * 3 * (terms + 1)
    return bool(product * (1 + 3 * terms) >= _RANK_LIMIT)


def searchable_count(index: IndexView) -> int:
    """Number of searchable attributes; 1 when all are searched with equal weight, or none at all."""
    names = attribute_list(index.settings, "searchableAttributes")
    return 1 if "*" in names else max(1, len(names))


def score_values(details: Details, score: float, searchable_count: int) -> list[tuple[Any, ...]]:
    """The values that hits of different queries are compared by, first rule first.

    ("score", s) for a run of consecutive rank rules, ("sort", ascending, value), ("geo", ascending, distance),
    ("vector", similarity). `searchable_count` is the number of searchable attributes (1 for `*`).
    """
    runs: list[list[tuple[str, Any]]] = []
    values: list[tuple[Any, ...]] = []
    for name, detail in sorted(details.items(), key=lambda item: item[1]["order"]):
        if "distance" in detail:
            values.append(("geo", name.endswith(":asc"), detail["distance"]))
        elif "value" in detail:
            values.append(("sort", name.endswith(":asc"), detail["value"]))
        elif name == "vectorSort":
            values.append(("vector", detail["similarity"] or 0.0))
        else:
            if not values or values[-1][0] != "run":
                runs.append([])
                values.append(("run", len(runs) - 1))
            runs[values[-1][1]].append((name, detail))
    if len(runs) == 1:
        scores = [score]
    else:
        scores = _scores_of_runs(runs, score, searchable_count)
    return [("score", scores[value[1]]) if value[0] == "run" else value for value in values]


def _scores_of_runs(runs: list[list[tuple[str, Any]]], score: float, searchable_count: int) -> list[float]:
    """Local score of each run: from ranks, where they reproduce the shown score, else from the details' scores."""
    flat = [rule for run in runs for rule in run]
    for ranks in _possible_ranks(flat, searchable_count):
        if abs(fold([rank for rule in ranks for rank in rule]) - score) < _CLOSE:
            scores, position = [], 0
            for run in runs:
                part = [rank for rule in ranks[position : position + len(run)] for rank in rule]
                scores.append(fold(part))
                position += len(run)
            return scores
    return [_product(run) for run in runs]


def _possible_ranks(
    rules: list[tuple[str, Any]], searchable_count: int
) -> Iterator[tuple[list[tuple[int, int]], ...]]:
    """What may stand behind the details of some rules, the likeliest first: (rank, max) pairs of each.

    Not shown are the number of terms (phrases count as one below `words`, so that its count is only the first
    guess), the scale of a proximity, and how many words are exact where an attribute matches from its start.
    """
    terms = next((d["matchingWords"] for name, d in rules if name == "words"), None)
    for guess in dict.fromkeys((*(() if terms is None else (terms,)), *range(1, 11))):
        yield from product(*(rank_choices(name, detail, guess, searchable_count) for name, detail in rules))


def rank_choices(
    name: str, detail: Details, terms: int, searchable_count: int
) -> Iterator[list[tuple[int, int]]]:
    """As `ranks_of`, with what else may stand behind the details of one rule."""
    ranks = list(ranks_of(name, detail, terms, searchable_count))
    yield ranks
    if name == "proximity":
        yield from ([scale] for scale in scales(detail["score"], terms) if [scale] != ranks)
    elif name == "exactness" and "maxMatchingWords" not in detail:
        yield from ([ranks[0], (exact, terms + 1)] for exact in range(terms, 0, -1))


def scales(score: float, terms: int) -> Iterator[tuple[int, int]]:
    """(rank, largest) pairs that show as this score of a proximity, the longest first."""
    for largest in range(1 + 3 * (terms - 1), 0, -1):
        rank = round(score * largest)
        if abs(rank - score * largest) < _CLOSE:
            yield rank, largest


def _product(run: list[tuple[str, Any]]) -> float:
    return float(prod(detail.get("score", 0.0) for _, detail in run))


def fold(ranks: Iterable[tuple[int, int]]) -> float:
    rank, largest = merged(ranks)
    return rank / largest


def merged(ranks: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """Several (rank, max) pairs as one, the first the most significant."""
    rank, largest = 1, 1
    for local, local_largest in ranks:
        rank = (rank - 1) * local_largest + local
        largest *= local_largest
    return rank, largest


def ranks_of(name: str, detail: Details, terms: int, searchable_count: int) -> Iterator[tuple[int, int]]:
    """(rank, max) pairs behind one rule's details."""
    if name == "words":
        yield detail["matchingWords"], detail["maxMatchingWords"]
    elif name == "typo":
        largest = detail["maxTypoCount"] + 1
        yield largest - detail["typoCount"], largest
    elif name == "exactness":
        kind = detail["matchType"]
        yield {"exactMatch": 3, "matchesStart": 2, "noExactMatch": 1}[kind], 3
        if "maxMatchingWords" in detail:
            yield detail["matchingWords"] + 1, detail["maxMatchingWords"] + 1
        else:
            yield terms + 1, terms + 1
    elif name == "proximity":
        yield _as_rank(detail["score"], 1 + 3 * (terms - 1))
    elif name == "attributeRank":
        yield _as_rank(detail["score"], 1 + (searchable_count - 1) * terms)
    elif name == "wordPosition":
        yield _as_rank(detail["score"], 1 + 10 * terms)
    elif name == "attribute":
        yield _as_rank(detail["attributeRankingOrderScore"], 1 + (searchable_count - 1) * terms)
        yield _as_rank(detail["queryWordDistanceScore"], 1 + 10 * terms)
    else:
        yield 0, 1


def _as_rank(score: float, largest: int) -> tuple[int, int]:
    return round(score * largest), largest


def global_score(details: Details) -> float | None:
    """Similarity of a semantic hit, None for a keyword hit (whose score is shown, not recomputed)."""
    vector = details.get("vectorSort")
    return None if vector is None else float(vector["similarity"] or 0.0)

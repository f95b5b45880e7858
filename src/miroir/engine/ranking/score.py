"""Score details of a hit, the global score, and the JSON that clients see.

Every ranking rule attaches one detail to each bucket. Rank details (`rank` of `max_rank`, larger is
better) merge into the global score; sort, geo and pin details do not; a vector detail replaces it.
Source: reference search-semantics.md C.9 to C.12.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

_U32 = 0xFFFF_FFFF

RankName = Literal[
    "words", "typo", "proximity", "attributeRank", "wordPosition", "exactAttribute", "exactWords"
]
_MATCH_TYPES = {3: "exactMatch", 2: "matchesStart", 1: "noExactMatch"}


@dataclass(frozen=True, slots=True)
class RankDetail:
    """`rank` of `max_rank` of one relevancy rule. `unified` marks the two halves of the rule `attribute`."""

    name: RankName
    rank: int
    max_rank: int
    unified: bool = False


@dataclass(frozen=True, slots=True)
class SortDetail:
    """One sort or custom rule. `value` is a float, a normalised string, or None when there is none."""

    field: str
    ascending: bool
    value: float | str | None
    hidden: bool = False  #: the field is not displayed: neither its name nor its value may be shown


@dataclass(frozen=True, slots=True)
class GeoDetail:
    """Distance sort. `target` and `point` are (lat, lng) in degrees, `distance` in metres."""

    target: tuple[float, float]
    ascending: bool
    point: tuple[float, float] | None
    distance: float | None


@dataclass(frozen=True, slots=True)
class VectorDetail:
    """Similarity in 0..1, None for a document without a vector."""

    similarity: float | None


@dataclass(frozen=True, slots=True)
class SkippedDetail:
    """The time budget was spent before this rule could run."""


@dataclass(frozen=True, slots=True)
class PinDetail:
    position: int


Detail: TypeAlias = RankDetail | SortDetail | GeoDetail | VectorDetail | SkippedDetail | PinDetail


def merge_ranks(ranks: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """Fold (rank, max) pairs, first the most significant, in wrapping 32 bit arithmetic as the engine does."""
    rank, maximum = 1, 1
    for inner_rank, inner_max in ranks:
        rank = (max(rank - 1, 0) * inner_max + inner_rank) & _U32
        maximum = (maximum * inner_max) & _U32
    return rank, maximum


def local_score(rank: int, max_rank: int) -> float:
    """rank / max_rank as IEEE division (a wrapped maximum may be 0)."""
    if max_rank == 0:
        return float("inf") if rank else float("nan")
    return rank / max_rank


def _rank_of(detail: Detail) -> tuple[int, int] | None:
    if isinstance(detail, RankDetail):
        return detail.rank, detail.max_rank
    if isinstance(detail, SkippedDetail):
        return 0, 1
    return None


def global_score(details: Sequence[Detail]) -> float:
    """`_rankingScore`: the similarity if there is a vector detail, else the merged ranks; 1.0 without any."""
    for detail in details:
        if isinstance(detail, VectorDetail):
            return detail.similarity if detail.similarity is not None else 0.0
    return local_score(*merge_ranks(rank for d in details if (rank := _rank_of(d)) is not None))


#: One element of the sequence by which hits of different searches are compared: a plain score (merged run
#: of ranks, or a similarity), or a sort or geo detail as it is.
ScoreValue: TypeAlias = float | SortDetail | GeoDetail


def score_values(details: Sequence[Detail]) -> list[ScoreValue]:
    """Details with every run of ranks merged into one local score; pins left out."""
    values: list[ScoreValue] = []
    run: list[tuple[int, int]] = []

    def close() -> None:
        if run:
            # The engine merges pairwise from the first rank on, without the initial 1 of 1.
            rank, maximum = run[0]
            for inner_rank, inner_max in run[1:]:
                rank = (max(rank - 1, 0) * inner_max + inner_rank) & _U32
                maximum = (maximum * inner_max) & _U32
            values.append(local_score(rank, maximum))
            run.clear()

    for detail in details:
        rank_pair = _rank_of(detail)
        if rank_pair is not None:
            run.append(rank_pair)
            continue
        if isinstance(detail, PinDetail):
            continue
        close()
        if isinstance(detail, VectorDetail):
            values.append(detail.similarity if detail.similarity is not None else 0.0)
        elif isinstance(detail, SortDetail | GeoDetail):
            values.append(detail)
    close()
    return values


def details_json(details: Sequence[Detail]) -> dict[str, Any]:
    """`_rankingScoreDetails`: one entry per rule in order of application."""
    shown: dict[str, Any] = {}
    order = 0
    previous: RankDetail | None = None
    for detail in details:
        if isinstance(detail, RankDetail):
            order += _show_rank(shown, detail, previous, order)
            previous = detail
            continue
        if isinstance(detail, SortDetail):
            direction = "asc" if detail.ascending else "desc"
            key = f"<hidden-rule-{order}>" if detail.hidden else f"{detail.field}:{direction}"
            shown[key] = {"order": order, "value": "<hidden>" if detail.hidden else detail.value}
        elif isinstance(detail, GeoDetail):
            direction = "asc" if detail.ascending else "desc"
            lat, lng = (_display_float(x) for x in detail.target)
            point = None if detail.point is None else {"lat": detail.point[0], "lng": detail.point[1]}
            shown[f"_geoPoint({lat}, {lng}):{direction}"] = {
                "order": order,
                "value": point,
                "distance": detail.distance,
            }
        elif isinstance(detail, VectorDetail):
            shown["vectorSort"] = {"order": order, "similarity": detail.similarity}
        elif isinstance(detail, SkippedDetail):
            shown["skipped"] = {"order": order}
        else:
            shown["pin"] = {"order": order, "position": detail.position}
        order += 1
    return shown


def _show_rank(shown: dict[str, Any], detail: RankDetail, previous: RankDetail | None, order: int) -> int:
    """Write one rank detail; returns by how much `order` grows (0 for second halves)."""
    score = local_score(detail.rank, detail.max_rank)
    name = detail.name
    if name == "words":
        shown["words"] = {
            "order": order,
            "matchingWords": detail.rank,
            "maxMatchingWords": detail.max_rank,
            "score": score,
        }
    elif name == "typo":
        shown["typo"] = {
            "order": order,
            "typoCount": detail.max_rank - detail.rank,
            "maxTypoCount": detail.max_rank - 1,
            "score": score,
        }
    elif detail.unified and name == "attributeRank":
        shown["attribute"] = {"order": order, "attributeRankingOrderScore": score}
    elif detail.unified and name == "wordPosition":
        assert previous is not None
        merged = merge_ranks([(previous.rank, previous.max_rank), (detail.rank, detail.max_rank)])
        shown["attribute"] |= {"queryWordDistanceScore": score, "score": local_score(*merged)}
        return 0
    elif name == "exactAttribute":
        shown["exactness"] = {"order": order, "matchType": _MATCH_TYPES[detail.rank], "score": score}
    elif name == "exactWords":
        exactness = shown["exactness"]
        if exactness["matchType"] == "noExactMatch":
            del exactness["score"]
            merged = merge_ranks([(1, 3), (detail.rank, detail.max_rank)])
            exactness |= {
                "matchingWords": detail.rank - 1,
                "maxMatchingWords": detail.max_rank - 1,
                "score": local_score(*merged),
            }
        return 0
    else:
        shown[name] = {"order": order, "score": score}
    return 1


def _display_float(number: float) -> str:
    """Rust's `{}` of an f64: shortest digits, never an exponent, no `.0`."""
    text = repr(float(number))
    if "e" in text or "E" in text:
        text = format(number, "f").rstrip("0")
    return text.removesuffix(".0").rstrip(".")

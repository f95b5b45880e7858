"""One ranked list out of the shards' lists: compared rule by rule, ties by insertion order.

Scores normalised by a node (`_rankingScore`, `typo.score`) are never compared: they depend on what else the node
holds. reference: search-semantics H.30, H2, G.3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from miroir.core.reads.scores import repaired
from miroir.core.reserved import SEQ_FIELD

SEQ_RULE = f"{SEQ_FIELD}:asc"
Key = tuple[Any, ...]

_EXACTNESS = {"exactMatch": 0, "matchesStart": 1, "noExactMatch": 2}
#: UTF-8 has no byte above 0xF4, so 0xFF stays free to end a text: longer comes before shorter
_INVERTED = bytes((254 - byte) % 256 for byte in range(256))
_LAST = float("inf")


class Hit:
    """One hit of one shard: its place in the order, its document, what ranked it."""

    __slots__ = ("body", "details", "key", "left_out", "proximity_at", "score", "seq", "share", "typo_group")

    def __init__(
        self,
        body: dict[str, Any],
        details: dict[str, Any],
        score: float,
        share: int,
        key: Key = (),
        seq: str = "",
        typo_group: Key | None = None,
        proximity_at: int | None = None,
    ) -> None:
        self.body = body
        self.details = details
        self.score = score
        self.share = share  #: position of the answering share in the covering
        self.key = key
        self.seq = seq
        self.typo_group = typo_group  #: the key's part before the typos
        self.proximity_at = proximity_at  #: place of the proximity in the key
        self.left_out: tuple[int, ...] = ()  #: words that were replaced when the hit was found


def take_hits(raw: list[dict[str, Any]], share: int) -> list[Hit]:
    """A shard's hits, their details and score taken out of the documents (which are changed)."""
    shapes: dict[tuple[str, ...], _Shape] = {}
    hits = []
    before: Key = ()
    for body in raw:
        details = body.pop("_rankingScoreDetails")
        names = tuple(details)
        shape = shapes.get(names)
        if shape is None:
            shape = shapes[names] = _shape(details)
        parts: list[Any] = []
        append = parts.append
        for part, name in shape.parts:
            if part is _score:  # the most frequent one, without a call
                append(_rounded(details[name]["score"]))
            else:
                part(details[name], parts)
        last = details.pop(SEQ_RULE, None)
        seq = "" if last is None else last["value"] or ""
        append(seq)
        key = tuple(parts)
        typo_group = None if shape.typo_at is None else key[: shape.typo_at]
        # A shard's own order stands even where sub-buckets do not show in the details (exactness, 1 m of geo).
        if key < before:
            key = before
        before = key
        hits.append(
            Hit(body, details, body.pop("_rankingScore"), share, key, seq, typo_group, shape.proximity_at)
        )
    return hits


def merge(lists: Sequence[list[Hit]], limit: int | None = None) -> list[Hit]:
    """The first `limit` hits of all lists; every list is in order already."""
    if len(lists) == 1:
        return lists[0][:limit]
    merged = [hit for hits in lists for hit in hits]
    put_in_order(merged)
    return merged[:limit]


def put_in_order(hits: list[Hit]) -> None:
    """Sort hits of any shards, the best first."""
    try:
        hits.sort(key=_key_of)  # finds the runs: no slower than a heap merge, and done in C
    except TypeError:
        # While new ranking rules roll out, shards rank by different ones: nothing compares but scores.
        hits.sort(key=lambda hit: (-hit.score, hit.seq))


def repair_scores(lists: Sequence[list[Hit]]) -> None:
    """Give every hit the typo maximum, and thereby the score, that one node would have shown."""
    largest: dict[Key, int] = {}
    uneven = False
    for hits in lists:
        for hit in hits:
            if hit.typo_group is None:
                continue
            own = hit.details["typo"]["maxTypoCount"]
            known = largest.get(hit.typo_group)
            if known is None:
                largest[hit.typo_group] = own
            elif known != own:
                uneven = True
                largest[hit.typo_group] = max(own, known)
    if not uneven:
        return
    for hits in lists:
        for hit in hits:
            if hit.typo_group is None:
                continue
            most, typo = largest[hit.typo_group], hit.details["typo"]
            if typo["maxTypoCount"] == most:
                continue
            score = repaired(hit.score, hit.details, most)
            if score is not None:
                hit.score = score
            typo["maxTypoCount"] = most
            typo["score"] = (most + 1 - typo["typoCount"]) / (most + 1)


def _key_of(hit: Hit) -> Key:
    return hit.key


# --- one part of the key per rule; smaller is better ----------------------------------------------

_Part = Callable[[Any, list[Any]], None]
#: a score's part: compared to twelve digits, since nodes add up in different orders; few scores are ever seen
_rounded = lru_cache(maxsize=8192)(lambda score: -round(score, 12))


@dataclass(frozen=True, slots=True)
class _Shape:
    """The rules of a hit in their order, and how to compare each. Places are those in the key."""

    parts: list[tuple[_Part, str]]
    typo_at: int | None
    proximity_at: int | None


def _words(detail: Any, parts: list[Any]) -> None:
    parts.append(-detail["matchingWords"])


def _typo(detail: Any, parts: list[Any]) -> None:
    parts.append(detail["typoCount"])


def _score(detail: Any, parts: list[Any]) -> None:
    parts.append(_rounded(detail["score"]))


def _attribute(detail: Any, parts: list[Any]) -> None:
    parts.append(_rounded(detail["attributeRankingOrderScore"]))
    parts.append(_rounded(detail["queryWordDistanceScore"]))


def _exactness(detail: Any, parts: list[Any]) -> None:
    parts.append(_EXACTNESS[detail["matchType"]])
    parts.append(-detail.get("matchingWords", 0))


def _ascending(detail: Any, parts: list[Any]) -> None:
    sort_key(detail["value"], True, parts)


def _descending(detail: Any, parts: list[Any]) -> None:
    sort_key(detail["value"], False, parts)


def _nearest(detail: Any, parts: list[Any]) -> None:
    distance = detail["distance"]
    parts += (1, 0.0) if distance is None else (0, distance)


def _farthest(detail: Any, parts: list[Any]) -> None:
    distance = detail["distance"]
    parts += (1, 0.0) if distance is None else (0, -distance)


def _similarity(detail: Any, parts: list[Any]) -> None:
    similarity = detail["similarity"]
    parts += (1, 0.0) if similarity is None else (0, -similarity)


def _skipped(_detail: Any, parts: list[Any]) -> None:
    parts.append(_LAST)


def sort_key(value: Any, ascending: bool, parts: list[Any]) -> None:
    """Append the place of a sort value: numbers, then strings, then nothing, in both directions."""
    if value is None:
        parts += (2, 0)
    elif isinstance(value, str):
        parts += (1, value if ascending else inverted(value))
    else:
        parts += (0, value if ascending else -value)


def inverted(text: str) -> bytes:
    """Bytes that sort in the opposite order of the text's UTF-8 bytes."""
    return text.encode().translate(_INVERTED) + b"\xff"


_PARTS: dict[str, _Part] = {
    "words": _words,
    "typo": _typo,
    "proximity": _score,
    "attributeRank": _score,
    "wordPosition": _score,
    "attribute": _attribute,
    "exactness": _exactness,
    "vectorSort": _similarity,
    "skipped": _skipped,
}


#: those of one part; the others have two
_SINGLE = frozenset({_words, _typo, _score, _skipped})


def _shape(details: dict[str, Any]) -> _Shape:
    """The shape of hits with these details; the sequence rule is added by the caller."""
    parts: list[tuple[_Part, str]] = []
    typo_at = proximity_at = None
    width = 0
    for name, detail in sorted(details.items(), key=lambda item: item[1]["order"]):
        if name == SEQ_RULE:
            continue
        part = _PARTS.get(name)
        if part is None:
            ascending = name.endswith(":asc")
            if "distance" in detail:
                part = _nearest if ascending else _farthest
            elif "value" in detail:
                part = _ascending if ascending else _descending
            else:
                continue
        if part is _typo:
            typo_at = width
        elif name == "proximity":
            proximity_at = width
        parts.append((part, name))
        width += 1 if part in _SINGLE else 2
    return _Shape(parts, typo_at, proximity_at)

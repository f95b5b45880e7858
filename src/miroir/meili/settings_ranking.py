"""Ranking rules: what is valid, and the parts of a custom rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from miroir.meili import decode, refusals
from miroir.meili.codes import ApiError
from miroir.meili.sorting import is_reserved

BUILT_IN = ("words", "typo", "proximity", "attribute", "attributeRank", "wordPosition", "sort", "exactness")


@dataclass(frozen=True, slots=True)
class RankingRule:
    """A built-in rule (`direction` None), or a field with a direction."""

    name: str
    direction: Literal["asc", "desc"] | None = None


def parse_ranking_rule(text: str) -> RankingRule | None:
    """The rule, None when it is none."""
    if text in BUILT_IN:
        return RankingRule(text)
    name, colon, direction = text.rpartition(":")
    if not colon or direction not in ("asc", "desc"):
        return None
    return RankingRule(name, "asc" if direction == "asc" else "desc")


def ranking_rules(value: Any, path: str, code: str) -> list[str]:
    """A decoder of `rankingRules`."""
    rules = list(decode.array_of(_rule)(value, path, code))
    if "attribute" in rules and ("attributeRank" in rules or "wordPosition" in rules):
        raise ApiError(
            code,
            "Mixed usage of the attribute, attributeRank, and wordPosition ranking rules. You must either use the "
            "attribute ranking rule alone or the attributeRank and wordPosition ranking rules.",
        )
    return rules


def _rule(value: Any, path: str, code: str) -> str:
    text = decode.string(value, path, code)
    rule = parse_ranking_rule(text)
    if rule is None:
        refusals.invalid(
            f"`{text}` ranking rule is invalid. Valid ranking rules are words, typo, sort, proximity, attribute, "
            "exactness and custom ranking rules.",
            path,
            code,
        )
    if rule.direction is not None and (name := _reserved(rule.name)):
        uses = {
            "_geoPoint": ". `_geoPoint` can only be used for sorting at search time",
            "_geoRadius": ". `_geoRadius` can only be used for filtering at search time",
            "_geoBoundingBox": ". `_geoBoundingBox` can only be used for filtering at search time",
        }
        refusals.invalid(
            f"`{name}` is a reserved keyword and thus can't be used as a ranking rule{uses.get(name, '')}",
            path,
            code,
        )
    return text


def _reserved(name: str) -> str | None:
    """The geo word that a custom rule would hide, as the refusal names it."""
    if not is_reserved(name):
        return None
    word = name.partition("(")[0]
    return name if word in ("_geo", "_geoDistance") else word

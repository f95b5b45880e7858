"""Which rules run, in which order."""

from __future__ import annotations

from typing import Any

import pytest

from miroir.engine.facets import FacetIndex
from miroir.engine.ranking.plan import RulePlanner
from miroir.engine.resolve import Resolver
from miroir.engine.sorting import SortRule
from miroir.meili.sorting import parse_sorts
from tests.unit.engine.searching import text_index

SHORT = {
    "WordsRule": "words",
    "TypoRule": "typo",
    "ProximityRule": "proximity",
    "AttributeRankRule": "rank",
    "WordPositionRule": "position",
    "ExactAttributeRule": "exact1",
    "ExactWordsRule": "exact2",
    "GeoSortRule": "geo",
    "VectorSortRule": "vector",
    "SortRule": "sort",
}


def planner(names: list[str], sort: tuple[str, ...] = ()) -> RulePlanner:
    return RulePlanner({"rankingRules": names}, FacetIndex(), parse_sorts(sort))


def shown(rules: list[Any]) -> list[str]:
    return [SHORT[type(rule).__name__] for rule in rules]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["words", "typo"], ["words", "typo"]),
        (["typo", "words", "typo"], ["words", "typo"]),
        (["a:asc", "typo"], ["sort", "words", "typo"]),
        (["a:asc", "a:desc"], ["sort"]),
        (["attribute", "attributeRank"], ["words", "rank", "position"]),
        (["wordPosition", "attribute"], ["words", "position"]),
        (["exactness"], ["words", "exact1", "exact2"]),
        (["sort", "words", "a:asc"], ["sort", "geo", "sort", "words"]),
        ([], []),
    ],
)
def test_keyword_rules(names: list[str], expected: list[str]) -> None:
    """Each name acts once, fields are sorted on once, and words come before any other relevancy rule."""
    resolver = Resolver(text_index([]), ())
    rules = planner(names, ("a:asc", "_geoPoint(1,2):asc", "b:asc")).keyword_rules(resolver, "last")
    assert shown(rules) == expected


def test_all_terms_need_no_words_rule() -> None:
    rules = planner(["words", "typo"]).keyword_rules(Resolver(text_index([]), ()), "all")
    assert shown(rules) == ["typo"]


def test_placeholder_and_vector_rules() -> None:
    """Without words only sorts remain; a vector takes the place of the first relevancy rule."""
    plan = planner(["words", "sort", "typo", "c:desc"], ("a:asc",))
    assert shown(plan.placeholder_rules()) == ["sort", "sort"]
    vector = SortRule(None, "x", ascending=True)
    assert plan.vector_rules(vector)[0] is vector
    assert len(plan.vector_rules(vector)) == 3

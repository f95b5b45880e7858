"""Which queries of a federation can be compared, and how it is said why not."""

from __future__ import annotations

from typing import Any

import pytest

from miroir.meili.codes import ApiError
from miroir.meili.rule_compatibility import CanonicalRules, canonical_rules, check_compatible
from miroir.meili.sorting import parse_sorts

DEFAULT = ["words", "typo", "proximity", "attributeRank", "sort", "wordPosition", "exactness"]


def rules(
    position: int, sort: list[str] | None = None, kind: Any = "keyword", ranking: Any = DEFAULT
) -> CanonicalRules:
    return canonical_rules(
        ranking,
        None if sort is None else parse_sorts(sort),
        strategy="last",
        kind=kind,
        query_position=position,
        index_uid="books",
    )


def test_queries_with_the_same_kinds_of_rules_are_compatible() -> None:
    assert check_compatible(rules(0, ["a:asc"]), rules(1, ["b:asc"])).query_position == 1
    assert check_compatible(rules(0, ["a:asc"]), rules(1, kind="placeholder")).query_position == 0


def test_opposite_directions_are_refused_with_both_places() -> None:
    with pytest.raises(ApiError) as refused:
        check_compatible(rules(0, ["a:asc"], "placeholder"), rules(1, ["a:desc"], "placeholder"))
    lines = refused.value.message.splitlines()
    assert lines[:4] == [
        "The results of queries #0 and #1 are incompatible: ",
        "  1. `queries[0].sort[0]`, `books.rankingRules[0]`: ascending sort rule(s) on field `a`",
        "  2. `queries[1].sort[0]`, `books.rankingRules[0]`: descending sort rule(s) on field `a`",
        "  - cannot compare two sort rules in opposite directions",
    ]
    assert refused.value.code == "invalid_multi_search_query_ranking_rules"


def test_relevancy_against_sort_is_refused_and_changes_are_noted() -> None:
    with pytest.raises(ApiError) as refused:
        check_compatible(rules(0), rules(1, ["a:desc"], "placeholder"))
    message = refused.value.message
    assert "cannot compare a relevancy rule with a sort rule" in message
    assert "    1. Removed relevancy rule `words` at position #0 in ranking rules because" in message

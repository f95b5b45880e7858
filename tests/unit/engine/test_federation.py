"""Federation: the order between queries, merged facets, and which rules cannot be compared."""

from dataclasses import replace
from typing import Any

import pytest
from pyroaring import BitMap

from miroir.engine.federation import (
    FederatedHit,
    IndexResult,
    compare_hits,
    facet_values,
    merge_facets,
    merge_hits,
    merge_indexes,
    without_hits,
)
from miroir.engine.ranking.score import GeoDetail, SortDetail
from miroir.meili.codes import ApiError
from miroir.meili.rule_compatibility import CanonicalRules, canonical_rules, check_compatible
from miroir.meili.sorting import parse_sorts


def hit(
    *values: Any, position: int = 0, score: float = 0.0, document: Any = None, uid: str = "a"
) -> FederatedHit:
    return FederatedHit(uid, position, 0, values, score, {}, document or {}, has_similarity=False)


def test_scores_within_an_epsilon_are_equal_and_the_next_element_decides() -> None:
    near = hit(0.5, SortDetail("p", True, 1.0)), hit(0.5 + 1e-16, SortDetail("p", True, 2.0))
    assert compare_hits(*near) > 0
    assert compare_hits(hit(0.6), hit(0.5, SortDetail("p", True, 1.0))) > 0
    assert compare_hits(hit(0.5), hit(0.5, 0.1)) < 0


def test_kinds_that_cannot_be_compared_fall_back_to_what_is_left_then_to_the_score() -> None:
    value = SortDetail("p", True, 1.0)
    assert compare_hits(hit(value), hit(0.9, 0.9)) < 0
    assert compare_hits(hit(value, score=0.9), hit(0.1, score=0.1)) > 0


def test_larger_distance_wins_in_both_directions_as_the_server_has_it() -> None:
    for ascending in (True, False):
        near, far = (GeoDetail((0, 0), ascending, (0, 0), distance) for distance in (1.0, 2.0))
        assert compare_hits(hit(far), hit(near)) > 0
        assert compare_hits(hit(near), hit(GeoDetail((0, 0), ascending, None, None))) > 0


def test_merge_keeps_the_order_of_each_list_and_breaks_ties_by_query() -> None:
    first = [hit(0.5, position=0), hit(0.9, position=0)]
    second = [hit(0.5, position=1)]
    assert [h.position for h in merge_hits([second, first])] == [0, 0, 1]


def test_distinct_over_indexes_takes_the_first_hit_of_a_value() -> None:
    hits = [
        replace(hit(s, document={"d": d}, uid=u), docid=n)
        for n, (s, d, u) in enumerate([(0.9, "x", "a"), (0.8, " X", "a"), (0.7, "y", "a")])
    ]
    merged = merge_indexes({"a": IndexResult(tuple(hits), BitMap([0, 1, 2, 3]))}, 0, 10, "d")
    assert [h.docid for h in merged.page] == [0, 2]
    assert merged.total == 3
    assert without_hits({"d": {"x": 2, "y": 1}}, merged.rejected["a"]) == {"d": {"x": 1, "y": 1}}


def test_facets_are_summed_ordered_and_cut() -> None:
    parts = [
        ({"f": {"b": 1, "a": 2}}, {"n": {"min": 1.0, "max": 2.0}}),
        ({"f": {"b": 5, "c": 3}}, {"n": {"min": 0.0, "max": 1.0}}),
    ]
    counts, stats = merge_facets(parts, {"f": "count"}, 2)
    assert list(counts["f"].items()) == [("b", 6), ("c", 3)]
    assert stats == {"n": {"min": 0.0, "max": 2.0}}
    assert list(merge_facets(parts, {}, None)[0]["f"]) == ["a", "b", "c"]


def test_values_of_a_document_are_numbers_and_normalised_strings() -> None:
    assert facet_values({"a": [{"b": "X "}, {"b": [1, True]}], "a.b": 2}, "a.b") == [2.0, "x", 1.0, "true"]


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

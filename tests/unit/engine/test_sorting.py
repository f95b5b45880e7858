"""Sort and distance rules, listings, distinct: orders as observed on the real engine."""

from typing import Any

import pytest
from pyroaring import BitMap

from miroir.engine.attribute_rules import AttributeRules
from miroir.engine.distinct import apply_distinct
from miroir.engine.facets import FacetIndex
from miroir.engine.geo import distance_m
from miroir.engine.ranking.rule import RankingRule
from miroir.engine.ranking.score import GeoDetail, SortDetail
from miroir.engine.sorting import GeoSortRule, check_search_sort, hit_distance, sort_rule, sorted_page
from miroir.meili.codes import ApiError
from miroir.meili.sorting import parse_sorts

SETTINGS = {"sortableAttributes": ["p", "n", "_geo"], "rankingRules": ["words", "sort"]}
#: Documents 1 to 9 by what they hold under `p`.
VALUES = [[5, 1], [3], ["b", "a"], [9, "0"], None, False, "Zed", "éa", "eb"]


def make(documents: list[dict[str, Any]], settings: dict[str, Any] = SETTINGS) -> FacetIndex:
    return FacetIndex().updated(settings, [(docid, None, doc) for docid, doc in enumerate(documents, 1)])


def drained(rule: RankingRule, universe: BitMap) -> list[tuple[list[int], Any]]:
    """All buckets of a rule with their details."""
    rule.start(universe, None)
    buckets, left = [], universe.copy()
    while left and (bucket := rule.next_bucket(left)) is not None:
        assert bucket.docids
        assert bucket.docids <= left
        buckets.append((list(bucket.docids), bucket.detail))
        left -= bucket.docids
    return buckets


@pytest.mark.parametrize(
    ("ascending", "expected"),
    [
        (
            True,
            [
                (1, 1.0),
                (2, 3.0),
                (4, 9.0),
                (3, "a"),
                (9, "eb"),
                (8, "e\u0301a"),
                (6, "false"),
                (7, "zed"),
                (5, None),
            ],
        ),
        (
            False,
            [
                (4, 9.0),
                (1, 5.0),
                (2, 3.0),
                (7, "zed"),
                (6, "false"),
                (8, "e\u0301a"),
                (9, "eb"),
                (3, "b"),
                (5, None),
            ],
        ),
    ],
)
def test_sort_of_mixed_values_as_observed(
    ascending: bool, expected: list[tuple[int, float | str | None]]
) -> None:
    index = make([{"p": value} for value in VALUES])
    buckets = drained(sort_rule(index, SETTINGS, "p", ascending=ascending), BitMap(range(1, 10)))
    assert [(docids, detail.value) for docids, detail in buckets if isinstance(detail, SortDetail)] == [
        ([docid], value) for docid, value in expected
    ]


def test_small_and_large_universes_give_the_same_buckets() -> None:
    """Few candidates among many keys are grouped document by document."""
    index = make([{"p": number % 50} for number in range(400)])
    large = drained(sort_rule(index, SETTINGS, "p", ascending=False), BitMap(range(1, 401)))
    small = drained(sort_rule(index, SETTINGS, "p", ascending=False), BitMap([1, 2, 51]))
    assert [detail for _, detail in small] == [d for docids, d in large if not {1, 2, 51}.isdisjoint(docids)]


def test_unknown_field_is_one_bucket_and_hidden_values_are_marked() -> None:
    index = make([{"p": 1}])
    settings = {**SETTINGS, "displayedAttributes": ["id"]}
    assert drained(sort_rule(index, settings, "n", ascending=True), BitMap([1])) == [
        ([1], SortDetail("n", True, None, hidden=True))
    ]


def test_distance_buckets_hold_what_is_within_a_metre_of_their_first() -> None:
    step = 0.00001
    points = [{"lat": step * n, "lng": 0.0} for n in (1.0, 1.2, 3.0)]
    index = make([{"_geo": point} for point in [*points, None]])
    origin = (0.0, 0.0)
    first, second, third = (distance_m(origin, (point["lat"], 0.0)) for point in points)
    everything = BitMap([1, 2, 3, 4])
    near = drained(GeoSortRule(index, origin, ascending=True), everything)
    assert [(docids, d.distance) for docids, d in near if isinstance(d, GeoDetail)] == [
        ([1, 2], first),
        ([3], third),
        ([4], None),
    ]
    far = drained(GeoSortRule(index, origin, ascending=False), everything)
    assert [(docids, d.distance) for docids, d in far if isinstance(d, GeoDetail)] == [
        ([3], third),
        ([1, 2], second),
        ([4], None),
    ]


def test_refusals_of_sort() -> None:
    rules = AttributeRules.of(SETTINGS)
    with pytest.raises(ApiError, match="You must specify where `sort` is listed"):
        check_search_sort(rules, {"rankingRules": ["words"]}, parse_sorts(["zz:asc"]))
    with pytest.raises(ApiError, match=r"Attribute `zz` is not sortable\. Available .*`_geo, n, p`"):
        check_search_sort(rules, SETTINGS, parse_sorts(["p:asc", "zz:asc"]))
    check_search_sort(rules, SETTINGS, parse_sorts(["p.child:asc", "_geoPoint(1,2):desc"]))


def test_listing_drops_documents_whose_field_has_no_value_and_keeps_those_without_it() -> None:
    index = make([{"p": None}, {"n": 2}, {"p": 2, "n": 1}, {"p": 2, "n": 0}])
    order = sorted_page(index, parse_sorts(["p:asc", "n:asc"]), BitMap([1, 2, 3, 4]), 0, 9)
    assert list(order) == [4, 3, 2]


def test_distance_of_a_hit_is_to_the_first_point_in_whole_metres() -> None:
    criteria = parse_sorts(["p:asc", "_geoPoint(0, 0):asc", "_geoPoint(9, 9):asc"])
    assert hit_distance(criteria, {"_geo": {"lat": "1", "lng": 0}}) == 111195
    assert hit_distance(criteria, {}) is None


def test_distinct_survivors_exclude_what_shares_a_value_but_excluded_ones_do_not() -> None:
    settings = {"filterableAttributes": ["d"]}
    index = make([{"d": ["a", "b"]}, {"d": ["b", "c"]}, {"d": ["c"]}, {"d": []}, {}, {"d": "A"}], settings)
    table = index.table("d")
    assert table is not None
    remaining, _ = apply_distinct(table, BitMap(range(1, 7)))
    assert list(remaining) == [1, 3, 4, 5]


def test_skipping_whole_buckets_counts_documents_that_are_dropped_in_them() -> None:
    settings = {"sortableAttributes": ["p", "t"]}
    documents: list[tuple[int, None, dict[str, object]]] = [
        (1, None, {"p": 1, "t": []}),
        (2, None, {"p": 2, "t": "a"}),
        (3, None, {"p": 3, "t": "a"}),
    ]
    index = FacetIndex().rebuilt(settings, {}).updated(settings, documents)
    criteria = parse_sorts(["p:asc", "t:asc"])
    candidates = BitMap([1, 2, 3])
    assert sorted_page(index, criteria, candidates, 0, 9) == [2, 3]
    assert sorted_page(index, criteria, candidates, 1, 9) == [2, 3]
    assert sorted_page(index, criteria, candidates, 2, 9) == [3]

"""Federation: the order between queries, and what `distinct` drops."""

from dataclasses import replace
from typing import Any

from pyroaring import BitMap

from miroir.engine.federation import FederatedHit, IndexResult, compare_hits, merge_hits, merge_indexes
from miroir.engine.ranking.score import GeoDetail, SortDetail


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
    assert [h.docid for h in merged.rejected["a"]] == [1]

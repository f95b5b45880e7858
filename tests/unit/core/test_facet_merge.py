"""Facet counts add up by value, not by spelling, and are cut like a node's."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from miroir.core.reads.facet_merge import FacetHits, FacetSum, facet_order
from tests.unit.core.views import index_view

values = st.lists(st.sampled_from(["Red", "green", "Blue", "élan", "x", "12 mm"]), max_size=30)


@given(values, st.randoms(use_true_random=False))
def test_shards_add_up_to_the_whole(documents: list[str], random: Any) -> None:
    shards: list[list[str]] = [[], [], []]
    for value in documents:
        random.choice(shards).append(value)
    total = FacetSum()
    for shard in shards:
        total.add({"colour": dict(Counter(shard))}, {})
    assert total.distribution(index_view(), len(documents))["colour"] == dict(Counter(documents))


def test_spellings_of_one_value_are_one() -> None:
    total = FacetSum()
    total.add({"team": {"Debian Java Maintainers": 66}}, {})
    total.add({"team": {"Debian Java maintainers": 39, "É": 1}}, {})
    total.add({"team": {"e\u0301": 2}}, {})
    assert total.distribution(index_view(), 9)["team"] == {"Debian Java Maintainers": 105, "e\u0301": 3}


def test_numbers_stand_first_as_text_or_by_value() -> None:
    total = FacetSum()
    total.add({"n": {"10": 1, "9": 1, "b": 2}}, {"n": {"min": 9.0, "max": 10.0}})
    assert list(total.distribution(index_view(), 3000)["n"]) == ["10", "9", "b"]
    assert list(total.distribution(index_view(), 3001)["n"]) == ["9", "10", "b"]
    assert total.stats() == {"n": {"min": 9.0, "max": 10.0}}


def test_texts_that_look_like_numbers_are_told_by_the_order() -> None:
    total = FacetSum(index_view())
    total.add({"n": {"0": 1, "3": 2, "2.5": 4}}, {"n": {"min": 0.0, "max": 3.0}})
    total.add({"n": {"1": 1, "10": 1, "9": 1, "2.5": 1}}, {"n": {"min": 1.0, "max": 10.0}})
    total.add({"n": {"0": 1, "2.5": 1}}, {"n": {"min": 0.0, "max": 0.0}})
    assert total.distribution(index_view(), 9)["n"] == {"0": 2, "1": 1, "10": 1, "3": 2, "9": 1, "2.5": 6}
    assert list(total.distribution(index_view(), 9)["n"]) == ["0", "1", "10", "3", "9", "2.5"]
    index = index_view(faceting={"sortFacetValuesBy": {"*": "count"}})
    total = FacetSum(index)
    total.add({"n": {"3": 2, "2.5": 1}}, {"n": {"min": 0.0, "max": 3.0}})
    assert total.values("n") == {(False, 3.0): 2, (False, 2.5): 1}


def test_count_order_cuts_numbers_and_forgets_strings() -> None:
    index = index_view(faceting={"maxValuesPerFacet": 2, "sortFacetValuesBy": {"*": "count"}})
    total = FacetSum()
    total.add({"n": {"1": 1, "2": 5, "3": 3, "a": 2, "b": 9, "c": 1}}, {"n": {"min": 1.0, "max": 3.0}})
    assert total.distribution(index, 12) == {"n": {"2": 5, "3": 3, "b": 9, "a": 2, "c": 1}}


def test_what_is_taken_off_leaves_values_and_bounds() -> None:
    total = FacetSum()
    total.add({"n": {"1": 2, "7": 1}}, {"n": {"min": 1.0, "max": 7.0}})
    total.add({"n": {"7": 1}}, {"n": {"min": 7.0, "max": 7.0}}, sign=-1)
    assert total.distribution(index_view(), 2) == {"n": {"1": 2}}
    assert total.stats() == {"n": {"min": 1.0, "max": 1.0}}


def test_reserved_fields_are_never_seen() -> None:
    total = FacetSum()
    total.add({"_miroir_shard": {"x": 1}}, {"_miroir_seq": {"min": 0.0, "max": 1.0}})
    assert total.distribution(index_view(), 1) == {}
    assert total.stats() == {}


def test_order_by_field_or_star() -> None:
    index = index_view(faceting={"sortFacetValuesBy": {"*": "count", "abd": "alpha"}})
    assert [facet_order(index, field) for field in ("abc", "abd", "z")] == ["count", "alpha", "count"]
    assert facet_order(index_view(), "z") == "alpha"


def test_facet_search_sums_and_cuts() -> None:
    index = index_view(faceting={"maxValuesPerFacet": 2})
    answers = [
        [{"value": "Drama", "count": 2}, {"value": "Dub", "count": 1}],
        [{"value": "drama", "count": 3}, {"value": "Da", "count": 1}],
    ]
    hits = FacetHits(queried=False)
    for each in (hit for answer in answers for hit in answer):
        hits.add(each["value"], each["count"])
    assert hits.doubtful(index, "genre") == ["drama"]
    assert hits.hits(index, "genre") == [
        {"value": "Da", "count": 1},
        {"value": "drama", "count": 5},
    ]

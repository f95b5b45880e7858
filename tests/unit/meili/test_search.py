"""Searches: decoding, encoding, sort expressions, multi-search."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miroir.meili import search
from miroir.meili.codes import ApiError
from miroir.meili.commands import Hybrid, SearchQuery
from miroir.meili.sorting import Sort, parse_sort, split_sort

texts = st.text(max_size=5)
optional_lists = st.none() | st.lists(texts, max_size=3).map(tuple)
queries = st.builds(
    SearchQuery,
    q=st.none() | texts,
    offset=st.integers(0, 50),
    limit=st.integers(0, 50),
    page=st.none() | st.integers(0, 9),
    attributes_to_retrieve=optional_lists,
    facets=optional_lists,
    filter=st.sampled_from([None, "a = 1", ["a = 1", ["b = 2"]]]),
    sort=optional_lists,
    show_ranking_score=st.booleans(),
    matching_strategy=st.sampled_from(["last", "all", "frequency"]),
    ranking_score_threshold=st.none() | st.floats(0, 1),
    hybrid=st.none() | st.builds(Hybrid, texts, st.floats(0, 1)),
    vector=st.none() | st.lists(st.floats(-1, 1), max_size=3).map(tuple),
    crop_marker=texts,
)
directions = st.sampled_from(["asc", "desc"])
sorts = st.builds(Sort, directions, field=st.text(alphabet="abc.", min_size=1, max_size=5)) | st.builds(
    lambda direction, lat, lng: Sort(direction, point=(lat, lng)),
    directions,
    st.floats(-90, 90),
    st.floats(-180, 180),
)


@given(queries)
def test_a_query_survives_the_way_to_a_node(query: SearchQuery) -> None:
    assert search.decode_search(search.to_json(query)) == query


def test_defaults_are_not_sent() -> None:
    assert search.to_json(SearchQuery()) == {}


@given(sorts)
def test_sort_expressions_round_trip(sort: Sort) -> None:
    assert parse_sort(sort.to_text()) == sort


def test_a_sort_parameter_is_split_outside_points() -> None:
    assert split_sort("a:asc,_geoPoint(1, 2):desc,b:asc") == ("a:asc", "_geoPoint(1,2):desc", "b:asc")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "year",
            "Invalid syntax for the sort parameter: expected expression ending by `:asc` or `:desc`, found `year`.",
        ),
        (
            "_geo:asc",
            "`_geo` is a reserved keyword and thus can't be used as a sort expression. Use the _geoPoint(latitude, "
            "longitude) built-in rule to sort on _geo field coordinates.",
        ),
        (
            "_geoPoint(9, 181):asc",
            "Bad longitude `181`. Longitude must be contained between -180 and 180 degrees. Hint: try using `-179` "
            "instead.",
        ),
        (
            "_geoPoint(a, b):asc",
            "Invalid syntax for the geo parameter: expected expression formated like `_geoPoint(latitude, longitude)` "
            "and ending by `:asc` or `:desc`, found `_geoPoint(a, b)`.",
        ),
    ],
)
def test_bad_sort_expressions(text: str, message: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse_sort(text)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (
            {"limit": None},
            "invalid_search_limit",
            "Invalid value type at `.limit`: expected a positive integer, but found null",
        ),
        (
            {"rankingScoreThreshold": 1.1},
            "invalid_search_ranking_score_threshold",
            "Invalid value at `.rankingScoreThreshold`: the value of `rankingScoreThreshold` is invalid, expected a "
            "float between `0.0` and `1.0`.",
        ),
        (
            {"q": "x", "hybrid": {}},
            "invalid_search_hybrid_query",
            "Missing field `embedder` inside `.hybrid`",
        ),
        (
            {"filter": "title ="},
            "invalid_search_filter",
            "Was expecting a value but instead got nothing.\n8:8 title =",
        ),
    ],
)
def test_bad_searches(body: Any, code: str, message: str) -> None:
    with pytest.raises(ApiError) as caught:
        search.check_filter(search.decode_search(body))
    assert (caught.value.code, caught.value.message) == (code, message)


def test_get_parameters() -> None:
    query = search.decode_search_params(
        [
            ("q", "x"),
            ("filter", '["a = 1"]'),
            ("hybridEmbedder", "e"),
            ("vector", "1,2.5"),
            ("locales", "fr,eng"),
        ]
    )
    assert query == SearchQuery(
        q="x", filter=["a = 1"], hybrid=Hybrid("e"), vector=(1.0, 2.5), locales=("fr", "eng")
    )
    # an index uid is judged before these, so they wait
    alone = search.decode_search_params([("vector", "1")])
    with pytest.raises(ApiError, match="`hybridEmbedder` is mandatory when `vector` is present"):
        search.check_filter(alone)


def test_multi_search_paths_name_the_query() -> None:
    with pytest.raises(ApiError) as caught:
        search.decode_multi_search({"queries": [{"indexUid": "a"}, {"q": "x"}]})
    assert (caught.value.code, caught.value.message) == (
        "missing_index_uid",
        "Missing field `indexUid` inside `.queries[1]`",
    )


def test_an_id_for_similar_may_be_a_number() -> None:
    assert search.decode_similar({"id": 7, "embedder": "e"}).id == "7"
    for query in (
        search.decode_similar({"id": "not good", "embedder": "e"}),
        search.decode_similar_params([("id", "not good"), ("embedder", "e")]),
    ):
        assert query.refused_id is not None
        assert query.refused_id.message.startswith("Invalid value at `.id`: Document identifier")


def test_the_id_for_similar_is_judged_last() -> None:
    with pytest.raises(ApiError, match=r"Invalid value type at `\.limit`"):
        search.decode_similar({"id": [], "limit": "x", "embedder": "e"})
    with pytest.raises(ApiError, match="Missing field `embedder`"):
        search.decode_similar({"id": []})

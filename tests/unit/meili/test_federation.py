"""Federations: what is refused and in which order, how lists and facets of several indexes become one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miroir.meili.codes import ApiError
from miroir.meili.commands import MultiSearch
from miroir.meili.facet_checks import check_facets
from miroir.meili.federation_checks import FederationChecks, groups_of
from miroir.meili.federation_merge import hit_values, merge_facets, merge_lists, without_documents
from miroir.meili.federation_requests import check_federation
from miroir.meili.multi_search import decode_multi_search
from miroir.meili.settings import defaults

SETTINGS = defaults() | {"filterableAttributes": ["genre"], "sortableAttributes": ["year"]}
BY_COUNT = SETTINGS | {"faceting": {"sortFacetValuesBy": {"*": "count"}}}


def federation(*queries: dict[str, Any], **members: Any) -> MultiSearch:
    return decode_multi_search(
        {"federation": members, "queries": [{"indexUid": "books"} | q for q in queries]}
    )


def refusal_before(*queries: dict[str, Any], enabled: bool = False, **members: Any) -> tuple[str, str]:
    with pytest.raises(ApiError) as refused:
        check_federation(federation(*queries, **members), lambda feature: enabled and feature == "network")
    return refused.value.code, refused.value.message


def test_pagination_is_forbidden_in_queries_even_with_default_values() -> None:
    code, message = refusal_before({"limit": 20})
    assert code == "invalid_multi_search_query_pagination"
    assert message.startswith("Inside `.queries[0]`: Using pagination options is not allowed")


def test_filters_of_all_queries_are_judged_before_anything_else_of_one() -> None:
    code, message = refusal_before({"limit": 20}, {"filter": "genre ="})
    assert code == "invalid_search_filter"
    assert message.startswith("Inside `.queries[1]`: ")


@pytest.mark.parametrize(
    ("enabled", "code"), [(False, "feature_not_enabled"), (True, "invalid_multi_search_remote")]
)
def test_a_remote_that_nobody_can_register_is_refused(enabled: bool, code: str) -> None:
    assert refusal_before({"federationOptions": {"remote": "far"}}, enabled=enabled)[0] == code


def test_a_position_of_ones_own_needs_a_feature() -> None:
    query = {"federationOptions": {"queryPosition": 7}}
    assert refusal_before(query) == (
        "feature_not_enabled",
        "Inside `.queries[0]`: Using `federationOptions.queryPosition` requires enabling the `network` experimental "
        "feature. See https://github.com/orgs/meilisearch/discussions/805",
    )
    check_federation(federation(query), lambda _feature: True)


def walk(request: MultiSearch, settings: dict[str, dict[str, Any]], known: tuple[str, ...] = ()) -> None:
    assert request.federation is not None
    checks = FederationChecks(request.federation, lambda _uid: known)
    groups = groups_of(request)
    for uid, group in groups.items():
        checks.begin(uid, settings[uid], group)
        for i, item in group:
            checks.query(uid, settings[uid], i, item)
        checks.end(uid, settings[uid], group)
    for uid in request.federation.facets_by_index:
        if uid not in groups:
            checks.unused(uid, settings.get(uid))


def test_indexes_are_looked_at_in_order_of_their_uids() -> None:
    request = federation({"q": "x"}, {"indexUid": "a", "sort": ["year:asc"]}, facetsByIndex={"a": ["nope"]})
    with pytest.raises(ApiError) as refused:
        walk(request, {"a": SETTINGS, "books": SETTINGS})
    assert refused.value.message.startswith(
        "Inside `.queries[1]`: Inside `.federation.facetsByIndex.a`: Invalid facet"
    )
    with pytest.raises(ApiError, match=r"queries\[0\].: The results of queries #1 and #0 are incompatible"):
        walk(
            federation({"q": "x"}, {"indexUid": "a", "sort": ["year:asc"]}),
            {"a": SETTINGS, "books": SETTINGS},
        )


def test_the_sort_of_a_query_is_read_when_its_turn_comes() -> None:
    request = federation({"sort": ["year"]}, {"indexUid": "a", "hybrid": {"embedder": "e"}, "q": "x"})
    with pytest.raises(ApiError, match=r"queries\[1\].: Cannot find embedder with name `e`"):
        walk(request, {"a": SETTINGS, "books": SETTINGS})


def test_facets_to_merge_must_be_ordered_alike_also_those_of_indexes_no_query_asks() -> None:
    asked = {"books": ["genre"], "films": ["genre"]}
    settings = {"books": SETTINGS, "films": BY_COUNT}
    walk(federation({"q": "x"}, facetsByIndex=asked), settings, ("genre",))
    with pytest.raises(ApiError) as refused:
        walk(federation({"q": "x"}, facetsByIndex=asked, mergeFacets={}), settings, ("genre",))
    assert refused.value.code == "invalid_multi_search_facet_order"
    assert refused.value.message.startswith(
        "Inside `.federation.facetsByIndex.films`: Inconsistent order for values"
    )
    assert refused.value.message.endswith("\n - Note: index `films` is not used in queries")


def test_a_plain_star_among_filterable_attributes_names_an_attribute() -> None:
    check_facets({"filterableAttributes": ["*"]}, ["*"])
    check_facets({"filterableAttributes": [{"attributePatterns": ["*"]}]}, ["genre"])
    with pytest.raises(ApiError, match=r"Pattern `genre` is not filterable. Available .* are: `\*`"):
        check_facets({"filterableAttributes": ["*"]}, ["genre"])


def test_an_index_that_only_facets_name_must_exist() -> None:
    with pytest.raises(ApiError) as refused:
        walk(federation({"q": "x"}, facetsByIndex={"ghost": None}), {"books": SETTINGS})
    assert (refused.value.code, refused.value.status) == ("index_not_found", 400)


@given(st.lists(st.lists(st.integers(0, 20).map(float))))
def test_lists_in_order_merge_into_one_in_order(lists: list[list[float]]) -> None:
    merged = merge_lists([sorted(each) for each in lists], lambda one, other: one < other)
    assert list(merged) == sorted(value for each in lists for value in each)


def test_the_order_inside_a_list_is_never_changed() -> None:
    assert list(merge_lists([[2, 0], [1]], lambda one, other: one < other)) == [1, 2, 0]


def test_values_of_a_hit() -> None:
    document = {"a": [{"b": "X "}, {"b": [1, True, [2], None]}], "a.b": 2.0}
    assert hit_values(document, "a.b") == [(True, "2.0"), (False, "x"), (True, "1"), (False, "true")]


def test_values_of_dropped_hits_are_taken_off_and_vanish_at_zero() -> None:
    counts = {"g": {"X": 2, "y": 1, "7": 1}, "id": {"2": 1}}
    assert without_documents(counts, [{"g": ["x", 7], "id": 2}]) == {"g": {"X": 1, "y": 1}, "id": {}}
    assert without_documents(counts, []) == counts


def test_facets_are_summed_ordered_and_cut() -> None:
    parts = [
        ({"f": {"b": 1, "a": 2}}, {"n": {"min": 1.0, "max": 2.0}}),
        ({"f": {"b": 5, "c": 3}}, {"n": {"min": 0.0, "max": 1.0}}),
    ]
    counts, stats = merge_facets(parts, {"f": "count"}, 2)
    assert list(counts["f"].items()) == [("b", 6), ("c", 3)]
    assert stats == {"n": {"min": 0.0, "max": 2.0}}
    assert list(merge_facets(parts, {}, None)[0]["f"]) == ["a", "b", "c"]

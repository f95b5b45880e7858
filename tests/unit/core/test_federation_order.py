"""In which order a federation is looked at, and what nodes must be asked for that."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from miroir.core.reads.federation_order import facets_in_doubt, hits_needed, judge, value_orders
from miroir.core.topology import IndexView
from miroir.meili.commands import MultiSearch
from miroir.meili.multi_search import decode_multi_search
from tests.unit.core.views import index_view

BY_COUNT = {"sortFacetValuesBy": {"genre": "count"}}


def index(uid: str, **settings: Any) -> IndexView:
    return replace(index_view(filterableAttributes=["genre"], **settings), uid=uid)


def federation(*queries: dict[str, Any], **members: Any) -> MultiSearch:
    return decode_multi_search({"federation": members, "queries": list(queries)})


INDEXES = {
    "a": index("a"),
    "b": index("b", rankingRules=["words", "typo", "sort", "exactness", "n:desc", "n:asc"]),
}


def test_queries_before_a_refusal_are_still_to_be_judged_by_nodes() -> None:
    queries = [{"indexUid": "b", "q": "x"}, {"indexUid": "b", "sort": ["n:asc"]}, {"indexUid": "a", "q": "x"}]
    judged = judge(federation(*queries), INDEXES, {})
    assert judged.reached == (2, 0)
    assert judged.refusal is not None
    assert judged.refusal.code == "invalid_multi_search_query_ranking_rules"
    assert judged.refusal.message.startswith("Inside `.queries[1]`: The results of queries #0 and #1")


def test_a_shorter_list_of_rules_fits_a_longer_one() -> None:
    queries = [{"indexUid": "b", "q": "x"}, {"indexUid": "a", "q": "y"}, {"indexUid": "a"}]
    judged = judge(federation(*queries), INDEXES, {})
    assert (judged.reached, judged.refusal) == ((1, 2, 0), None)


def test_a_missing_index_is_missed_when_its_turn_comes() -> None:
    judged = judge(federation({"indexUid": "c"}, {"indexUid": "a"}), INDEXES, {})
    assert judged.reached == (1,)
    assert judged.refusal is not None
    assert (judged.refusal.status, judged.refusal.message) == (
        400,
        "Inside `.queries[0]`: Index `c` not found.",
    )


def test_paths_are_asked_for_only_where_settings_order_values_differently() -> None:
    asked = {"a": ["genre", "nope"], "b": ["*"], "c": None}
    federated = federation(facetsByIndex=asked, mergeFacets={}).federation
    assert federated is not None
    assert facets_in_doubt(federated, INDEXES) == {}
    apart = INDEXES | {"b": index("b", faceting=BY_COUNT)}
    assert facets_in_doubt(federated, apart) == {"a": ["genre"], "b": ["*"]}
    assert facets_in_doubt(replace(federated, merge_facets=None), apart) == {}
    assert value_orders(federated, apart, {"b": ["genre", "genre.x"]}) == {
        "genre": "count",
        "genre.x": "alpha",
    }
    assert value_orders(federated, apart, {"a": ["genre.x"]}) == {}


def test_hits_bring_what_a_rejection_takes_off_the_facets() -> None:
    books = replace(index_view(field_order=("id", "genre", "author", "auth")), uid="a")
    federated = federation(facetsByIndex={"a": ["tags", "aut*", "author.n*"]}, distinct="d").federation
    assert federated is not None
    assert hits_needed(federated, books) == ("d", "tags", "author", "auth")
    assert hits_needed(replace(federated, distinct=None), books) == ()

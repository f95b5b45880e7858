"""Plans as text: what each node is asked, for a change to be seen in review.

A plan that should change: delete its file in tests/golden/plans/, run once, look at the difference.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miroir.core.reads.count_bodies import count_only, deeper, distinct_values
from miroir.core.reads.covering import Share
from miroir.core.reads.search_plan import (
    join_filters,
    kind_of,
    node_search,
    plan_search,
    shard_proof,
    window,
    winners,
)
from miroir.core.topology import NodeId
from miroir.meili.commands import Hybrid, SearchQuery
from miroir.meili.filters import parse
from tests.unit.core.views import index_view

GOLDEN = Path(__file__).parents[2] / "golden" / "plans"
SHARE = Share(NodeId("n1"), (0, 1), '_miroir_shard IN ["a", "b"]')
EMBEDDED = Hybrid("mood", 0.7)

QUERIES = {
    "placeholder": SearchQuery(),
    "words": SearchQuery(q="knight", offset=20, limit=10, show_ranking_score=True),
    "filtered": SearchQuery(q="knight", filter=["year > 1990", ["genre = drama", "genre != war"]]),
    "formatted": SearchQuery(
        q="knight",
        attributes_to_highlight=("*",),
        attributes_to_crop=("secret", "title:5"),
        show_matches_position=True,
    ),
    "distinct": SearchQuery(q="knight", distinct="series", attributes_to_retrieve=("id",), facets=("genre",)),
    "page_under_threshold": SearchQuery(q="knight", page=2, hits_per_page=5, ranking_score_threshold=0.8),
    "deep": SearchQuery(q="knight", offset=500, limit=20, sort=("year:desc",)),
    "hybrid": SearchQuery(q="knight", vector=(0.1, 0.2), hybrid=EMBEDDED),
    "semantic": SearchQuery(vector=(0.1, 0.2), hybrid=Hybrid("mood", 1.0), retrieve_vectors=True),
}


@pytest.mark.parametrize("name", QUERIES)
def test_plans_are_as_reviewed(name: str) -> None:
    query = QUERIES[name]
    index = index_view(
        field_order=("id", "title", "genre"),
        displayedAttributes=["id", "title", "year"],
        filterableAttributes=["genre", "year", "series"],
    )
    kind = kind_of(query)
    plan = plan_search(index, query, kind="keyword" if kind == "hybrid" else kind)
    asked = {f"first, {kind}": node_search(plan, SHARE)}
    if kind == "hybrid":
        asked["first, semantic half"] = node_search(plan_search(index, query, kind="semantic"), SHARE)
    if plan.distinct:
        asked |= {
            "everything counted": count_only(plan, SHARE),
            "values counted": distinct_values(plan, SHARE),
            "further down": deeper(plan, SHARE, 100),
        }
    if plan.two_phase:
        asked["documents of the page"] = winners(plan, SHARE, ["܀܁"])
    text = json.dumps(asked, indent=1, ensure_ascii=False) + "\n"
    path = GOLDEN / f"{name}.json"
    if not path.exists():  # pragma: no cover - by hand
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        pytest.fail(f"{path.name} was not there: written now, look at it")
    assert text == path.read_text(encoding="utf-8")


@given(
    st.one_of(
        st.none(),
        st.just(""),
        st.just("a = 1"),
        st.lists(st.one_of(st.just("b = 2"), st.lists(st.just("c = 3")))),
    ),
    st.one_of(st.none(), st.just("d = 4")),
)
def test_joined_filters_mean_both(one: object, other: str | None) -> None:
    joined = join_filters(other, one)  # type: ignore[arg-type]
    trees = [tree for tree in (parse(other), parse(one)) if tree is not None]
    names = {text for tree in trees for text in str(tree).split("text='") if text[:1] in "abcd"}
    assert {text for text in str(parse(joined)).split("text='") if text[:1] in "abcd"} == names
    assert (joined is None) == (not trees)


def test_unequal_becomes_not_equal_where_the_index_knows_the_field() -> None:
    index = index_view(field_order=("id", "genre"))
    assert shard_proof(index, "genre != war AND year != 1") == '(NOT ("genre" = "war")) AND ("year" != "1")'
    assert shard_proof(index, "genre = war") == "genre = war"


def test_windows() -> None:
    assert window(SearchQuery(offset=3, limit=4)) == (3, 4)
    assert window(SearchQuery(page=3, hits_per_page=4, offset=9)) == (8, 4)
    assert window(SearchQuery(page=0)) == (0, 0)
    assert window(SearchQuery(hits_per_page=0)) == (0, 0)


def test_depth_is_clamped_to_what_can_be_reached() -> None:
    index = index_view(pagination={"maxTotalHits": 30})
    plan = plan_search(index, SearchQuery(offset=25, limit=20))
    assert (plan.depth, plan.ends_at) == (30, 30)

"""Which queries of a federation can be compared."""

from __future__ import annotations

import pytest

from miroir.core.reads.federation_rules import check_comparable
from miroir.meili.codes import ApiError
from miroir.meili.commands import SearchQuery
from tests.unit.core.views import index_view

PLAIN = index_view()
OWN = index_view(rankingRules=["words", "typo", "sort", "exactness", "n:desc", "n:asc"])


@pytest.mark.parametrize(
    ("one", "other", "problem"),
    [
        (
            SearchQuery(q="x"),
            SearchQuery(sort=("a:asc",)),
            "cannot compare a relevancy rule with a sort rule",
        ),
        (
            SearchQuery(sort=("a:asc",)),
            SearchQuery(sort=("b:desc",)),
            "cannot compare two sort rules in opposite directions",
        ),
        (
            SearchQuery(sort=("_geoPoint(1,2):asc",)),
            SearchQuery(sort=("b:asc",)),
            "cannot compare a sort rule with a geosort rule",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(one: SearchQuery, other: SearchQuery, problem: str) -> None:
    with pytest.raises(ApiError) as refused:
        check_comparable([(PLAIN, one), (PLAIN, other)])
    assert refused.value.code == "invalid_multi_search_query_ranking_rules"
    assert f"\n  - {problem}\n" in refused.value.message
    assert refused.value.message.startswith("Inside `.queries[1]`: The results of queries #0 and #1")


def test_a_shorter_list_fits_a_longer_one() -> None:
    check_comparable([(OWN, SearchQuery(q="x")), (PLAIN, SearchQuery(q="y")), (PLAIN, SearchQuery())])

"""Nobody reaches our own fields by naming them."""

import pytest

from miroir.core.writes.reserved_words import refuse_filter, refuse_search, refuse_settings
from miroir.meili.codes import ApiError
from miroir.meili.commands import SearchQuery


@pytest.mark.parametrize(
    "value",
    [
        "_miroir_shard EXISTS",
        "a = 1 OR NOT (_miroir_seq > 3)",
        ["a = 1", ["_miroir_shard = x", "b = 2"]],
        '"_miroir_shard" IN [a]',
    ],
)
def test_filters_about_ours_are_refused(value: object) -> None:
    with pytest.raises(ApiError) as refused:
        refuse_filter(value)
    assert refused.value.code == "miroir_reserved_field"


@pytest.mark.parametrize("value", [None, "a = _miroir_shard", 'a = "_miroir_seq EXISTS"', ["b = 1"], "a = 1"])
def test_values_may_be_spelt_like_ours(value: object) -> None:
    refuse_filter(value)


@pytest.mark.parametrize(
    "query",
    [
        SearchQuery(sort=("_miroir_seq:asc",)),
        SearchQuery(facets=("_miroir_*",)),
        SearchQuery(distinct="_miroir_shard"),
    ],
)
def test_searches_by_ours_are_refused(query: SearchQuery) -> None:
    with pytest.raises(ApiError):
        refuse_search(query)


@pytest.mark.parametrize(
    ("patch", "allowed"),
    [
        ({"rankingRules": ["words", "_miroir_seq:desc"]}, False),
        ({"filterableAttributes": [{"attributePatterns": ["_miroir_shard"]}]}, False),
        ({"faceting": {"sortFacetValuesBy": {"_miroir_shard": "count"}}}, False),
        ({"nonSeparatorTokens": ["\u0702"]}, False),
        ({"dictionary": ["a\u070db"]}, False),
        ({"dictionary": ["a\u070eb"], "stopWords": ["_miroir_seq"], "separatorTokens": ["\u0700"]}, True),
        ({"sortableAttributes": None, "displayedAttributes": ["*"]}, True),
    ],
)
def test_settings_leave_ours_alone(patch: dict[str, object], allowed: bool) -> None:
    if allowed:
        refuse_settings(patch)
    else:
        with pytest.raises(ApiError):
            refuse_settings(patch)

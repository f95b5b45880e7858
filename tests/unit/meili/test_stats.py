"""Statistics and the fields route: parameters and views."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miroir.meili.codes import ApiError
from miroir.meili.commands import FieldsQuery, Page, StatsQuery
from miroir.meili.exports import decode_export
from miroir.meili.indexes import cut, decode_fields, index_view, page_view
from miroir.meili.stats import IndexStats, decode_params, human_size, index_stats_view, stats_view

RAW = StatsQuery()
HUMAN = decode_params([("sizeFormat", "human"), ("showInternalDatabaseSizes", "true")])


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (674, "674 B"),
        (4096, "4 KiB"),
        (81_920, "80 KiB"),
        (1_600_000, "1.53 MiB"),
        (2**40, "1 TiB"),
    ],
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert human_size(size) == text


def test_numbers_of_one_index_in_the_order_printed() -> None:
    stats = IndexStats(
        documents=3, raw_size=8192, field_distribution={"b": 1, "a": 3}, internal_sizes={"docs": 4096}
    )
    view = index_stats_view(stats, RAW)
    assert list(view) == [
        "numberOfDocuments", "rawDocumentDbSize", "avgDocumentSize", "isIndexing", "numberOfEmbeddings",
        "numberOfEmbeddedDocuments", "fieldDistribution",
    ]  # fmt: skip
    assert (view["avgDocumentSize"], list(view["fieldDistribution"])) == (2722, ["a", "b"])
    people = index_stats_view(stats, HUMAN)
    assert (people["rawDocumentDbSize"], people["internalDatabaseSizes"]) == ("8 KiB", {"docs": "4 KiB"})
    assert index_stats_view(IndexStats(), RAW)["avgDocumentSize"] == 0


def test_numbers_of_the_server() -> None:
    view = stats_view(
        {"b": IndexStats(), "a": IndexStats()}, RAW, database_size=5, used_database_size=4, last_update=None
    )
    assert (view["databaseSize"], view["usedDatabaseSize"], view["lastUpdate"]) == (5, 4, None)
    assert list(view["indexes"]) == ["a", "b"]


def test_unknown_size_formats() -> None:
    with pytest.raises(ApiError) as caught:
        decode_params([("sizeFormat", "metric")])
    message = "Unknown value `metric` for parameter `sizeFormat`: expected one of `human`, `raw`"
    assert (caught.value.code, caught.value.message) == ("invalid_stats_size_format", message)


def test_fields() -> None:
    assert decode_fields({}) == FieldsQuery()
    body = {"limit": 1, "filter": {"attributePatterns": ["c.*"], "rankingRule": True, "displayed": None}}
    assert decode_fields(body) == FieldsQuery(limit=1, attribute_patterns=("c.*",), ranking_rule=True)
    with pytest.raises(ApiError) as caught:
        decode_fields({"filter": {"colour": True}})
    assert caught.value.code == "invalid_index_fields_filter"
    assert caught.value.message == (
        "Unknown field `colour` inside `.filter`: expected one of `attributePatterns`, `displayed`, `searchable`, "
        "`sortable`, `distinct`, `rankingRule`, `filterable`"
    )


@given(st.lists(st.integers()), st.integers(0, 30), st.integers(0, 30))
def test_pages_of_a_list(items: list[int], offset: int, limit: int) -> None:
    page = Page(offset, limit)
    view = page_view(cut(items, page), page, len(items))
    assert view == {"results": items[offset:][:limit], "offset": offset, "limit": limit, "total": len(items)}


def test_index_view() -> None:
    assert index_view("m", 0, 10**9, None) == {
        "uid": "m", "createdAt": "1970-01-01T00:00:00Z", "updatedAt": "1970-01-01T00:00:01Z", "primaryKey": None,
    }  # fmt: skip


def test_exports() -> None:
    assert decode_export({}).indexes == {"*": {"filter": None, "overrideSettings": False}}
    assert decode_export({"url": "u", "indexes": {"m*": {"overrideSettings": True}}}).indexes["m*"][
        "overrideSettings"
    ]
    with pytest.raises(ApiError) as caught:
        decode_export({"indexes": {"a b": {}}})
    assert caught.value.code == "bad_request"
    assert caught.value.message == (
        'Invalid value at `.indexes`: the key "a b" could not be deserialized into the key type '
        "`meilisearch_types::index_uid_pattern::IndexUidPattern`"
    )

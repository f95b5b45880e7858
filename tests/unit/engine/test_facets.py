"""Facet tables: incremental versions equal those made from scratch; values of one document as observed."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from miroir.engine.attribute_rules import AttributeRules
from miroir.engine.distinct import apply_distinct, shown_again
from miroir.engine.facet_distribution import facet_distribution
from miroir.engine.facet_values import document_values
from miroir.engine.facets import FacetIndex

SETTINGS = {"filterableAttributes": ["f", "n.k"], "sortableAttributes": ["_geo", "s"]}
scalars = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, "a", "A", " a", "b", "", "1"])
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("kj"), inner)
)
documents = st.fixed_dictionaries(
    {},
    optional={
        "f": values,
        "n": values,
        "s": scalars,
        "other": scalars,
        "_geo": st.none()
        | st.fixed_dictionaries({"lat": st.integers(-90, 90), "lng": st.integers(-180, 180)}),
    },
)
batches = st.lists(st.dictionaries(st.integers(0, 5), documents | st.none(), max_size=4), max_size=4)


def contents(index: FacetIndex) -> dict[str, Any]:
    """Everything a table says, without the tables that hold nothing."""
    return {
        path: (
            {key: set(docs) for key, docs in table.numbers.items()},
            {key: set(docs) for key, docs in table.strings.items()},
            table.number_order.keys,
            table.string_order.keys,
            dict(table.values),
            *(set(s) for s in (table.with_number, table.with_string, table.null, table.empty, table.exists)),
        )
        for path, table in index.fields.items()
        if table.exists
    }


@given(batches)
def test_updates_in_batches_equal_one_build(history: list[dict[int, dict[str, Any] | None]]) -> None:
    index, stored = FacetIndex().rebuilt(SETTINGS, {}), dict[int, dict[str, Any]]()
    for batch in history:
        changes = [(docid, stored.get(docid), new) for docid, new in batch.items()]
        before = contents(index)
        following = index.updated(SETTINGS, changes)
        assert contents(index) == before, "a published version changed"
        index = following
        for docid, new in batch.items():
            if new is None:
                stored.pop(docid, None)
            else:
                stored[docid] = new
    fresh = FacetIndex().rebuilt(SETTINGS, stored)
    assert contents(index) == contents(fresh)
    assert dict(index.points) == dict(fresh.points)
    assert index.with_point == fresh.with_point == BitMap(index.points)


def test_names_once_known_stay_known_without_documents() -> None:
    index = FacetIndex().updated(SETTINGS, [(0, None, {"f": 1, "x": 2})])
    gone = index.updated(SETTINGS, [(0, {"f": 1, "x": 2}, None)])
    assert {"f", "x"} <= gone.known
    assert "x" in gone.rebuilt({"filterableAttributes": ["x"]}, {}).fields


def test_null_and_empty_count_directly_under_a_key_only() -> None:
    rules = AttributeRules.of({"filterableAttributes": ["a"]})
    found = document_values({"a": [None, "", [], {"b": None}, {"c": []}]}, rules)
    assert not found["a"].is_null
    assert not found["a"].is_empty
    assert found["a.b"].is_null
    assert found["a.c"].is_empty


def test_an_empty_string_excludes_nothing_but_what_would_be_shown_again() -> None:
    values: list[Any] = ["", ["a", ""], [["", "b"]], ["", 1], [["", "c"]], " ", [[" "]]]
    index = FacetIndex().updated(
        {"filterableAttributes": ["f"]}, [(docid, None, {"f": value}) for docid, value in enumerate(values)]
    )
    remaining, _ = apply_distinct(index.fields["f"], BitMap(range(len(values))))
    assert list(remaining) == [0, 1, 2, 3, 4, 5]
    assert shown_again([{"f": values[docid]} for docid in remaining], "f") == [1, 3, 5]


def test_dotted_key_and_nesting_share_a_path() -> None:
    rules = AttributeRules.of({"filterableAttributes": ["a"]})
    assert document_values({"a.b": 1, "a": {"b": 2}}, rules)["a.b"].numbers == (1.0, 2.0)


MIXED = [2, 10, 1, "1", "b", "B", "  b", "a", True, 1.5, [3, "x"], 1e21, "é", "e\u0301", "", None, {"k": 1}]


def distribution(order: str, limit: int = 100) -> tuple[list[tuple[str, int]], dict[str, float]]:
    settings = {
        "filterableAttributes": ["f"],
        "faceting": {"maxValuesPerFacet": limit, "sortFacetValuesBy": {"*": order}},
    }
    index = FacetIndex().updated(settings, [(docid, None, {"f": value}) for docid, value in enumerate(MIXED)])
    counts, stats = facet_distribution(index, settings, ["f"], BitMap(range(len(MIXED))))
    return list(counts["f"].items()), stats["f"]


def test_distribution_in_alphabetical_order_as_observed() -> None:
    counts, stats = distribution("alpha")
    assert counts == [
        ("1", 1),
        ("1.5", 1),
        ("10", 1),
        ("1000000000000000000000", 1),
        ("2", 1),
        ("3", 1),
        ("a", 1),
        ("b", 3),
        ("é", 2),
        ("true", 1),
        ("x", 1),
    ]
    assert stats == {"min": 1.0, "max": 1e21}


def test_distribution_by_count_as_observed() -> None:
    counts, _ = distribution("count")
    assert [value for value, _ in counts] == [
        *("1000000000000000000000", "10", "3", "2", "1.5", "1"),
        *("b", "é", "x", "true", "a"),
    ]


def test_by_count_strings_are_not_cut_when_numbers_alone_reach_the_limit() -> None:
    counts, _ = distribution("count", limit=4)
    numbers, strings = [value for value, _ in counts][:4], [value for value, _ in counts][4:]
    assert numbers == ["1000000000000000000000", "10", "3", "2"]
    assert strings == ["b", "é", "x", "true", "a", "1"]


def test_a_path_that_some_document_had_is_known_whatever_the_settings_were() -> None:
    document = {"id": 1, "author": {"age": 30, "nil": None, "towns": [{"name": "x"}, [{"deep": 1}]]}, "n": []}
    index = FacetIndex().updated({}, [(0, None, document)])
    index = index.updated({}, [(0, document, {"id": 1})])
    paths = {"author", "author.age", "author.nil", "author.towns", "author.towns.name", "author.towns.deep"}
    assert index.known == {"id", "n", *paths}
    filterable = index.rebuilt({"filterableAttributes": ["author"]}, {0: {"id": 1}})
    assert filterable.fields.keys() >= paths


def test_names_of_documents_that_were_not_kept_are_known_without_tables() -> None:
    index = FacetIndex().rebuilt({"filterableAttributes": ["genre"]}, {0: {"id": 1}})
    knowing = index.knowing(["id", "genre"])
    assert knowing.known == {"id", "genre"}
    assert knowing.table("genre") is None
    assert knowing.knowing(["genre"]) is knowing

"""Filters: trees, re-serialisation, the two lines of every refusal."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miroir.meili import filters
from miroir.meili.codes import ApiError
from miroir.meili.filters import And, Condition, Filter, GeoRadius, Not, Or, Token

OPERATIONS = (
    "Was expecting an operation `=`, `!=`, `>=`, `>`, `<=`, `<`, `IN`, `NOT IN`, `TO`, `EXISTS`, `NOT EXISTS`, "
    "`IS NULL`, `IS NOT NULL`, `IS EMPTY`, `IS NOT EMPTY`, `CONTAINS`, `NOT CONTAINS`, `STARTS WITH`, "
    "`NOT STARTS WITH`, `_geoRadius`, `_geoBoundingBox` or `_geoPolygon` "
)

words = st.text(min_size=0, max_size=12).map(Token)
comparisons = st.builds(
    lambda field, op, value: Condition(field, op, (value,)),
    words,
    st.sampled_from(["=", "!=", ">", ">=", "<", "<=", "CONTAINS", "STARTS WITH"]),
    words,
)
unary = st.builds(Condition, words, st.sampled_from(["EXISTS", "IS NULL", "IS EMPTY"]))
ranges = st.builds(lambda f, a, b: Condition(f, "TO", (a, b)), words, words, words)
lists = st.builds(lambda f, vs: Condition(f, "IN", tuple(vs)), words, st.lists(words, max_size=4))
leaves: st.SearchStrategy[Filter] = st.one_of(comparisons, unary, ranges, lists)


def _branches(children: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
    members = st.lists(children, min_size=2, max_size=3).map(tuple)
    negatable = children.filter(lambda node: not isinstance(node, Not))
    return st.one_of(members.map(And), members.map(Or), negatable.map(Not))


trees = st.recursive(leaves, _branches, max_leaves=8)


@given(trees)
def test_the_text_of_a_filter_parses_to_the_same_filter(tree: Filter) -> None:
    assert filters.parse(filters.to_text(tree)) == tree


@given(st.text(alphabet="ab_=<>!()[],'\" \\1.-ANDORTIXSEML", max_size=30))
def test_any_text_is_a_filter_or_refused_with_a_place_inside_it(text: str) -> None:
    try:
        filters.parse(text)
        refused = None
    except ApiError as error:
        refused = error
    assert refused is None or (refused.code, refused.message[-len(text) :]) == ("invalid_search_filter", text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind =", "Was expecting a value but instead got nothing.\n7:7 kind ="),
        ("kind drama", OPERATIONS + "at `kind drama`.\n1:11 kind drama"),
        ("kind = x OR", OPERATIONS + "but instead got nothing.\n12:12 kind = x OR"),
        (
            "kind = drama and size = 5",
            "Found unexpected characters at the end of the filter: `and size = 5`. You probably forgot an `OR` or "
            "an `AND` rule.\n14:26 kind = drama and size = 5",
        ),
        (
            "(kind = drama",
            "Expression `(kind = drama` is missing the following closing delimiter: `)`.\n1:14 (kind = drama",
        ),
        (
            "kind = 'drama",
            "Expression `\\'drama` is missing the following closing delimiter: `'`.\n8:14 kind = 'drama",
        ),
        (
            "kind = AND",
            "Was expecting a value but instead got `AND`, which is a reserved keyword. To use `AND` as a field name "
            "or a value, surround it by quotes.\n8:11 kind = AND",
        ),
        ("kind IN drama", "Expected `[` after `IN` keyword.\n9:14 kind IN drama"),
        (
            "kind IN [drama",
            "Expected matching `]` after the list of field names given to `IN[`\n15:15 kind IN [drama",
        ),
        (
            "_geoRadius(10, 20)",
            "Was expecting 3 or 4 arguments for `_geoRadius`, but instead found 2.\n19:19 _geoRadius(10, 20)",
        ),
        ("a = 'x\\y'", "Malformed value: `x\\\\y`.\n6:9 a = 'x\\y'"),
    ],
)
def test_refusals_say_what_and_where(text: str, message: str) -> None:
    with pytest.raises(ApiError) as caught:
        filters.parse(text)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (5, "expected String, Array, found: 5"),
        ({"kind": "drama"}, 'expected String, Array, found: {"kind":"drama"}'),
        (["kind = drama", 5], "expected String, [String], found: 5"),
        ([[["kind = drama"]]], 'expected String, found: ["kind = drama"]'),
    ],
)
def test_other_types_are_refused(value: Any, found: str) -> None:
    with pytest.raises(ApiError) as caught:
        filters.parse(value, "invalid_document_filter")
    assert caught.value.code == "invalid_document_filter"
    assert caught.value.message == f"Invalid syntax for the filter parameter: `{found}`."


@pytest.mark.parametrize("value", [None, "", "  ", [], [[]], [""], [["", " "]]])
def test_blank_filters_filter_nothing(value: Any) -> None:
    assert filters.parse(value) is None


def test_arrays_are_and_of_or() -> None:
    assert filters.parse(["a = 1", ["b = 2", "c = 3"]]) == filters.parse("a = 1 AND (b = 2 OR c = 3)")


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(ApiError, match="maximum depth limit"):
        filters.parse("(" * 60 + "a = 1" + ")" * 60)


def test_later_refusals_quote_the_reserialised_text_and_name_the_last_field() -> None:
    tree = filters.parse("zz = 1 AND yy = 2")
    assert tree is not None
    place = next(filters.checked_fields(filters.reserialise(tree)))
    error = filters.not_filterable_error(place, ["b", "a"])
    assert error.message == (
        "Attribute `yy` is not filterable. Available filterable attribute patterns are: `a`, `b`.\n"
        '20:22 ("zz" = "1") AND ("yy" = "2")'
    )


def test_geo_numbers_are_checked_where_they_stand() -> None:
    tree = filters.parse("_geoRadius(10, 200, 10)")
    assert isinstance(tree, GeoRadius)
    with pytest.raises(ApiError) as caught:
        filters.radius_numbers(tree)
    assert caught.value.message == (
        "Bad longitude `200`. Longitude must be contained between -180 and 180 degrees. "
        "Hint: try using `-160` instead.\n16:19 _geoRadius(10, 200, 10)"
    )


def test_contains_needs_its_feature() -> None:
    tree = filters.parse("kind CONTAINS ram")
    filters.check_features(tree, lambda feature: feature == "containsFilter")
    with pytest.raises(ApiError) as caught:
        filters.check_features(tree, lambda feature: False)
    assert caught.value.code == "feature_not_enabled"
    assert caught.value.message.endswith("/763\n6:14 kind CONTAINS ram")

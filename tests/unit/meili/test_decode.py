"""Decoding: exact refusals, in the server's words."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miroir.meili import decode as d
from miroir.meili import query_params, refusals
from miroir.meili.codes import CODES, ApiError

FIELDS = d.fields(
    d.Field("uid", d.string, "invalid_index_uid", required="missing_index_uid"),
    d.Field("primaryKey", d.string, "invalid_index_primary_key", nullable=True),
    d.Field("limit", d.integer, "invalid_index_limit"),
    d.Field("inner", d.object_of(d.fields(d.Field("enabled", d.boolean, "bad_parameter"))), "invalid_state"),
)
PARAMS = d.fields(
    d.Field("limit", query_params.param_u32, "invalid_task_limit"),
    d.Field("uids", query_params.param_star_or_list(query_params.param_u32), "invalid_task_uids"),
    d.Field("reverse", query_params.param_boolean, "invalid_task_reverse"),
    d.Field("sizeFormat", query_params.param_enum("human", "raw"), "invalid_stats_size_format"),
)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def refusal(call: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(ApiError) as caught:
        call()
    return caught.value.code, caught.value.message


@given(json_values)
def test_whatever_is_sent_is_decoded_or_refused_with_a_known_code(value: Any) -> None:
    try:
        found = d.object_fields(value, FIELDS)
    except ApiError as error:
        known = error.code in CODES
    else:
        known = isinstance(found["uid"], str)
    assert known


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_unknown_parameters_are_never_accepted(params: dict[str, str]) -> None:
    unknown = set(params) - set(PARAMS)
    if unknown:
        with pytest.raises(ApiError):
            query_params.param_fields(params.items(), PARAMS)


@given(json_values)
def test_a_value_is_never_described_as_something_else(value: Any) -> None:
    assert refusals.describe_value(value).startswith(refusals._KIND_NAMES[refusals.kind_of(value)])


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (None, "bad_request", "Invalid value type: expected an object, but found null"),
        (["x"], "bad_request", 'Invalid value type: expected an object, but found an array: `["x"]`'),
        ({}, "missing_index_uid", "Missing field `uid`"),
        ({"uid": 12}, "invalid_index_uid", "Invalid value type at `.uid`: expected a string, but found a positive integer: `12`"),
        ({"uid": None}, "invalid_index_uid", "Invalid value type at `.uid`: expected a string, but found null"),
        (
            {"uid": "x", "primarykey": "id"},
            "bad_request",
            "Unknown field `primarykey`: did you mean `primaryKey`? expected one of `uid`, `primaryKey`, `limit`, `inner`",
        ),
        ({"uid": "x", "limit": 1.0}, "invalid_index_limit", "Invalid value type at `.limit`: expected a positive integer, but found a number: `1.0`"),
        ({"uid": "x", "limit": -1}, "invalid_index_limit", "Invalid value type at `.limit`: expected a positive integer, but found a negative integer: `-1`"),
        ({"uid": "x", "limit": None}, "invalid_index_limit", "Invalid value type at `.limit`: expected a positive integer, but found null"),
        ({"uid": "x", "inner": {"foo": 1}}, "invalid_state", "Unknown field `foo` inside `.inner`: expected one of `enabled`"),
        ({"uid": "x", "inner": {"enabled": "no"}}, "bad_parameter", 'Invalid value type at `.inner.enabled`: expected a boolean, but found a string: `"no"`'),
    ],
)  # fmt: skip
def test_refused_bodies(body: Any, code: str, message: str) -> None:
    assert refusal(lambda: d.object_fields(body, FIELDS)) == (code, message)


def test_null_means_not_given_for_nullable_members_only() -> None:
    assert d.object_fields({"uid": "x", "primaryKey": None}, FIELDS) == {"uid": "x", "primaryKey": None}


def test_the_first_wrong_member_in_sent_order_is_reported() -> None:
    assert refusal(lambda: d.object_fields({"foo": 1, "uid": 2}, FIELDS))[0] == "bad_request"
    assert refusal(lambda: d.object_fields({"uid": 2, "foo": 1}, FIELDS))[0] == "invalid_index_uid"


def test_a_missing_member_of_a_nested_object_names_its_place() -> None:
    _, message = refusal(lambda: d.object_fields({}, FIELDS, ".queries[0]"))
    assert message == "Missing field `uid` inside `.queries[0]`"


def test_immutable_members() -> None:
    code, message = refusal(
        lambda: d.object_fields(
            {"createdAt": 1}, FIELDS, immutable={"createdAt": "immutable_index_created_at"}
        )
    )
    assert code == "immutable_index_created_at"
    assert message == "Immutable field `createdAt`: expected one of `uid`, `primaryKey`, `limit`, `inner`"


@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        ("limit=a", "invalid_task_limit", "Invalid value in parameter `limit`: could not parse `a` as a positive integer"),
        ("limit=4294967296", "invalid_task_limit", "Invalid value in parameter `limit`: could not parse `4294967296` as a positive integer"),
        ("limit=", "invalid_task_limit", "Invalid value in parameter `limit`: could not parse `` as a positive integer"),
        ("uids=1,x", "invalid_task_uids", "Invalid value in parameter `uids[1]`: could not parse `x` as a positive integer"),
        ("uids=x", "invalid_task_uids", "Invalid value in parameter `uids`: could not parse `x` as a positive integer"),
        ("reverse=yes", "invalid_task_reverse", "Invalid value in parameter `reverse`: could not parse `yes` as a boolean, expected either `true` or `false`"),
        ("sizeFormat=metric", "invalid_stats_size_format", "Unknown value `metric` for parameter `sizeFormat`: expected one of `human`, `raw`"),
        ("limt=2", "bad_request", "Unknown parameter `limt`: did you mean `limit`? expected one of `limit`, `uids`, `reverse`, `sizeFormat`"),
    ],
)  # fmt: skip
def test_refused_parameters(query: str, code: str, message: str) -> None:
    assert refusal(lambda: query_params.param_fields(query_params.query_pairs(query), PARAMS)) == (
        code,
        message,
    )


def test_accepted_parameters() -> None:
    found = query_params.param_fields(
        query_params.query_pairs("limit=1&limit=%2B3&uids=1,2&reverse=true"), PARAMS
    )
    assert found == {"limit": 3, "uids": (1, 2), "reverse": True}
    assert query_params.param_fields(query_params.query_pairs("uids=1,*"), PARAMS) == {"uids": None}
    assert query_params.param_fields(query_params.query_pairs("uids="), PARAMS) == {"uids": ()}


@pytest.mark.parametrize(
    ("kinds", "text"),
    [
        (("null", "boolean", "integer", "negative", "number"), "null, a boolean, or a number"),
        (("integer", "negative"), "an integer"),
        (("array", "negative"), "a negative integer or an array"),
        (("string",), "a string"),
    ],
)
def test_lists_of_kinds(kinds: tuple[str, ...], text: str) -> None:
    assert refusals.describe_kinds(kinds) == text


@pytest.mark.parametrize(
    ("received", "suggested"),
    [("abc", False), ("sart", True), ("sxrx", False), ("attributesToHighloght", True), ("sortable", False)],
)
def test_suggestions_depend_on_length(received: str, suggested: bool) -> None:
    accepted = ("abd", "sort", "attributesToHighlight")
    assert bool(refusals.did_you_mean(received, accepted)) is suggested


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("zz", "invalid character: found `z` at 0"),
        ("first", "invalid character: found `i` at 1"),
        ("abc", "invalid length: expected length 32 for simple format, found 3"),
        ("a-b", "invalid group count: expected 5, found 2"),
        ("67e5504-10b1-426f-9247-bb680e5fe0c8", "invalid group length in group 0: expected 8, found 7"),
    ],
)
def test_texts_that_are_no_uuid(text: str, problem: str) -> None:
    assert d.uuid_problem(text) == problem


@given(st.uuids())
def test_uuids_are_uuids(value: Any) -> None:
    assert d.uuid_problem(str(value)) is None
    assert d.uuid(value.hex.upper(), ".uid", "invalid_api_key_uid") == str(value)


def test_integers_out_of_range() -> None:
    small = d.integer_up_to(255, nonzero=True)
    assert refusal(lambda: small(256, ".x", "bad_request"))[1] == (
        "Invalid value at `.x`: value: `256` is too large to be deserialized, maximum value authorized is `255`"
    )
    assert refusal(lambda: small(0, ".x", "bad_request"))[1] == (
        "Invalid value at `.x`: a non-zero integer value lower than `255` was expected, but found a zero"
    )

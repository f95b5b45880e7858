"""Document payloads and document requests."""

from __future__ import annotations

import csv
import io
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miroir.meili import documents
from miroir.meili.codes import ApiError
from miroir.meili.document_ids import canonical_id
from miroir.meili.http import HttpRequest

scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=8)
objects = st.dictionaries(st.text(max_size=6), scalars | st.lists(scalars, max_size=2), max_size=4)
CELL = st.text(alphabet='ab ,;"\n:é', max_size=6)


def write(
    body: bytes, content_type: str | None = "application/json", query: str = ""
) -> list[dict[str, Any]]:
    headers = {} if content_type is None else {"content-type": content_type}
    return documents.decode_write(HttpRequest("POST", "/", query, headers, body), "replace").documents


def refusal(*arguments: Any) -> tuple[str, str]:
    with pytest.raises(ApiError) as caught:
        write(*arguments)
    return caught.value.code, caught.value.message


@given(st.lists(objects, max_size=4))
def test_json_and_ndjson_payloads_give_the_same_documents(sent: list[dict[str, Any]]) -> None:
    lines = b"\n".join(orjson.dumps(document) for document in sent) + b"\n"
    assert write(orjson.dumps(sent)) == sent
    assert write(lines, "application/x-ndjson") == sent
    assert write(lines.replace(b"\n", b" "), "application/x-ndjson") == sent


@given(st.lists(st.tuples(CELL, CELL), max_size=4), st.sampled_from([",", ";"]))
def test_csv_cells_come_back_as_text_and_empty_ones_as_null(
    rows: list[tuple[str, str]], delimiter: str
) -> None:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerows([("id", "note"), *rows])
    query = f"csvDelimiter={delimiter.replace(';', '%3B')}"
    found = write(out.getvalue().encode(), "text/csv", query)
    assert found == [{"id": a or None, "note": b or None} for a, b in rows]


def test_csv_types() -> None:
    body = b"id:number,ok:boolean,price:number,a:b\n1,true,2.50,x\n007,,1e3,\n3,false,nan,y\n"
    assert write(body, "text/csv") == [
        {"id": 1, "ok": True, "price": 2.5, "a:b": "x"},
        {"id": 7, "ok": None, "price": 1000.0, "a:b": None},
        {"id": 3, "ok": False, "price": None, "a:b": "y"},
    ]


def test_what_follows_an_array_is_not_looked_at() -> None:
    assert write(b'[{"id":1}] xyz') == [{"id": 1}]


DETAIL = "The `json` payload provided is malformed. `Couldn't serialize document value: {}`."


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'[{"id":1},]', "trailing comma at line 1 column 11"),
        (b'[{"id":1,}]', "key must be a string at line 1 column 10"),
        (b"[1, 2]", "trailing characters at line 1 column 5"),
        (b'"id"', "data are neither an object nor a list of objects"),
        (b'{"id":1}\n{"id":2}', "trailing characters at line 2 column 1"),
        (b'[{"id":1}', "EOF while parsing a list at line 1 column 9"),
    ],
)
def test_malformed_json(body: bytes, detail: str) -> None:
    assert refusal(body) == ("malformed_payload", DETAIL.format(detail))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"[3]", "invalid type: integer `3`, expected a map at line 1 column 1"),
        (b'["a"]', 'invalid type: string "a", expected a map at line 1 column 3'),
        (b'[{"id":1},[2]]', "invalid type: sequence, expected a map at line 1 column 0"),
    ],
)
def test_members_that_are_no_objects_are_internal_errors(body: bytes, message: str) -> None:
    assert refusal(body) == ("internal", message)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"id,a:number\n1,cheap\n", 'Error parsing number "cheap" at line 1: invalid float literal'),
        (
            b"id,a:boolean\n1,maybe\n",
            'Error parsing boolean "maybe" at line 1: provided string was not `true` or `false`',
        ),
        (
            b"id,a\r\n1,x\r\n2,3,4\r\n",
            "CSV error: record 2 (line: 2, byte: 10): found record with 3 fields, but the previous record has 2 "
            "fields",
        ),
    ],
)
def test_malformed_csv(body: bytes, detail: str) -> None:
    message = f"The `csv` payload provided is malformed: `{detail}`."
    assert refusal(body, "text/csv") == ("malformed_payload", message)


def test_content_types() -> None:
    accepted = "Accepted values for the Content-Type header are: `application/json`, `application/x-ndjson`, `text/csv`"
    assert refusal(b"[]", None) == ("missing_content_type", f"A Content-Type header is missing. {accepted}")
    assert refusal(b"[]", "text/plain") == (
        "invalid_content_type",
        f"The Content-Type `text/plain` is invalid. {accepted}",
    )
    assert refusal(b"[]", "application/json", "csvDelimiter=,")[0] == "invalid_content_type"
    assert refusal(b"", "text/csv") == ("missing_payload", "A csv payload is missing.")


@given(st.from_regex(r"[A-Za-z0-9_-]{1,511}", fullmatch=True))
def test_ids_are_their_own_text(text: str) -> None:
    assert canonical_id(text) == text


@given(st.integers(-(2**63), 2**64 - 1))
def test_integers_are_ids(number: int) -> None:
    assert canonical_id(number) == canonical_id(str(number))


@pytest.mark.parametrize("value", ["", "a b", "é", "a.b", "x" * 512, "a\n", 1.0, True, None, [1], 2**64])
def test_other_values_are_no_ids(value: Any) -> None:
    with pytest.raises(ApiError) as caught:
        canonical_id(value)
    assert caught.value.code == "invalid_document_id"


def test_ids_to_fetch_are_named_by_their_place() -> None:
    with pytest.raises(ApiError) as caught:
        documents.check_query(documents.decode_list_params([("ids", "1,not good")]))
    assert caught.value.code == "invalid_document_ids"
    assert caught.value.message.startswith('In `.ids[1]`: Document identifier `"not good"` is invalid. ')


def test_batches_of_ids_take_any_json() -> None:
    found = documents.decode_delete_batch(b'[1,"a",{"b":1},null,1.5,true]')
    assert found.ids == ("1", "a", '{"b":1}', "null", "1.5", "true")
    with pytest.raises(ApiError, match="invalid type: map, expected a sequence at line 1 column 0"):
        documents.decode_delete_batch(b'{"ids":[6]}')


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "Missing field `filter`"),
        ({"filter": ""}, "Sending an empty filter is forbidden."),
        ({"filter": True}, "Invalid syntax for the filter parameter: `expected String, Array, found: true`."),
        ({"filter": "a = 1", "limit": 3}, "Unknown field `limit`: expected one of `filter`"),
    ],
)
def test_deletions_by_filter(body: Any, message: str) -> None:
    with pytest.raises(ApiError) as caught:
        documents.decode_delete_filter(body)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"filter": [[]]}, "invalid_document_filter", "Sending an empty filter is forbidden."),
        (
            {"filter": "a ="},
            "invalid_document_filter",
            "Index `m`: Was expecting a value but instead got nothing.",
        ),
        ({"filter": ["a ="]}, "invalid_document_filter", "Was expecting a value but instead got nothing."),
        ({"filter": [1]}, "invalid_document_filter", "Index `m`: Invalid syntax for the filter parameter"),
        ({"filter": "_vectors.e EXISTS"}, "feature_not_enabled", "Index `m`: using a vector filter requires"),
        ({"context": 1}, "invalid_document_edition_context", "The context must be an object"),
    ],
)
def test_editions_are_judged_before_they_wait(change: dict[str, Any], code: str, message: str) -> None:
    edit = documents.decode_edit({"function": "1", **change})
    with pytest.raises(ApiError) as caught:
        documents.check_edit(edit, "m", lambda feature: False)
    assert caught.value.code == code
    assert caught.value.message.startswith(message)

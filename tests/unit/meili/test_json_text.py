"""JSON text: what parses, and the words for what does not."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miroir.meili import json_text
from miroir.meili.codes import ApiError

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)  # fmt: skip


@given(values, st.sampled_from([None, 2]))
def test_valid_text_passes_the_scanner(value: object, indent: int | None) -> None:
    text = json.dumps(value, indent=indent).encode()
    json_text.check(text)
    assert json_text.loads(text) == value


@given(
    st.binary(max_size=20) | st.text(alphabet='[]{}",:truefalsn0123.eE+-\\u ', max_size=20).map(str.encode)
)
def test_the_scanner_accepts_what_the_fast_reader_accepts(text: bytes) -> None:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return
    json_text.check(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "EOF while parsing an object at line 1 column 1"),
        (b"[1,", "EOF while parsing a value at line 1 column 3"),
        (b"[1,]", "trailing comma at line 1 column 4"),
        (b"{a:1}", "key must be a string at line 1 column 2"),
        (b'{"a" 1}', "expected `:` at line 1 column 6"),
        (b"[1 2]", "expected `,` or `]` at line 1 column 4"),
        (b"nulx", "expected ident at line 1 column 4"),
        (b"01", "invalid number at line 1 column 2"),
        (b"1e999", "number out of range at line 1 column 5"),
        (b'"\\x"', "invalid escape at line 1 column 3"),
        (b'"\x01"', "control character (\\u0000-\\u001F) found while parsing a string at line 1 column 2"),
        (b'"\xff"', "invalid unicode code point at line 1 column 3"),
        (b"{} x", "trailing characters at line 1 column 4"),
        (b'\n\n{"a":\n x}', "expected value at line 4 column 2"),
        (b"[" * 128 + b"]" * 128, "recursion limit exceeded at line 1 column 128"),
    ],
)
def test_faults_are_named_and_placed(text: bytes, message: str) -> None:
    with pytest.raises(ApiError) as caught:
        json_text.loads(text)
    assert caught.value.code == "malformed_payload"
    assert caught.value.message == f"The json payload provided is malformed. `{message}`."


def test_an_empty_body_is_missing() -> None:
    with pytest.raises(ApiError) as caught:
        json_text.loads(b"")
    assert (caught.value.code, caught.value.message) == ("missing_payload", "A json payload is missing.")


def test_long_texts_lose_their_middle() -> None:
    assert json_text.cut_middle("x" * 138) == "x" * 138
    assert json_text.cut_middle("a" * 100 + "b" * 100) == "a" * 50 + "..." + "b" * 85


def test_minus_zero_is_a_float_and_nothing_else_changes() -> None:
    text = b'{"a": -0, "b": [-0, 0, -0.0, -5], "c": "2020-01-0", "d": 12345678901234567890123}'
    value = json_text.parse(text)
    assert [str(each) for each in (value["a"], *value["b"])] == ["-0.0", "-0.0", "0", "-0.0", "-5"]
    assert (value["c"], value["d"]) == ("2020-01-0", 12345678901234567890123.0)

"""Document edition functions: what they make of a document, and how they fail."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miroir.meili.codes import ApiError
from miroir.meili.edit_script import compile_script


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("doc.name = doc.name.to_upper()", {"name": "ADA", "n": 7, "tags": ["x"]}),
        ("doc.n += 1; doc.n *= 2", {"name": "Ada", "n": 16, "tags": ["x"]}),
        ("doc.n = -doc.n / 2", {"name": "Ada", "n": -3, "tags": ["x"]}),
        ("let k = context.k; doc.k = k + 0.5", {"name": "Ada", "n": 7, "tags": ["x"], "k": 3.5}),
        ("if doc.n > 5 && doc.name == `Ada` { doc = () }", None),
        ("if doc.n < 5 { doc.n = 0 } else if true { doc.n = 1 }", {"name": "Ada", "n": 1, "tags": ["x"]}),
        (
            "doc.tags.push('y'); doc.tags[0] = #{a: [1, 2]}",
            {"name": "Ada", "n": 7, "tags": [{"a": [1, 2]}, "y"]},
        ),
        ("doc.missing = doc.nothing", {"name": "Ada", "n": 7, "tags": ["x"], "missing": None}),
        ('doc.remove("n") // gone', {"name": "Ada", "tags": ["x"]}),
        ("doc = #{n: 1 + 2 * 3 - (4 - 1)}", {"n": 4}),
    ],
)
def test_a_script_makes_of_a_document(script: str, expected: Any) -> None:
    document = {"name": "Ada", "n": 7, "tags": ["x"]}
    assert compile_script(script)(document, {"k": 3}) == expected
    assert document == {"name": "Ada", "n": 7, "tags": ["x"]}


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("doc.x = (", "Script is incomplete (line 1, position 10)"),
        ("if doc.a {", "Script is incomplete (line 1, position 11)"),
        ("for x in doc {}", "`for` is not supported in document edition functions (line 1, position 1)"),
        (
            "doc.x.frobnicate()",
            "Function not found: frobnicate (line 1, position 7)",
        ),
        ("(" * 20_000, "Expression exceeds maximum complexity"),
    ],
)
def test_a_script_that_does_not_compile_is_a_bad_request(script: str, message: str) -> None:
    with pytest.raises(ApiError) as refusal:
        compile_script(script)
    assert (refusal.value.code, refusal.value.message) == ("bad_request", message)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("doc.x = nobody", "Variable not found: nobody (line 1, position 9)"),
        ("doc.x = doc.name * 3", "Function not found: * (line 1, position 18)"),
        ("doc.x = 1 / 0", "Division by zero: 1 / 0 (line 1, position 11)"),
        ("doc.x = 9000000000000000000 * 9", "Overflow: 9000000000000000000 * 9 (line 1, position 29)"),
    ],
)
def test_a_script_that_fails_says_where(script: str, reason: str) -> None:
    with pytest.raises(ApiError) as refusal:
        compile_script(script)({"name": "Ada"}, None)
    prefix = "Document edition runtime error encountered while running the function: "
    assert (refusal.value.code, refusal.value.message) == (
        "edit_documents_by_function_error",
        prefix + reason,
    )


@given(st.text("doc.n=+-*/()[]{}#\"'`; if let else true 1x,:<>!&|", max_size=40))
def test_no_text_does_more_than_be_refused(script: str) -> None:
    with contextlib.suppress(ApiError):
        compile_script(script)({"n": 1}, None)


def test_texts_with_expressions_inside_are_refused_not_stored_as_they_stand() -> None:
    with pytest.raises(ApiError) as refused:
        compile_script("doc.name = `${doc.id} of many`")
    assert refused.value.code == "bad_request"
    assert compile_script("doc.name = `plain`")({"id": 1}, None) == {"id": 1, "name": "plain"}

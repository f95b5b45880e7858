"""Document edition functions: what they make of a document and how they fail, as one server was observed to."""

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miroir.meili.codes import ApiError
from miroir.meili.rhai import compile_script, same_json
from miroir.meili.rhai.lexer import KEYWORDS, RESERVED, Lexer

#: The document and context that all scripts were sent with, then a script and its answer in each line.
ANSWERS = Path(__file__).parents[2] / "golden" / "rhai" / "answers.jsonl"
_RUNNING = "Document edition runtime error encountered while running the function: "
_GIVEN, *_OBSERVED = [json.loads(line) for line in ANSWERS.read_text(encoding="utf-8").splitlines()]


def answer(script: str) -> dict[str, Any]:
    """What becomes of the document, in the form of the file."""
    before = {"id": 1, **_GIVEN["document"]}
    try:
        run = compile_script(script)
    except ApiError as refusal:
        return {"refused" if refusal.code == "bad_request" else refusal.code: refusal.message}
    try:
        after = run(before, _GIVEN["context"])
    except ApiError as failure:
        kind = "failed" if failure.code == "edit_documents_by_function_error" else failure.code
        return {kind: failure.message.removeprefix(_RUNNING)}
    assert before == {"id": 1, **_GIVEN["document"]}
    if after is None:
        return {"deleted": True}
    if not isinstance(after, dict):
        return {"failed": "Document editions must keep documents as objects"}
    changed = {name: value for name, value in after.items() if not _same(before.get(name, ...), value)}
    gone = [name for name in before if name not in after and name != "id"]
    return {"changed": changed, "gone": gone} if gone else {"changed": changed}


def _same(one: Any, other: Any) -> bool:
    return one is not ... and json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def test_scripts_do_what_they_did_on_a_server() -> None:
    wrong = {}
    for observed in _OBSERVED:
        expected = {name: value for name, value in observed.items() if name != "script"}
        if not _same(expected, found := answer(observed["script"])):
            wrong[observed["script"]] = (expected, found)
    assert wrong == {}
    assert len(_OBSERVED) > 600


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("fn f() { f() } f()", "Stack overflow (line 1, position 16)"),
        ("fn f(x) { [1].some(|v| f(x)) } f(1)", "Stack overflow (line 1, position 32)"),
        ("let s = `x`; loop { s += s }", "Length of string too large"),
        ("let a = []; a.pad(10000, 1); loop { let b = a }", "Too many operations"),
        ("let a = 1; for i in 0..200 { a = [a] } doc.x = a", "recursion limit exceeded"),
        ("let f = |x| x; loop { f = f.curry(f) }", "Too many operations"),
    ],
)
def test_what_would_take_a_server_down_is_refused(script: str, reason: str) -> None:
    limit = sys.getrecursionlimit()
    assert answer(script)["failed"].startswith(reason)
    assert sys.getrecursionlimit() == limit


def test_a_number_written_otherwise_is_another_value() -> None:
    assert same_json({"a": [1, {"b": True}]}, {"a": [1, {"b": True}]})
    for other in (1.0, True, "1", [1], {"1": 1}, None):
        assert not same_json({"a": [1]}, {"a": [other]})


def test_without_a_context_there_is_none() -> None:
    with pytest.raises(ApiError, match="Variable not found: context"):
        compile_script("doc.x = context")({"id": 1}, None)


def test_members_of_what_a_script_leaves_are_sorted() -> None:
    after = compile_script("doc.b = #{z: 1, a: #{y: 2, x: 3}}")({"id": 1, "a": 0}, None)
    assert json.dumps(after) == '{"a": 0, "b": {"a": {"x": 3, "y": 2}, "z": 1}, "id": 1}'


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(st.dictionaries(st.text(max_size=3), _json, max_size=4))
def test_a_script_that_does_nothing_leaves_the_document_as_it_is(document: dict[str, Any]) -> None:
    assert compile_script("")(document, {}) == document
    assert compile_script("let copy = doc; doc = copy")(document, {}) == document


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1), st.sampled_from("+-*/%&|^"))
def test_integers_have_64_bits_and_overflow_is_told(x: int, y: int, sign: str) -> None:
    run = compile_script(f"doc.r = doc.x {sign} doc.y")
    with contextlib.suppress(ApiError):
        result = run({"x": x, "y": y}, None)["r"]
        assert isinstance(result, int)
        assert -(2**63) <= result < 2**63
        if sign in "+-*":
            assert result == {"+": x + y, "-": x - y, "*": x * y}[sign]
        if sign == "/":
            assert abs(result) == abs(x) // abs(y)
        if sign == "%":
            assert (x - result) % y == 0


_PIECES = """doc context x f 1 2.5 "s" 'c' `t${ `u` doc.n doc.tags ( ) [ ] { } #{ => | || . ?. ?? .. ..= : ; , = += - !
&& == .map(|v|v) .len() .push(1) .call(1) let·x·= fn·f(a){ for·i·in switch·doc.n·{ ()"""
_words = st.sampled_from([*sorted(KEYWORDS | RESERVED), *_PIECES.replace("·", "\u00a0").split(" ")]).map(
    lambda piece: piece.replace("\u00a0", " ")
)


@given(st.lists(_words, max_size=25).map(" ".join))
@settings(max_examples=300)
def test_whatever_is_sent_it_is_answered(script: str) -> None:
    found = answer(script)
    assert next(iter(found)) in ("refused", "failed", "changed", "deleted")


@given(st.text(max_size=60))
def test_tokens_of_any_text_come_to_an_end(text: str) -> None:
    lexer = Lexer(text)
    for _ in range(len(text) + 2):
        if lexer.take().kind == "end":
            return
    raise AssertionError(text)

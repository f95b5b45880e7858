"""Documents of a request body: JSON, NDJSON or CSV to a list of objects, with the server's refusals and quirks."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec
import orjson

from miroir.meili.codes import ApiError
from miroir.meili.csv_payload import read_csv
from miroir.meili.json_text import JsonSyntaxError, Scanner, cut_middle, fast, parse
from miroir.meili.large_documents import LARGE_BYTES, SentDocuments, Span, sent_documents
from miroir.meili.refusals import compact_json

Format = Literal["json", "ndjson", "csv"]
Documents = list[dict[str, Any]]

_members = msgspec.json.Decoder(list[msgspec.Raw]).decode

_NOT_DOCUMENTS = "data are neither an object nor a list of objects"


def read_documents(body: bytes, kind: Format, delimiter: str = ",") -> Sequence[dict[str, Any]]:
    """The documents in payload order, keys in sent order; those of a large body stay text. Raises ApiError."""
    if not body:
        raise ApiError("missing_payload", f"A {kind} payload is missing.")
    if len(body) >= LARGE_BYTES:
        large = _read_large(body, kind, delimiter)
        if large is not None:
            return large
    if kind == "csv":
        return list(read_csv(body, delimiter))
    try:
        return _read_json(body) if kind == "json" else _read_ndjson(body)
    except JsonSyntaxError as error:
        raise _malformed(kind, str(error)) from None


def _read_large(body: bytes, kind: Format, delimiter: str) -> SentDocuments | None:
    """Without making objects of all documents at once; None when something is wrong or unusual."""
    if kind == "csv":
        text, spans = io.BytesIO(), list[Span]()
        for document in read_csv(body, delimiter):
            start = text.tell()
            text.write(orjson.dumps(document))
            spans.append((start, text.tell()))
        return sent_documents(text.getvalue(), spans)
    if kind == "ndjson":
        return sent_documents(body, _line_spans(body))
    try:
        members = _members(body)
    except msgspec.DecodeError:
        return sent_documents(body, [(0, len(body))])
    return sent_documents(body, _member_spans(body, members))


def _line_spans(body: bytes) -> Iterator[Span]:
    at = 0
    while at < len(body):
        end = body.find(b"\n", at)
        end = len(body) if end < 0 else end
        if body[at:end].strip(b" \t\r"):
            yield at, end
        at = end + 1


def _member_spans(body: bytes, members: list[msgspec.Raw]) -> Iterator[Span]:
    """Where the members of an array stand: between them are only white space and a comma."""
    at = body.index(b"[") + 1
    for member in members:
        raw = bytes(member)
        start = body.find(raw[:1], at)
        at = start + len(raw)
        yield start, at


def _malformed(kind: Format, detail: str) -> ApiError:
    return ApiError(
        "malformed_payload",
        f"The `{kind}` payload provided is malformed. `Couldn't serialize document value: {cut_middle(detail)}`.",
    )


def _fast(body: bytes) -> Any:
    try:
        return fast(body)
    except orjson.JSONDecodeError:
        return None


def _read_json(body: bytes) -> Documents:
    value = _fast(body)
    if isinstance(value, dict):
        return [value]
    if isinstance(value, list) and all(isinstance(member, dict) for member in value):
        return value
    scanner = Scanner(body)
    if scanner.space() == b"[":
        return _array_members(scanner)
    parsed = parse(body)
    if not isinstance(parsed, dict):
        raise _malformed("json", _NOT_DOCUMENTS)
    return [parsed]


def _array_members(scanner: Scanner) -> Documents:
    """The members of an array, one at a time: what follows the array is not looked at.

    The reader stops at a member that is no object, and then complains about what follows it, if anything does.
    """
    scanner.at += 1
    documents: Documents = []
    while True:
        byte = scanner.space()
        if byte == b"]":
            return documents
        if byte == b"," and documents:
            scanner.at += 1
            following = scanner.space()
            if following == b"]":
                scanner.fail_peek("trailing comma")
            if not following:
                scanner.fail_peek("EOF while parsing a value")
        elif not byte:
            scanner.fail_peek("EOF while parsing a list")
        elif documents:
            scanner.fail_peek("expected `,` or `]`")
        start, end = scanner.raw_value()
        text = scanner.text[start:end]
        if text[:1] != b"{":
            _end_of_list(scanner)
            raise _not_a_map(text)
        documents.append(_object(text))


def _end_of_list(scanner: Scanner) -> None:
    byte = scanner.space()
    if byte == b",":
        scanner.at += 1
        scanner.fail_peek("trailing comma" if scanner.space() == b"]" else "trailing characters")
    if not byte:
        scanner.fail_peek("EOF while parsing a list")
    if byte != b"]":
        scanner.fail_peek("trailing characters")


def _object(text: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = json.loads(text)
    assert isinstance(value, dict)
    return value


def _not_a_map(text: bytes, expected: str = "a map") -> ApiError:
    return ApiError("internal", invalid_type(text, expected))


def invalid_type(text: bytes, expected: str) -> str:
    """``invalid type: integer `3`, expected a map at line 1 column 1``, for one JSON value."""
    first, column = text[:1], len(text)
    value = json.loads(text) if first not in b"[{" else None
    match value:
        case _ if first == b"[":
            found, column = "sequence", 0
        case _ if first == b"{":
            found, column = "map", 0
        case None:
            found = "null"
        case bool():
            found = f"boolean `{compact_json(value)}`"
        case int():
            found = f"integer `{value}`"
        case float():
            found = f"floating point `{compact_json(value)}`"
        case _:
            found = f"string {compact_json(value)}"
    return f"invalid type: {found}, expected {expected} at line 1 column {column}"


def _read_ndjson(body: bytes) -> Documents:
    documents: Documents = []
    for line in body.split(b"\n"):
        if not line.strip(b" \t\r"):
            continue
        value = _fast(line)
        if not isinstance(value, dict):
            return _read_concatenated(body)
        documents.append(value)
    return documents


def _read_concatenated(body: bytes) -> Documents:
    """JSON values one after another, however they are laid out."""
    scanner = Scanner(body)
    documents: Documents = []
    while scanner.space():
        start, end = scanner.raw_value()
        text = body[start:end]
        if text[:1] != b"{":
            raise _not_a_map(text)
        documents.append(_object(text))
    return documents

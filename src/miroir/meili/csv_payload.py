"""Documents sent as CSV: typed headers (`price:number`), empty cells are null, the server's parse errors."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from miroir.meili.codes import ApiError

_FLOAT = re.compile(r"[+-]?(?:inf|infinity|nan|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?)", re.IGNORECASE)
_INTEGER = re.compile(r"[+-]?[0-9]+")
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class _Record:
    fields: list[bytes]
    line: int
    byte: int


def read_csv(body: bytes, delimiter: str = ",") -> Iterator[dict[str, Any]]:
    """The documents of a CSV payload, keys in header order. Raises ApiError malformed_payload on the way."""
    records = _records(body.removeprefix(_BOM), delimiter.encode())
    header = next(records, None)
    if header is None:
        return
    columns = [_column(name) for name in _texts(header, 0)]
    for number, record in enumerate(records, start=1):
        if len(record.fields) != len(columns):
            raise _malformed(
                f"CSV error: record {number} (line: {record.line}, byte: {record.byte}): found record with "
                f"{len(record.fields)} fields, but the previous record has {len(columns)} fields"
            )
        cells = _texts(record, number)
        yield {name: cast(cell, number) for (name, cast), cell in zip(columns, cells, strict=True)}


def _malformed(detail: str) -> ApiError:
    return ApiError("malformed_payload", f"The `csv` payload provided is malformed: `{detail}`.")


def _texts(record: _Record, number: int) -> list[str]:
    texts = []
    for i, cell in enumerate(record.fields):
        try:
            texts.append(cell.decode())
        except UnicodeDecodeError as error:
            raise _malformed(
                f"CSV parse error: record {number} (line {record.line}, field: {i}, byte: {record.byte}): "
                f"invalid utf-8: invalid UTF-8 in field {i} near byte index {error.start}"
            ) from None
    return texts


def _column(header: str) -> tuple[str, Callable[[str, int], Any]]:
    name, colon, kind = header.rpartition(":")
    casts: dict[str, Callable[[str, int], Any]] = {"string": _text, "number": _number, "boolean": _boolean}
    if colon and kind in casts:
        return name, casts[kind]
    return header, _text


def _text(cell: str, line: int) -> str | None:
    return cell or None


def _number(cell: str, line: int) -> int | float | None:
    text = cell.strip()
    if not text:
        return None
    if _INTEGER.fullmatch(text) and -(2**63) <= int(text) < 2**63:
        return int(text)
    if not _FLOAT.fullmatch(text):
        raise _malformed(f'Error parsing number "{cell}" at line {line}: invalid float literal')
    number = float(text)
    return number if math.isfinite(number) else None


def _boolean(cell: str, line: int) -> bool | None:
    text = cell.strip()
    if not text:
        return None
    if text not in ("true", "false"):
        raise _malformed(
            f'Error parsing boolean "{cell}" at line {line}: provided string was not `true` or `false`'
        )
    return text == "true"


def _records(body: bytes, delimiter: bytes) -> Iterator[_Record]:
    """Records with the line and byte where they start; blank lines are skipped. Quotes double inside quotes."""
    at, line, size = 0, 1, len(body)
    special = re.compile(b"[" + re.escape(delimiter) + b"\r\n]")
    while at < size:
        # A record starts right after the byte that ended the one before, be it the CR of a CRLF.
        start, start_line = at, line
        while at < size and body[at] in b"\r\n":
            line += body[at] == 0x0A
            at += 1
        if at >= size:
            return
        cells: list[bytes] = []
        while True:
            cell, at, lines = _cell(body, at, special)
            line += lines
            cells.append(cell)
            if body[at : at + 1] != delimiter:
                break
            at += 1
        if at < size:
            line += body[at] == 0x0A
            at += 1
        yield _Record(cells, start_line, start)


def _cell(body: bytes, at: int, special: re.Pattern[bytes]) -> tuple[bytes, int, int]:
    """One cell: its bytes, the position of what ends it, the line ends inside it."""
    size = len(body)
    if body[at : at + 1] != b'"':
        end = special.search(body, at)
        stop = end.start() if end else size
        return body[at:stop], stop, 0
    parts: list[bytes] = []
    start = at = at + 1
    while True:
        close = body.find(b'"', at)
        if close < 0:
            parts.append(body[at:])
            return b"".join(parts), size, body.count(b"\n", start)
        parts.append(body[at:close])
        at = close + 1
        if body[at : at + 1] == b'"':
            parts.append(b'"')
            at += 1
            continue
        end = special.search(body, at)
        stop = end.start() if end else size
        parts.append(body[at:stop])
        return b"".join(parts), stop, body.count(b"\n", start, stop)

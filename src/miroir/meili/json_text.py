"""Parsing JSON bodies with the parse errors of Meilisearch's JSON reader, word for word.

Valid text takes the fast path. Text that does not parse is walked a second time by a small scanner whose only
purpose is to say what is wrong, at which line and byte column, in the reader's words.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

import orjson

from miroir.meili.codes import ApiError

_SPACE = b" \t\n\r"
_DIGITS = b"0123456789"
_HEX = b"0123456789abcdefABCDEF"
_ESCAPES = b'"\\/bfnrt'
_MAX_DEPTH = 128
#: What the reader takes for a float.
_MINUS_ZERO = re.compile(rb"-0(?![.0-9eE])")

_CUT_HEAD = 50
_CUT_TAIL = 85
_ELLIPSIS = "..."


class JsonSyntaxError(ValueError):
    """Text that is no JSON; the message ends in `at line L column C` (lines from 1, columns in bytes)."""


def loads(body: bytes) -> Any:
    """The JSON value of a request body. Raises ApiError missing_payload or malformed_payload."""
    if not body:
        raise ApiError("missing_payload", "A json payload is missing.")
    try:
        return parse(body)
    except JsonSyntaxError as error:
        text = f"The json payload provided is malformed. `{error}`."
        raise ApiError("malformed_payload", text) from None


def parse(body: bytes) -> Any:
    """The JSON value of a text. Raises JsonSyntaxError."""
    if body.count(b"[") + body.count(b"{") < _MAX_DEPTH:
        try:
            return fast(body)
        except orjson.JSONDecodeError:
            pass
    check(body)
    return _lenient(body)


def fast(body: bytes) -> Any:
    """The value of a text that is strictly JSON; `-0` is a float. Raises orjson.JSONDecodeError."""
    value = orjson.loads(body)
    return json.loads(body, parse_int=_integer) if _MINUS_ZERO.search(body) else value


def _integer(text: str) -> int | float:
    value = int(text)
    return float(text) if text == "-0" or not -(2**63) <= value < 2**64 else value


def check(body: bytes) -> None:
    """Raises JsonSyntaxError when the text is not exactly one JSON value."""
    scanner = Scanner(body)
    scanner.value()
    scanner.end()


def _lenient(body: bytes) -> Any:
    """For text that the scanner accepts and the fast reader does not."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return json.loads(body)


def cut_middle(text: str) -> str:
    """Long parse errors keep their first 50 and last 85 characters."""
    if len(text.encode()) <= _CUT_HEAD + _CUT_TAIL + len(_ELLIPSIS):
        return text
    return text[:_CUT_HEAD] + _ELLIPSIS + text[-_CUT_TAIL:]


class Scanner:
    """Walks JSON text and raises JsonSyntaxError at the first fault.

    `value` builds strictly (what JSON routes do); `raw_value` only skips a value, with the slightly different
    wording that the reader has for members it keeps as text (documents inside a payload).
    """

    def __init__(self, text: bytes, at: int = 0) -> None:
        self.text = text
        self.at = at

    # --- places and faults ---

    def fail(self, message: str, at: int | None = None) -> NoReturn:
        """A fault after the bytes read so far."""
        at = self.at if at is None else at
        line = self.text.count(b"\n", 0, at) + 1
        column = at - (self.text.rfind(b"\n", 0, at) + 1)
        raise JsonSyntaxError(f"{message} at line {line} column {column}")

    def fail_peek(self, message: str) -> NoReturn:
        """A fault on the next byte, which counts as read for the column."""
        self.fail(message, min(len(self.text), self.at + 1))

    def peek(self) -> bytes:
        return self.text[self.at : self.at + 1]

    def space(self) -> bytes:
        """Skips white space; the next byte, empty at the end."""
        text, at, size = self.text, self.at, len(self.text)
        while at < size and text[at] in _SPACE:
            at += 1
        self.at = at
        return text[at : at + 1]

    def end(self) -> None:
        """Only white space may follow."""
        if self.space():
            self.fail_peek("trailing characters")

    # --- values ---

    def value(self, depth: int = _MAX_DEPTH) -> None:
        """One value, strictly."""
        first = self.space()
        if first == b"[":
            self._container(depth, self._list)
        elif first == b"{":
            self._container(depth, self._object)
        else:
            self._scalar(first, strict=True)

    def _container(self, depth: int, read: Any) -> None:
        if depth <= 1:
            self.fail_peek("recursion limit exceeded")
        self.at += 1
        read(depth - 1)

    def _list(self, depth: int) -> None:
        first = True
        while True:
            byte = self.space()
            if byte == b"]":
                self.at += 1
                return
            if byte == b"," and not first:
                self.at += 1
                following = self.space()
                if following == b"]":
                    self.fail_peek("trailing comma")
                if not following:
                    self.fail_peek("EOF while parsing a value")
            elif not byte:
                self.fail_peek("EOF while parsing a list")
            elif not first:
                self.fail_peek("expected `,` or `]`")
            first = False
            self.value(depth)

    def _object(self, depth: int) -> None:
        first = True
        while True:
            byte = self.space()
            if byte == b"}":
                self.at += 1
                return
            if byte == b"," and not first:
                self.at += 1
                byte = self.space()
                if byte == b"}":
                    self.fail_peek("trailing comma")
                if not byte:
                    self.fail_peek("EOF while parsing a value")
            elif not byte:
                self.fail_peek("EOF while parsing an object")
            elif not first:
                self.fail_peek("expected `,` or `}`")
            if byte != b'"':
                self.fail_peek("key must be a string")
            first = False
            self.at += 1
            self._string(strict=True)
            self._colon()
            self.value(depth)

    def _colon(self) -> None:
        byte = self.space()
        if not byte:
            self.fail_peek("EOF while parsing an object")
        if byte != b":":
            self.fail_peek("expected `:`")
        self.at += 1

    def raw_value(self) -> tuple[int, int]:
        """Skips one value; where it starts and ends. Nothing is checked but the structure and UTF-8."""
        self.space()
        start = self.at
        self._raw()
        try:
            self.text[start : self.at].decode()
        except UnicodeDecodeError:
            self.fail("invalid unicode code point")
        return start, self.at

    def _raw(self) -> None:
        frames: list[bytes] = []
        while True:
            byte = self.space()
            if byte in (b"[", b"{") and byte:
                self.at += 1
                frames.append(byte)
                accept_comma = False
            else:
                self._scalar(byte, strict=False)
                if not frames:
                    return
                accept_comma = True
            while True:
                byte = self.space()
                frame = frames[-1]
                if byte == b"," and accept_comma:
                    self.at += 1
                    break
                if (frame, byte) in ((b"[", b"]"), (b"{", b"}")):
                    self.at += 1
                    frames.pop()
                    if not frames:
                        return
                    accept_comma = True
                    continue
                if not byte:
                    self.fail_peek(
                        "EOF while parsing a list" if frame == b"[" else "EOF while parsing an object"
                    )
                if accept_comma:
                    self.fail_peek("expected `,` or `]`" if frame == b"[" else "expected `,` or `}`")
                break
            if frames[-1] == b"{":
                byte = self.space()
                if not byte:
                    self.fail_peek("EOF while parsing an object")
                if byte != b'"':
                    self.fail_peek("key must be a string")
                self.at += 1
                self._string(strict=False)
                self._colon()

    # --- scalars ---

    def _scalar(self, first: bytes, *, strict: bool) -> None:
        if not first:
            self.fail_peek("EOF while parsing a value")
        if first == b'"':
            self.at += 1
            self._string(strict=strict)
        elif first in (b"n", b"t", b"f"):
            self.at += 1
            self._word({b"n": b"ull", b"t": b"rue", b"f": b"alse"}[first])
        elif first == b"-" or first in _DIGITS:
            self._number(strict=strict)
        else:
            self.fail_peek("expected value")

    def _word(self, rest: bytes) -> None:
        for expected in rest:
            byte = self.peek()
            if not byte:
                self.fail("EOF while parsing a value")
            self.at += 1
            if byte[0] != expected:
                self.fail("expected ident")

    def _number(self, *, strict: bool) -> None:
        start = self.at
        if self.peek() == b"-":
            self.at += 1
        byte = self.peek()
        if not byte:
            self.fail("EOF while parsing a value")
        self.at += 1
        if byte == b"0":
            if self.peek() and self.peek() in _DIGITS:
                self.fail_peek("invalid number")
        elif byte in _DIGITS:
            self._digits()
        else:
            self.fail("invalid number")
        if self.peek() == b".":
            self.at += 1
            if not self._digits():
                self.fail_peek("invalid number" if self.peek() else "EOF while parsing a value")
        if self.peek() in (b"e", b"E"):
            self.at += 1
            if self.peek() in (b"+", b"-"):
                self.at += 1
            byte = self.peek()
            if not byte:
                self.fail("EOF while parsing a value")
            self.at += 1
            if byte not in _DIGITS:
                self.fail("invalid number")
            self._digits()
        if strict and float(self.text[start : self.at]) in (float("inf"), float("-inf")):
            self.fail("number out of range")

    def _digits(self) -> int:
        start, size = self.at, len(self.text)
        while self.at < size and self.text[self.at] in _DIGITS:
            self.at += 1
        return self.at - start

    def _string(self, *, strict: bool) -> None:
        """The rest of a string, its opening quote read."""
        start = self.at
        text, size = self.text, len(self.text)
        while True:
            while self.at < size and text[self.at] >= 0x20 and text[self.at] not in b'"\\':
                self.at += 1
            if self.at >= size:
                self.fail("EOF while parsing a string")
            byte = text[self.at]
            self.at += 1
            if byte == 0x22:
                break
            if byte != 0x5C:
                self.fail("control character (\\u0000-\\u001F) found while parsing a string")
            self._escape(strict=strict)
        if strict:
            try:
                text[start : self.at].decode()
            except UnicodeDecodeError:
                self.fail("invalid unicode code point")

    def _escape(self, *, strict: bool) -> None:
        byte = self.peek()
        if not byte:
            self.fail("EOF while parsing a string")
        self.at += 1
        if byte in _ESCAPES:
            return
        if byte != b"u":
            self.fail("invalid escape")
        unit = self._hex()
        if not strict:
            return
        if 0xDC00 <= unit <= 0xDFFF:
            self.fail("lone leading surrogate in hex escape")
        if not 0xD800 <= unit <= 0xDBFF:
            return
        for expected in (b"\\", b"u"):
            if not self.peek():
                self.fail("EOF while parsing a string")
            self.at += 1
            if self.text[self.at - 1 : self.at] != expected:
                self.fail("unexpected end of hex escape")
        if not 0xDC00 <= self._hex() <= 0xDFFF:
            self.fail("lone leading surrogate in hex escape")

    def _hex(self) -> int:
        digits = self.text[self.at : self.at + 4]
        if len(digits) < 4:
            self.at = len(self.text)
            self.fail("EOF while parsing a string")
        self.at += 4
        if any(digit not in _HEX for digit in digits):
            self.fail("invalid escape")
        return int(digits, 16)

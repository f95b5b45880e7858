"""The words of filter expressions: names, values, quotes, numbers, and the refusals that name a place in the text.

`filter_parser.py` puts them together.
"""

from __future__ import annotations

import re
from typing import NoReturn

from miroir.meili.filter_ast import Token

MAX_DEPTH = 150

_KEYWORDS = frozenset(
    [
        "AND",
        "OR",
        "IN",
        "NOT",
        "TO",
        "EXISTS",
        "IS",
        "NULL",
        "EMPTY",
        "CONTAINS",
        "STARTS",
        "WITH",
        "_geoRadius",
        "_geoBoundingBox",
    ]
)
_SPACES = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


class FilterSyntaxError(ValueError):
    """A filter that does not parse; the message is the server's."""


class Backtrack(Exception):  # noqa: N818 - control flow, not an error
    """This alternative does not fit; carries the refusal to raise where no other may be tried."""

    def __init__(self, refusal: FilterSyntaxError, *, keyword: bool = False) -> None:
        super().__init__()
        self.refusal = refusal
        self.keyword = keyword


def escape_debug(text: str) -> str:
    """Text as the server shows it inside messages: quotes, backslashes and unprintable characters escaped."""
    short = {"\t": "\\t", "\r": "\\r", "\n": "\\n", "'": "\\'", '"': '\\"', "\\": "\\\\", "\0": "\\0"}
    return "".join(short.get(c) or (c if c.isprintable() else f"\\u{{{ord(c):x}}}") for c in text)


def is_word(character: str) -> bool:
    """Whether it can stand in a word without quotes."""
    return character.isalnum() or character in "_-."


class Scanner:
    """Every method takes a position and returns what it read and the position after it."""

    def __init__(self, source: str) -> None:
        self.source = source

    # --- places and refusals ---

    def token(self, start: int, end: int, text: str | None = None) -> Token:
        return Token(self.source[start:end] if text is None else text, start, end - start, self.source)

    def rest(self, at: int) -> Token:
        return self.token(at, len(self.source))

    @staticmethod
    def error(place: Token, message: str) -> FilterSyntaxError:
        return FilterSyntaxError(f"{message}\n{place.place}")

    def fail(self, at: int, message: str) -> NoReturn:
        raise self.error(self.rest(at), message)

    def spaces(self, at: int) -> int:
        found = _SPACES.match(self.source, at)
        return found.end() if found else at

    def word_end(self, at: int) -> int:
        source, size = self.source, len(self.source)
        while at < size and is_word(source[at]):
            at += 1
        return at

    def keyword(self, at: int, word: str) -> int | None:
        """The position after spaces, exactly this word, and spaces; None when it is not there."""
        start = self.spaces(at)
        end = self.word_end(start)
        return self.spaces(end) if self.source[start:end] == word else None

    def check_depth(self, at: int, depth: int) -> None:
        if depth > MAX_DEPTH:
            self.fail(
                at,
                "The filter exceeded the maximum depth limit. Try rewriting the filter so that it contains fewer "
                "nested conditions.",
            )

    # --- values ---

    def value(self, at: int) -> tuple[Token, int]:
        """A word or quoted text. Raises Backtrack when there is none."""
        source, size = self.source, len(self.source)
        while at < size and source[at].isspace():
            at += 1
        self.refuse_geo(at)
        if source[at : at + 1] in ("'", '"') and at < size:
            token, at = self.quoted(at)
        else:
            end = self.word_end(at)
            word = source[at:end]
            if not word or word in _KEYWORDS:
                raise self.expected_value(at, keyword=bool(word))
            token, at = self.token(at, end), end
        at = self.spaces(at)
        return self.unescaped(token), at

    def expected_value(self, at: int, *, keyword: bool) -> Backtrack:
        end = at
        while end < len(self.source) and not (self.source[end].isspace() or self.source[end] in "()=<>!"):
            end += 1
        place = self.token(at, end)
        shown = escape_debug(place.text)
        if not place.text.strip():
            message = "Was expecting a value but instead got nothing."
        elif keyword:
            message = (
                f"Was expecting a value but instead got `{shown}`, which is a reserved keyword. To use `{shown}` "
                "as a field name or a value, surround it by quotes."
            )
        else:
            message = f"Was expecting a value but instead got `{shown}`."
        return Backtrack(self.error(place, message), keyword=keyword and bool(place.text.strip()))

    def refuse_geo(self, at: int) -> None:
        """Geo functions are no values."""
        if not self.source.startswith("_geo", at):
            return
        word = self.source[at : self.word_end(at)]
        for name in ("_geoPoint", "_geoDistance", "_geo"):
            if word == name or (name != "_geo" and word.startswith(name)):
                self.fail(
                    at,
                    f"`{name}` is a reserved keyword and thus can't be used as a filter expression. Use the "
                    "`_geoRadius(latitude, longitude, distance)` or "
                    "`_geoBoundingBox([latitude, longitude], [latitude, longitude])` built-in rules to filter on "
                    "`_geo` coordinates.",
                )
        if word in ("_geoRadius", "_geoBoundingBox"):
            self.fail(at, f"The `{word}` filter is an operation and can't be used as a value.")

    def quoted(self, at: int) -> tuple[Token, int]:
        source, size, quote = self.source, len(self.source), self.source[at]
        end, escaped = at + 1, False
        while end < size and source[end] != quote:
            if source[end] == "\\":
                end += 1
                if end >= size:
                    rest = self.rest(at + 1)
                    raise self.error(rest, f"Malformed value: `{escape_debug(rest.text)}`.")
                escaped |= source[end] == quote
            end += 1
        if end >= size:
            shown = escape_debug(source[at:])
            self.fail(at, f"Expression `{shown}` is missing the following closing delimiter: `{quote}`.")
        text = source[at + 1 : end]
        return self.token(at + 1, end, text.replace(f"\\{quote}", quote) if escaped else text), end + 1

    def unescaped(self, token: Token) -> Token:
        """Backslash sequences replaced."""
        if "\\" not in token.text:
            return token
        try:
            text = unescape(token.text)
        except EOFError:
            raise self.error(
                self.rest(0), "The filter is incomplete and requires Unknown additional bytes to be parsed."
            ) from None
        except OverflowError:
            raise Backtrack(
                self.error(token, f"Found an invalid escaped sequence number: `{self.shown(token)}`.")
            ) from None
        except ValueError:
            raise Backtrack(self.error(token, f"Malformed value: `{self.shown(token)}`.")) from None
        return Token(text, token.start, token.size, token.source)

    def shown(self, token: Token) -> str:
        return escape_debug(self.source[token.start : token.start + token.size])

    # --- numbers ---

    def numbers(self, at: int, form: str) -> tuple[list[Token], int]:
        """Comma-separated floats, at least one."""
        found: list[Token] = []
        while True:
            start = self.spaces(at if not found else at + 1)
            match = _NUMBER.match(self.source, start)
            if match is None:
                if not found:
                    self.fail(
                        start + (self.source[start : start + 1] in ("+", "-") and start < len(self.source)),
                        form,
                    )
                return found, at
            found.append(self.token(match.start(), match.end()))
            at = self.spaces(match.end())
            if not self.source.startswith(",", at):
                return found, at

    def closing(self, at: int, delimiter: str, form: str) -> int:
        if not self.source.startswith(delimiter, at):
            self.fail(at, form)
        return at + 1


_SIMPLE = {
    "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "'": "'", '"': '"', "\\": "\\", "/": "/",
}  # fmt: skip


def unescape(text: str) -> str:
    """Backslash sequences replaced: C-like, `\\u{…}`, `\\uXXXX`, `\\xXX`, octal.

    Raises EOFError for an unfinished one, OverflowError for a bad number, ValueError for an unknown one.
    """
    parts: list[str] = []
    at, size = 0, len(text)
    while at < size:
        character = text[at]
        at += 1
        if character != "\\":
            parts.append(character)
            continue
        if at >= size:
            raise EOFError
        kind = text[at]
        at += 1
        if kind in _SIMPLE:
            parts.append(_SIMPLE[kind])
            continue
        if kind == "u" and text.startswith("{", at):
            end = text.find("}", at)
            if end < 0:
                raise EOFError
            digits, at = text[at + 1 : end], end + 1
        elif kind in "ux":
            width = 4 if kind == "u" else 2
            digits, at = text[at : at + width], at + width
            if len(digits) < width:
                raise EOFError
        elif kind in "01234567":
            width = 3 if kind in "0123" else 2
            start = at - 1
            while at < min(start + width, size) and text[at] in "01234567":
                at += 1
            parts.append(chr(int(text[start:at], 8)))
            continue
        else:
            raise ValueError(kind)
        if not digits or any(digit not in "0123456789abcdefABCDEF" for digit in digits):
            raise OverflowError(digits)
        code = int(digits, 16)
        if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            raise ValueError(digits)
        parts.append(chr(code))
    return "".join(parts)

"""Parsing filter expressions, with the server's words for what is wrong.

Grammar: `or := and (OR and)*`, `and := not (AND not)*`, `not := NOT not | primary`. A refusal is two lines: what is
wrong, and `start:end text` with columns in characters from 1 and the whole text.
"""

from __future__ import annotations

import re
from typing import NoReturn

from miroir.meili.filter_ast import (
    And,
    Condition,
    Filter,
    Foreign,
    GeoBoundingBox,
    GeoPolygon,
    GeoRadius,
    Not,
    Op,
    Or,
    Token,
    VectorExists,
)

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
_OPERATIONS = (
    "`=`, `!=`, `>=`, `>`, `<=`, `<`, `IN`, `NOT IN`, `TO`, `EXISTS`, `NOT EXISTS`, `IS NULL`, `IS NOT NULL`, "
    "`IS EMPTY`, `IS NOT EMPTY`, `CONTAINS`, `NOT CONTAINS`, `STARTS WITH`, `NOT STARTS WITH`, `_geoRadius`, "
    "`_geoBoundingBox` or `_geoPolygon`"
)
_SPACES = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_COMPARISON = re.compile(r"<=|>=|!=|<|>|=")
_IS = re.compile(r"IS[ \t\r\n]+(?:(NOT)[ \t\r\n]+)?(NULL|EMPTY)")
_EXISTS = re.compile(r"(?:(NOT)[ \t\r\n]+)?EXISTS")
_MATCHES = re.compile(r"(?:(NOT)[ \t\r\n]+)?(CONTAINS|STARTS WITH)")
_TO = re.compile(r"TO[ \t\r\n]+")
_VECTOR_PARTS = ("fragments", "userProvided", "documentTemplate", "regenerate")


class FilterSyntaxError(ValueError):
    """A filter that does not parse; the message is the server's."""


class _Backtrack(Exception):  # noqa: N818 - control flow, not an error
    """This alternative does not fit; carries the refusal to raise where no other may be tried."""

    def __init__(self, refusal: FilterSyntaxError, *, keyword: bool = False) -> None:
        super().__init__()
        self.refusal = refusal
        self.keyword = keyword


def parse_expression(source: str) -> Filter | None:
    """The tree of one expression; None when the text is blank. Raises FilterSyntaxError."""
    if not source.strip():
        return None
    parser = _Parser(source)
    try:
        node, at = parser.disjunction(0, 0)
    except _Backtrack as stop:
        raise stop.refusal from None
    if at < len(source):
        rest = parser.rest(at)
        raise parser.error(
            rest,
            f"Found unexpected characters at the end of the filter: `{escape_debug(rest.text)}`. "
            "You probably forgot an `OR` or an `AND` rule.",
        )
    return node


def escape_debug(text: str) -> str:
    """Text as the server shows it inside messages: quotes, backslashes and unprintable characters escaped."""
    short = {"\t": "\\t", "\r": "\\r", "\n": "\\n", "'": "\\'", '"': '\\"', "\\": "\\\\", "\0": "\\0"}
    return "".join(short.get(c) or (c if c.isprintable() else f"\\u{{{ord(c):x}}}") for c in text)


def _is_word(character: str) -> bool:
    return character.isalnum() or character in "_-."


class _Parser:
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
        while at < size and _is_word(source[at]):
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

    # --- combinations ---

    def disjunction(self, at: int, depth: int) -> tuple[Filter, int]:
        self.check_depth(at, depth)
        node, at = self.conjunction(at, depth + 1)
        operands = [node]
        while (after := self.keyword(at, "OR")) is not None:
            node, at = self.conjunction(after, depth + 1)
            operands.append(node)
        return (Or(tuple(operands)) if len(operands) > 1 else node), at

    def conjunction(self, at: int, depth: int) -> tuple[Filter, int]:
        self.check_depth(at, depth)
        node, at = self.negation(at, depth + 1)
        operands = [node]
        while (after := self.keyword(at, "AND")) is not None:
            node, at = self.negation(after, depth + 1)
            operands.append(node)
        return (And(tuple(operands)) if len(operands) > 1 else node), at

    def negation(self, at: int, depth: int) -> tuple[Filter, int]:
        self.check_depth(at, depth)
        after = self.keyword(at, "NOT")
        if after is None:
            return self.primary(at, depth + 1)
        node, at = self.negation(after, depth + 1)
        return (node.operand if isinstance(node, Not) else Not(node)), at

    def primary(self, at: int, depth: int) -> tuple[Filter, int]:
        self.check_depth(at, depth)
        start = self.spaces(at)
        if self.source.startswith("(", start):
            node, end = self.disjunction(self.spaces(start + 1), depth + 1)
            end = self.spaces(end)
            if not self.source.startswith(")", end):
                rest = self.rest(at)
                raise self.error(
                    rest,
                    f"Expression `{escape_debug(rest.text)}` is missing the following closing delimiter: `)`.",
                )
            return node, self.spaces(end + 1)
        for name, read in (
            ("_geoRadius", self.geo_radius),
            ("_geoBoundingBox", self.geo_bounding_box),
            ("_geoPolygon", self.geo_polygon),
        ):
            end = self.word_end(start)
            if self.source[start:end] == name:
                return read(end)
        try:
            field, end = self.value(at)
            return self.condition(at, field, end, depth)
        except _Backtrack as stop:
            if stop.keyword:
                raise stop.refusal from None
        rest = self.rest(at)
        found = f"at `{escape_debug(rest.text)}`." if rest.text.strip() else "but instead got nothing."
        raise self.error(rest, f"Was expecting an operation {_OPERATIONS} {found}")

    # --- conditions ---

    def condition(self, start: int, field: Token, at: int, depth: int) -> tuple[Filter, int]:
        """What follows a field name. Raises _Backtrack when no operation fits."""
        source = self.source
        negated = self.keyword(at, "NOT") if source.startswith("NOT", at) else None
        for is_not, place in ((False, at), (True, negated)):
            if place is not None and (after := self.keyword(place, "IN")) is not None:
                values, end = self.members(after)
                node: Filter = Condition(field, "IN", values)
                return (Not(node) if is_not else node), end
        if found := _COMPARISON.match(source, at):
            value, end = self.operand(found.end())
            return Condition(field, _comparison(found.group()), (value,)), end
        if found := _IS.match(source, at):
            node = Condition(field, "IS NULL" if found.group(2) == "NULL" else "IS EMPTY")
            return (Not(node) if found.group(1) else node), found.end()
        if (vector := self.vectors(start)) is not None:
            return vector
        if found := _EXISTS.match(source, at):
            node = Condition(field, "EXISTS")
            return (Not(node) if found.group(1) else node), found.end()
        try:
            low, end = self.value(at)
        except _Backtrack:
            pass
        else:
            if found := _TO.match(source, end):
                high, end = self.operand(found.end())
                return Condition(field, "TO", (low, high)), end
        if found := _MATCHES.match(source, at):
            keyword = self.token(found.start(2), found.end(2))
            value, end = self.operand(found.end())
            op: Op = "CONTAINS" if found.group(2) == "CONTAINS" else "STARTS WITH"
            node = Condition(field, op, (value,), keyword)
            return (Not(node) if found.group(1) else node), end
        if field.text == "_foreign" and field.size == len("_foreign") and source.startswith("(", at):
            return self.foreign(start, at, depth)
        raise _Backtrack(self.error(self.rest(start), ""))

    def operand(self, at: int) -> tuple[Token, int]:
        """A value that must be there."""
        try:
            return self.value(at)
        except _Backtrack as stop:
            raise stop.refusal from None

    def members(self, at: int) -> tuple[tuple[Token, ...], int]:
        """The list after IN."""
        if not self.source.startswith("[", at):
            self.fail(at, "Expected `[` after `IN` keyword.")
        at += 1
        values: list[Token] = []
        try:
            value, at = self.value(at)
            values.append(value)
            while self.source.startswith(",", self.spaces(at)):
                value, at = self.value(self.spaces(self.spaces(at) + 1))
                values.append(value)
        except _Backtrack:
            pass
        if values and self.source.startswith(",", self.spaces(at)):
            at = self.spaces(self.spaces(at) + 1)
        end = self.spaces(at)
        if not self.source.startswith("]", end):
            if at >= len(self.source):
                self.fail(at, "Expected matching `]` after the list of field names given to `IN[`")
            found = escape_debug(self.source[at:])
            self.fail(
                at, f"Expected only comma-separated field names inside `IN[..]` but instead found `{found}`."
            )
        return tuple(values), self.spaces(end + 1)

    def foreign(self, start: int, at: int, depth: int) -> tuple[Filter, int]:
        try:
            key, end = self.value(self.spaces(at + 1))
            end = self.spaces(end)
            if self.source.startswith(",", end):
                node, end = self.disjunction(self.spaces(end + 1), depth)
                end = self.spaces(end)
                if self.source.startswith(")", end):
                    return Foreign(key, node), end + 1
        except (_Backtrack, FilterSyntaxError):
            end = at + 1
        found = escape_debug(self.source[end:])
        raise self.error(
            self.rest(end),
            "Was expecting a field name and an condition inside `_foreign(..)` filter but instead found "
            f"`{found}`.",
        )

    # --- values ---

    def value(self, at: int) -> tuple[Token, int]:
        """A word or quoted text. Raises _Backtrack when there is none."""
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

    def expected_value(self, at: int, *, keyword: bool) -> _Backtrack:
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
        return _Backtrack(self.error(place, message), keyword=keyword and bool(place.text.strip()))

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
            raise _Backtrack(
                self.error(token, f"Found an invalid escaped sequence number: `{self.shown(token)}`.")
            ) from None
        except ValueError:
            raise _Backtrack(self.error(token, f"Malformed value: `{self.shown(token)}`.")) from None
        return Token(text, token.start, token.size, token.source)

    def shown(self, token: Token) -> str:
        return escape_debug(self.source[token.start : token.start + token.size])

    # --- geo ---

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

    def geo_radius(self, at: int) -> tuple[Filter, int]:
        form = (
            "The `_geoRadius` filter must be in the form: "
            "`_geoRadius(latitude, longitude, radius, optionalResolution)`."
        )
        at = self.closing(at, "(", form)
        found, at = self.numbers(at, form)
        at = self.closing(at, ")", form)
        if len(found) not in (3, 4):
            self.fail(at, f"Was expecting 3 or 4 arguments for `_geoRadius`, but instead found {len(found)}.")
        return GeoRadius((found[0], found[1]), found[2], found[3] if len(found) == 4 else None), at

    def points(self, at: int, form: str, *, trailing_comma: bool) -> tuple[list[list[Token]], int]:
        at = self.closing(at, "(", form)
        found: list[list[Token]] = []
        while True:
            start = self.spaces(at if not found else at + 1)
            if found and not self.source.startswith("[", start):
                break
            pair, end = self.numbers(self.closing(start, "[", form), form)
            at = self.spaces(self.closing(end, "]", form))
            found.append(pair)
            if not self.source.startswith(",", at):
                break
        if trailing_comma and self.source.startswith(",", self.spaces(at)):
            at = self.spaces(self.spaces(at) + 1)
        return found, self.closing(at, ")", form)

    def pairs(self, points: list[list[Token]]) -> list[tuple[Token, Token]]:
        for point in points:
            if len(point) != 2:
                raise self.error(point[0], f"Was expecting 2 coordinates but instead found {len(point)}.")
        return [(point[0], point[1]) for point in points]

    def geo_bounding_box(self, at: int) -> tuple[Filter, int]:
        form = (
            "The `_geoBoundingBox` filter expects two pairs of arguments: "
            "`_geoBoundingBox([latitude, longitude], [latitude, longitude])`."
        )
        points, at = self.points(at, form, trailing_comma=False)
        if len(points) != 2:
            self.fail(at, form)
        top_right, bottom_left = self.pairs(points)
        return GeoBoundingBox(top_right, bottom_left), at

    def geo_polygon(self, at: int) -> tuple[Filter, int]:
        form = (
            "The `_geoPolygon` filter doesn't match the expected format: "
            "`_geoPolygon([latitude, longitude], [latitude, longitude])`."
        )
        points, at = self.points(at, form, trailing_comma=True)
        if len(points) < 3:
            raise self.error(
                points[-1][-1],
                f"The `_geoPolygon` filter expects at least 3 points but only {len(points)} were specified",
            )
        return GeoPolygon(tuple(self.pairs(points))), at

    # --- vectors ---

    def vectors(self, at: int) -> tuple[Filter, int] | None:
        """`_vectors[.embedder[.part]] [NOT] EXISTS`; None when this is no vector filter."""
        start = self.spaces(at)
        end = start + len("_vectors")
        if not self.source.startswith("_vectors", start):
            return None
        field = self.token(start, end)
        embedder = fragment = None
        part = None
        if self.spaces(end) == end:
            if not self.source.startswith(".", end):
                return None
            if self.source.startswith(" ", end + 1):
                raise self.error(
                    self.token(end + 1, end + 2), "Was expecting embedder name but found nothing."
                )
            embedder, end = self.vector_name(end + 1, "The vector filter's embedder name is invalid.")
            part, fragment, end = self.vector_part(end)
            if self.source.startswith(".", end):
                self.refuse_suffix(end + 1, part)
            if self.spaces(end) == end:
                self.fail(end, "The vector filter has leftover tokens.")
        end = self.spaces(end)
        found = _EXISTS.match(self.source, end)
        if found is None:
            self.fail(
                end, "Was expecting an operation like `EXISTS` or `NOT EXISTS` after the vector filter."
            )
        node = VectorExists(field, embedder, part, fragment)
        return (Not(node) if found.group(1) else node), found.end()

    def vector_part(self, at: int) -> tuple[str | None, Token | None, int]:
        for part in _VECTOR_PARTS:
            if self.source.startswith(f".{part}", at):
                end = at + 1 + len(part)
                if part != "fragments":
                    return part, None, end
                if not self.source.startswith(".", end):
                    self.fail(end, "The vector filter is missing a fragment name.")
                name, end = self.vector_name(end + 1, "The vector filter's fragment name is invalid.")
                return part, name, end
        return None, None, at

    def vector_name(self, at: int, message: str) -> tuple[Token, int]:
        if self.source[at : at + 1] in ("'", '"') and at < len(self.source):
            try:
                token, end = self.quoted(at)
                return self.unescaped(token), end
            except (_Backtrack, FilterSyntaxError):
                self.fail(at, "The quotes in one of the values are inconsistent.")
        end = at
        while end < len(self.source) and _is_word(self.source[end]) and self.source[end] != ".":
            end += 1
        if end == at:
            self.fail(at, message)
        return self.token(at, end), end

    def refuse_suffix(self, at: int, part: str | None) -> NoReturn:
        names = "`.fragments`, `.userProvided`, `.documentTemplate`, `.regenerate`"
        try:
            token, _ = self.vector_name(at, "")
        except FilterSyntaxError:
            raise self.error(
                self.token(at - 1, at),
                f"Was expecting one of {names} or nothing, but instead found a point without a valid value.",
            ) from None
        if part is not None:
            accepted = "`fragments`, `userProvided`, `documentTemplate` or `regenerate`"
            message = (
                f"Vector filter can only accept one of {accepted}, but found both `{part}` and `{token}`."
            )
        elif token.text in _VECTOR_PARTS:
            message = "Was expecting this part to be unquoted."
        else:
            accepted = names.replace("`.", "`")
            message = f"Was expecting one of {accepted} or nothing, but instead found `{token}`."
        raise self.error(token, message)


def _comparison(text: str) -> Op:
    ops: dict[str, Op] = {"=": "=", "!=": "!=", ">": ">", ">=": ">=", "<": "<", "<=": "<="}
    return ops[text]


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

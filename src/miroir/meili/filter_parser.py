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
from miroir.meili.filter_scanner import Backtrack, FilterSyntaxError, Scanner, escape_debug, is_word

_OPERATIONS = (
    "`=`, `!=`, `>=`, `>`, `<=`, `<`, `IN`, `NOT IN`, `TO`, `EXISTS`, `NOT EXISTS`, `IS NULL`, `IS NOT NULL`, "
    "`IS EMPTY`, `IS NOT EMPTY`, `CONTAINS`, `NOT CONTAINS`, `STARTS WITH`, `NOT STARTS WITH`, `_geoRadius`, "
    "`_geoBoundingBox` or `_geoPolygon`"
)
_COMPARISON = re.compile(r"<=|>=|!=|<|>|=")
_IS = re.compile(r"IS[ \t\r\n]+(?:(NOT)[ \t\r\n]+)?(NULL|EMPTY)")
_EXISTS = re.compile(r"(?:(NOT)[ \t\r\n]+)?EXISTS")
_MATCHES = re.compile(r"(?:(NOT)[ \t\r\n]+)?(CONTAINS|STARTS WITH)")
_TO = re.compile(r"TO[ \t\r\n]+")
_VECTOR_PARTS = ("fragments", "userProvided", "documentTemplate", "regenerate")


def parse_expression(source: str) -> Filter | None:
    """The tree of one expression; None when the text is blank. Raises FilterSyntaxError."""
    if not source.strip():
        return None
    parser = _Parser(source)
    try:
        node, at = parser.disjunction(0, 0)
    except Backtrack as stop:
        raise stop.refusal from None
    if at < len(source):
        rest = parser.rest(at)
        raise parser.error(
            rest,
            f"Found unexpected characters at the end of the filter: `{escape_debug(rest.text)}`. "
            "You probably forgot an `OR` or an `AND` rule.",
        )
    return node


class _Parser(Scanner):
    """Every method takes a position and returns what it read and the position after it."""

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
        except Backtrack as stop:
            if stop.keyword:
                raise stop.refusal from None
        rest = self.rest(at)
        found = f"at `{escape_debug(rest.text)}`." if rest.text.strip() else "but instead got nothing."
        raise self.error(rest, f"Was expecting an operation {_OPERATIONS} {found}")

    # --- conditions ---

    def condition(self, start: int, field: Token, at: int, depth: int) -> tuple[Filter, int]:
        """What follows a field name. Raises Backtrack when no operation fits."""
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
        except Backtrack:
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
        raise Backtrack(self.error(self.rest(start), ""))

    def operand(self, at: int) -> tuple[Token, int]:
        """A value that must be there."""
        try:
            return self.value(at)
        except Backtrack as stop:
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
        except Backtrack:
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
        except (Backtrack, FilterSyntaxError):
            end = at + 1
        found = escape_debug(self.source[end:])
        raise self.error(
            self.rest(end),
            "Was expecting a field name and an condition inside `_foreign(..)` filter but instead found "
            f"`{found}`.",
        )

    # --- geo ---

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
            except (Backtrack, FilterSyntaxError):
                self.fail(at, "The quotes in one of the values are inconsistent.")
        end = at
        while end < len(self.source) and is_word(self.source[end]) and self.source[end] != ".":
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

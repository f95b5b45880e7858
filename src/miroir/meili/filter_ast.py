"""The tree of a filter expression, and its text.

Two trees are equal when they mean the same words; where a token stood in the client's text is not compared.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from miroir.meili.refusals import compact_json

Op = Literal[
    "=", "!=", ">", ">=", "<", "<=", "TO", "IN", "EXISTS", "IS NULL", "IS EMPTY", "CONTAINS", "STARTS WITH"
]


@dataclass(frozen=True, slots=True)
class Token:
    """A word of the filter: its value, and where it stood (`start`, `size` in characters of `source`)."""

    text: str
    start: int = dataclasses.field(default=0, compare=False)
    size: int = dataclasses.field(default=0, compare=False)
    source: str = dataclasses.field(default="", compare=False, repr=False)

    def __str__(self) -> str:
        return self.text

    @property
    def place(self) -> str:
        """The last line of a filter error: `start:end text`, columns from 1 within their line."""
        column = self.start - self.source.rfind("\n", 0, self.start)
        return f"{column}:{column + self.size} {self.source}"


@dataclass(frozen=True, slots=True)
class Condition:
    """`field op values`: no value for EXISTS and IS, two for TO, any number for IN, else one."""

    field: Token
    op: Op
    values: tuple[Token, ...] = ()
    keyword: Token | None = dataclasses.field(default=None, compare=False)  #: of CONTAINS and STARTS WITH

    @property
    def name(self) -> str:
        """The field's path as text."""
        return self.field.text

    @property
    def value(self) -> str:
        """The text of the first value."""
        return self.values[0].text


@dataclass(frozen=True, slots=True)
class GeoRadius:
    """Within `radius` metres of the point (latitude, longitude)."""

    point: tuple[Token, Token]
    radius: Token
    resolution: Token | None = None


@dataclass(frozen=True, slots=True)
class GeoBoundingBox:
    """Inside a box given by two corners (latitude, longitude)."""

    top_right: tuple[Token, Token]
    bottom_left: tuple[Token, Token]


@dataclass(frozen=True, slots=True)
class GeoPolygon:
    """Inside a polygon of (latitude, longitude) corners."""

    points: tuple[tuple[Token, Token], ...]


@dataclass(frozen=True, slots=True)
class VectorExists:
    """`_vectors…` EXISTS. `part`: `fragments`, `userProvided`, `documentTemplate`, `regenerate` or None."""

    field: Token
    embedder: Token | None = None
    part: str | None = None
    fragment: Token | None = None


@dataclass(frozen=True, slots=True)
class Foreign:
    """`_foreign(field, condition)`: a join over a foreign key."""

    field: Token
    operand: Filter


@dataclass(frozen=True, slots=True)
class Not:
    operand: Filter


@dataclass(frozen=True, slots=True)
class And:
    operands: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    operands: tuple[Filter, ...]


Filter = And | Or | Not | Condition | GeoRadius | GeoBoundingBox | GeoPolygon | VectorExists | Foreign


def to_text(node: Filter) -> str:
    """The filter as the server re-serialises it, every word quoted; parses to an equal tree."""
    match node:
        case Not(operand):
            return f"NOT ({to_text(operand)})"
        case And(operands):
            return " AND ".join(f"({to_text(operand)})" for operand in operands)
        case Or(operands):
            return " OR ".join(f"({to_text(operand)})" for operand in operands)
        case Condition():
            return _condition_text(node)
        case GeoRadius(point, radius, resolution):
            members = [*point, radius] + ([resolution] if resolution else [])
            return f"_geoRadius({', '.join(member.text for member in members)})"
        case GeoBoundingBox(top_right, bottom_left):
            return f"_geoBoundingBox({_pair(top_right)}, {_pair(bottom_left)})"
        case GeoPolygon(points):
            return f"_geoPolygon({', '.join(_pair(point) for point in points)})"
        case VectorExists():
            return _vector_text(node)
        case Foreign(key, operand):
            return f"_foreign({_quoted(key)}, {to_text(operand)})"


def _condition_text(node: Condition) -> str:
    name = _quoted(node.field)
    values = [_quoted(value) for value in node.values]
    if node.op == "TO":
        return f"{name} {values[0]} TO {values[1]}"
    if node.op == "IN":
        return f"{name} IN [{', '.join(values)}]"
    return " ".join([name, node.op, *values])


def _vector_text(node: VectorExists) -> str:
    text = "_vectors"
    if node.embedder is not None:
        text += f".{_quoted(node.embedder)}"
    if node.part is not None:
        text += f".{node.part}"
    if node.fragment is not None:
        text += f".{_quoted(node.fragment)}"
    return f"{text} EXISTS"


def _quoted(token: Token) -> str:
    return compact_json(token.text)


def _pair(point: tuple[Token, Token]) -> str:
    return f"[{point[0].text}, {point[1].text}]"


def walk(node: Filter) -> Iterator[Filter]:
    """Every node, parents before children, left to right."""
    stack = [node]
    while stack:
        current = stack.pop()
        yield current
        if isinstance(current, Not | Foreign):
            stack.append(current.operand)
        elif isinstance(current, And | Or):
            stack.extend(reversed(current.operands))


def checked_fields(node: Filter) -> Iterator[Token]:
    """The attributes a filter names, in the order that the server checks them (the last one first)."""
    stack = [node]
    while stack:
        current = stack.pop()
        if isinstance(current, Condition | Foreign):
            yield current.field
        elif isinstance(current, Not):
            stack.append(current.operand)
        elif isinstance(current, And | Or):
            stack.extend(current.operands)

"""Sort expressions: `price:asc`, `_geoPoint(48.8, 2.3):desc`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NoReturn

from miroir.meili.codes import ApiError

Direction = Literal["asc", "desc"]

_GEO_HINT = " Use the _geoPoint(latitude, longitude) built-in rule to sort on _geo field coordinates."
_RESERVED = frozenset({"_geo", "_geoDistance", "_geoPoint", "_geoRadius", "_geoBoundingBox", "_geojson"})
_NUMBER = re.compile(r"[+-]?(?:nan|inf|infinity|[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Sort:
    """One sort criterion: a field path, or the distance to `point` (latitude, longitude)."""

    direction: Direction
    field: str | None = None
    point: tuple[float, float] | None = None

    @property
    def name(self) -> str:
        """The attribute that must be sortable."""
        return "_geo" if self.point is not None else self.field or ""

    def to_text(self) -> str:
        """The expression as a client writes it; parses to an equal value."""
        if self.point is None:
            return f"{self.field}:{self.direction}"
        return f"_geoPoint({float_text(self.point[0])}, {float_text(self.point[1])}):{self.direction}"


def float_text(value: float) -> str:
    """A float as the server prints it: shortest form, no exponent, no `.0`."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    text = repr(value)
    if "e" in text:
        text = f"{value:f}" if abs(value) >= 1 else f"{value:.400f}".rstrip("0")
        if abs(value) >= 1:
            text = str(int(value))
    return text.removesuffix(".0")


def bad_latitude(value: float) -> str:
    return f"Bad latitude `{float_text(value)}`. Latitude must be contained between -90 and 90 degrees."


def bad_longitude(value: float) -> str:
    hint = (value + 180.0) % 360.0 - 180.0
    return (
        f"Bad longitude `{float_text(value)}`. Longitude must be contained between -180 and 180 degrees. "
        f"Hint: try using `{float_text(hint)}` instead."
    )


@lru_cache(maxsize=1024)
def parse_sort(text: str, code: str = "invalid_search_sort") -> Sort:
    """One expression. Raises ApiError(code) with the server's words."""
    left, colon, direction = text.rpartition(":")
    if not colon or direction not in ("asc", "desc"):
        raise ApiError(
            code,
            "Invalid syntax for the sort parameter: expected expression ending by `:asc` or `:desc`, "
            f"found `{text}`.",
        )
    way: Direction = "asc" if direction == "asc" else "desc"
    if left.startswith("_geoPoint("):
        point = _point(left)
        if point is None:
            _reserved(left, code)
        if not -90.0 <= point[0] <= 90.0:
            raise ApiError(code, bad_latitude(point[0]))
        if not -180.0 <= point[1] <= 180.0:
            raise ApiError(code, bad_longitude(point[1]))
        return Sort(way, point=point)
    if is_reserved(left):
        _reserved(left, code)
    return Sort(way, field=left)


def is_reserved(name: str) -> bool:
    """Whether this is no field but a geo word of the server, with or without arguments."""
    return name.partition("(")[0] in _RESERVED


def _point(text: str) -> tuple[float, float] | None:
    members = text.removeprefix("_geoPoint(").removesuffix(")").split(",")
    if len(members) != 2 or not all(_NUMBER.fullmatch(member.strip()) for member in members):
        return None
    return float(members[0]), float(members[1])


def _reserved(name: str, code: str) -> NoReturn:
    if name.startswith("_geoPoint"):
        raise ApiError(
            code,
            "Invalid syntax for the geo parameter: expected expression formated like "
            f"`_geoPoint(latitude, longitude)` and ending by `:asc` or `:desc`, found `{name}`.",
        )
    hint = ""
    if name == "_geo":
        hint = _GEO_HINT
    for function in ("_geoRadius", "_geoBoundingBox"):
        if name.startswith(function):
            name, hint = function, _GEO_HINT
    raise ApiError(code, f"`{name}` is a reserved keyword and thus can't be used as a sort expression.{hint}")


def parse_sorts(texts: Iterable[str] | None, code: str = "invalid_search_sort") -> tuple[Sort, ...]:
    """Every expression of a `sort` parameter, in order."""
    return tuple(parse_sort(text, code) for text in texts or ())


def split_sort(text: str) -> tuple[str, ...]:
    """The members of a comma list of expressions; the comma inside `_geoPoint(1,2)` does not split."""
    members: list[str] = []
    merging = False
    for member in (part.strip() for part in text.strip('"').split(",")):
        if merging and not member.startswith("_geoPoint("):
            members[-1] += "," + member
            merging = not member.endswith(("):asc", "):desc"))
        else:
            members.append(member)
            merging = member.startswith("_geoPoint(")
    return tuple(members)


def not_sortable_error(
    name: str, sortable: Iterable[str], *, hidden: bool = False, code: str = "invalid_search_sort"
) -> ApiError:
    """The attribute is not in `sortableAttributes`; `sortable` are those that may be shown."""
    names = sorted(sortable)
    if not names and not hidden:
        tail = "This index does not have configured sortable attributes."
    else:
        shown = ", ".join(names)
        if hidden:
            shown = f"{shown}, <..hidden-attributes>" if shown else "<..hidden-attributes>"
        tail = f"Available sortable attributes are: `{shown}`."
    return ApiError(code, f"Attribute `{name}` is not sortable. {tail}")

"""Filters: from what a client sends to a tree, and the refusals that name a place in the filter's text.

`parse` takes the `filter` member of a request. On the search routes the server works on a re-serialised text
(`"zz" = "1"`), which later refusals quote: `reserialise` gives the tree with places in that text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, NoReturn

from miroir.meili.codes import ApiError
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
    checked_fields,
    to_text,
    walk,
)
from miroir.meili.filter_parser import parse_expression
from miroir.meili.filter_scanner import FilterSyntaxError
from miroir.meili.refusals import compact_json
from miroir.meili.sorting import bad_latitude, bad_longitude, float_text

__all__ = [
    "And",
    "Condition",
    "Filter",
    "Foreign",
    "GeoBoundingBox",
    "GeoPolygon",
    "GeoRadius",
    "Not",
    "Op",
    "Or",
    "Token",
    "VectorExists",
    "box_numbers",
    "check_features",
    "checked_fields",
    "conjunction",
    "fields_of",
    "located_error",
    "not_filterable_error",
    "operator_not_allowed_error",
    "parse",
    "polygon_numbers",
    "radius_numbers",
    "reserialise",
    "to_text",
    "walk",
]

_CODE = "invalid_search_filter"
_DEFAULT_RESOLUTION = 125.0


def parse(value: Any, code: str = _CODE) -> Filter | None:
    """The tree of a `filter` member; None when it filters nothing. Raises ApiError(code)."""
    match value:
        case None:
            return None
        case str():
            return _expression(value, code)
        case list() | tuple():
            return _array(value, code)
        case _:
            raise _wrong_type(value, code, "String", "Array")


def _array(members: Iterable[Any], code: str) -> Filter | None:
    # Types are checked through the whole value before the first expression is parsed.
    groups: list[list[str]] = []
    for member in members:
        if isinstance(member, str):
            groups.append([member])
        elif isinstance(member, list | tuple):
            for inner in member:
                if not isinstance(inner, str):
                    raise _wrong_type(inner, code, "String")
            groups.append(list(member))
        else:
            raise _wrong_type(member, code, "String", "[String]")
    operands: list[Filter] = []
    for group in groups:
        either = [node for text in group if (node := _expression(text, code)) is not None]
        if either:
            operands.append(either[0] if len(either) == 1 else Or(tuple(either)))
    if not operands:
        return None
    return operands[0] if len(operands) == 1 else And(tuple(operands))


def _wrong_type(value: Any, code: str, *expected: str) -> ApiError:
    return ApiError(
        code,
        f"Invalid syntax for the filter parameter: `expected {', '.join(expected)}, found: {compact_json(value)}`.",
    )


@lru_cache(maxsize=512)
def _cached(text: str) -> Filter | None:
    return parse_expression(text)


def _expression(text: str, code: str) -> Filter | None:
    try:
        return _cached(text)
    except FilterSyntaxError as error:
        raise ApiError(code, str(error)) from None
    except RecursionError:  # pragma: no cover - the depth limit comes first
        raise ApiError(code, "The filter exceeded the maximum depth limit.") from None


def reserialise(node: Filter) -> Filter:
    """The same filter with its places in `to_text(node)`."""
    again = _cached(to_text(node))
    assert again is not None
    return again


def conjunction(*nodes: Filter | None) -> Filter | None:
    """All of these; None when there is none."""
    operands = tuple(node for node in nodes if node is not None)
    if not operands:
        return None
    return operands[0] if len(operands) == 1 else And(operands)


def fields_of(node: Filter | None) -> frozenset[str]:
    """The attributes that a filter's conditions name; geo functions count as `_geo`."""
    if node is None:
        return frozenset()
    found: set[str] = set()
    for part in walk(node):
        match part:
            case Condition(field) | Foreign(field) | VectorExists(field):
                found.add(field.text)
            case GeoRadius() | GeoBoundingBox():
                found.add("_geo")
            case GeoPolygon():
                found.add("_geojson")
            case _:
                pass
    return frozenset(found)


def check_features(node: Filter | None, is_enabled: Callable[[str], bool]) -> None:
    """Operators behind experimental features. `is_enabled` takes `containsFilter`, `multimodal`, `foreignKeys`."""
    if node is None:
        return
    parts = list(walk(node))
    contains = _first_contains(parts)
    if contains is not None and not is_enabled("containsFilter"):
        _needs_feature(contains, "Using `CONTAINS` in a filter", "contains filter", 763)
    for part in parts:
        if isinstance(part, VectorExists) and not is_enabled("multimodal"):
            _needs_feature(part.field, "using a vector filter", "multimodal", 846)
        if isinstance(part, Foreign) and not is_enabled("foreignKeys"):
            _needs_feature(part.field, "using a foreign filter", "foreign_keys", 873)


def _first_contains(parts: list[Filter]) -> Token | None:
    for part in parts:
        if isinstance(part, Condition) and part.op == "CONTAINS":
            return part.keyword or part.field
    return None


def _needs_feature(place: Token, action: str, feature: str, discussion: int) -> NoReturn:
    raise ApiError(
        "feature_not_enabled",
        f"{action} requires enabling the `{feature}` experimental feature. "
        f"See https://github.com/orgs/meilisearch/discussions/{discussion}\n{place.place}",
    )


# --- refusals that need the index ---------------------------------------------------------------


def located_error(place: Token, message: str, code: str = _CODE) -> ApiError:
    """A refusal of two lines: the sentence, and the place in the filter's text."""
    return ApiError(code, f"{message}\n{place.place}")


def not_filterable_error(
    place: Token, patterns: Iterable[str], *, attribute: str | None = None, code: str = _CODE
) -> ApiError:
    """The attribute at `place` (or `attribute`) is not filterable; `patterns` are those that are."""
    names = sorted(set(patterns))
    if names:
        listed = ", ".join(f"`{name}`" for name in names)
        tail = f"Available filterable attribute patterns are: {listed}."
    else:
        tail = "This index does not have configured filterable attributes."
    name = place.text if attribute is None else attribute
    return located_error(place, f"Attribute `{name}` is not filterable. {tail}", code)


def geo_not_filterable_error(
    node: GeoRadius | GeoBoundingBox | GeoPolygon, patterns: Iterable[str], *, code: str = _CODE
) -> ApiError:
    """Neither `_geo` nor `_geojson` is filterable."""
    match node:
        case GeoRadius(point):
            place = point[0]
        case GeoBoundingBox(top_right):
            place = top_right[0]
        case GeoPolygon(points):
            return not_filterable_error(points[0][0], patterns, attribute="_geojson", code=code)
    return not_filterable_error(place, patterns, attribute="_geo/_geojson", code=code)


def operator_not_allowed_error(
    field: str, op: str, allowed: Iterable[str], rule_index: int, *, code: str = _CODE
) -> ApiError:
    """The filterable-attributes rule that matched does not switch this operator on."""
    feature = "comparison" if op in (">", ">=", "<", "<=", "TO") else "equality"
    return ApiError(
        code,
        f"Filter operator `{op}` is not allowed for the attribute `{field}`.\n"
        f"  - Note: allowed operators: {', '.join(allowed)}.\n"
        f"  - Note: field `{field}` matched rule #{rule_index} in `filterableAttributes`\n"
        f"  - Hint: enable {feature} in rule #{rule_index} by modifying the features.filter object\n"
        f"  - Hint: prepend another rule matching `{field}` with appropriate filter features before rule "
        f"#{rule_index}",
    )


# --- numbers of geo filters ---------------------------------------------------------------------


def _finite(token: Token, code: str) -> float:
    number = float(token.text)
    if number in (float("inf"), float("-inf")) or number != number:
        raise located_error(token, "Non finite floats are not supported", code)
    return number


def _point(point: tuple[Token, Token], code: str) -> tuple[float, float]:
    lat, lng = _finite(point[0], code), _finite(point[1], code)
    if not -90.0 <= lat <= 90.0:
        raise located_error(point[0], bad_latitude(lat), code)
    if not -180.0 <= lng <= 180.0:
        raise located_error(point[1], bad_longitude(lng), code)
    return lat, lng


def radius_numbers(node: GeoRadius, code: str = _CODE) -> tuple[tuple[float, float], float, float]:
    """((lat, lng), metres, resolution). Raises ApiError for values out of range."""
    point = _point(node.point, code)
    radius = _finite(node.radius, code)
    resolution = _DEFAULT_RESOLUTION
    if node.resolution is not None:
        resolution = float(max(0, int(_finite(node.resolution, code))))
        if not 3 <= resolution <= 1000:
            raise located_error(
                node.resolution,
                f"Invalid resolution `{float_text(resolution)}`. Resolution must be between 3 and 1000.",
                code,
            )
    return point, radius, resolution


def box_numbers(node: GeoBoundingBox, code: str = _CODE) -> tuple[tuple[float, float], tuple[float, float]]:
    """((top, right), (bottom, left)). Raises ApiError for values out of range or a box upside down."""
    top_right = _point(node.top_right, code)
    bottom_left = _point(node.bottom_left, code)
    if top_right[0] < bottom_left[0]:
        raise located_error(
            node.bottom_left[1],
            f"The top latitude `{float_text(top_right[0])}` is below the bottom latitude "
            f"`{float_text(bottom_left[0])}`.",
            code,
        )
    return top_right, bottom_left


def polygon_numbers(node: GeoPolygon, code: str = _CODE) -> tuple[tuple[float, float], ...]:
    """Corners as (lat, lng). Raises ApiError for values out of range."""
    return tuple(_point(point, code) for point in node.points)


def conditions(node: Filter | None) -> Iterator[Condition]:
    """Every condition of a filter, left to right."""
    if node is not None:
        for part in walk(node):
            if isinstance(part, Condition):
                yield part

"""Evaluating a filter to a set of documents.

Typing, unknown fields, and the order in which operands are reached (an error of an operand that is not
reached is not raised) follow search-semantics D.1 to D.3.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, assert_never

from pyroaring import BitMap

from miroir.engine.attribute_rules import AttributeRules, FilterableRule
from miroir.engine.facets import FacetIndex, FieldFacets
from miroir.engine.geo import Point, distance_m
from miroir.engine.shapes import Area, circle
from miroir.engine.vectors import Embedder
from miroir.meili.codes import ApiError
from miroir.meili.facet_forms import normal_facet
from miroir.meili.filters import (
    And,
    Condition,
    Filter,
    Foreign,
    GeoBoundingBox,
    GeoPolygon,
    GeoRadius,
    Not,
    Or,
    VectorExists,
    box_numbers,
    checked_fields,
    geo_not_filterable_error,
    located_error,
    not_filterable_error,
    operator_not_allowed_error,
    polygon_numbers,
    radius_numbers,
)
from miroir.meili.geo_field import parse_finite

if TYPE_CHECKING:
    from miroir.engine.index import Index

_COMPARISONS = frozenset({">", ">=", "<", "<=", "TO"})
_EQUALITIES = frozenset({"=", "!=", "IN"})
_EMPTY = FieldFacets()
_RADIUS_SLACK_M = 2.220446049250313e-16


def filter_documents(
    index: Index, node: Filter | None, everything: BitMap, code: str = "invalid_search_filter"
) -> BitMap:
    """The documents that a filter selects, out of `everything` (all documents of the index).

    Raises:
        ApiError: of the given code, when an attribute is not filterable, an operator is not allowed for it,
            or a number of a geo filter is out of range.
    """
    if node is None:
        return everything
    evaluation = _Evaluation(index, everything, code)
    evaluation.check(node)
    return evaluation.run(node, None)


class _Evaluation:
    """One filter over one index version."""

    def __init__(self, index: Index, everything: BitMap, code: str) -> None:
        self._index = index
        self._facets: FacetIndex = index.facets
        self._rules: AttributeRules = index.facets.rules
        self._everything = everything
        self._code = code

    def check(self, node: Filter) -> None:
        """Refuse the first attribute that is not filterable, before anything is evaluated."""
        for token in checked_fields(node):
            if not self._rules.is_filterable(token.text) and token.text not in ("_vectors", "_shard"):
                raise not_filterable_error(token, self._rules.patterns, code=self._code)

    def run(self, node: Filter, universe: BitMap | None) -> BitMap:
        """Evaluate within `universe` (None: everything); an empty universe is not evaluated at all."""
        if universe is not None and not universe:
            return BitMap()
        match node:
            case And(operands):
                return self._all_of(operands, universe)
            case Or(operands):
                return BitMap.union(BitMap(), *[self.run(operand, universe) for operand in operands])
            case Not(operand):
                return (self._everything if universe is None else universe) - self.run(operand, universe)
            case Condition():
                return self._condition(node)
            case GeoRadius() | GeoBoundingBox() | GeoPolygon():
                return self._geo(node)
            case VectorExists():
                found = self._vectors(node)
                return found if universe is None else found & universe
            case Foreign():
                raise located_error(
                    node.field, f"Attribute `{node.field.text}` is not a foreign key.", self._code
                )
            case _:
                assert_never(node)

    def _all_of(self, operands: Sequence[Filter], universe: BitMap | None) -> BitMap:
        found = self.run(operands[0], universe)
        for operand in operands[1:]:
            if not found:
                return found
            found = found & self.run(operand, found)
        return found

    # --- conditions -----------------------------------------------------------------------------

    def _condition(self, node: Condition) -> BitMap:
        if node.name == "_shard":
            raise ApiError(self._code, f"Shard `{node.value if node.values else ''}` does not exist")
        matched = self._rules.rule_of(node.name)
        if node.name not in self._facets.known or matched is None:
            # An attribute that no document ever had selects nothing, whatever the operator.
            return BitMap()
        self._check_operator(node, *matched)
        table = self._facets.table(node.name) or _EMPTY
        return self._operator(node, table)

    def _check_operator(self, node: Condition, position: int, rule: FilterableRule) -> None:
        op = node.op
        allowed = (
            rule.comparison
            if op in _COMPARISONS
            else rule.equality
            if op in _EQUALITIES
            else rule.is_filterable or op in ("CONTAINS", "STARTS WITH")
        )
        if not allowed:
            shown = "=" if op == "IN" else op
            raise operator_not_allowed_error(
                node.name, shown, _allowed_operators(rule), position, code="invalid_search_filter"
            )

    def _operator(self, node: Condition, table: FieldFacets) -> BitMap:
        texts = [value.text for value in node.values]
        match node.op:
            case "=" | "IN":
                return BitMap.union(BitMap(), *[_equal(table, text) for text in texts])
            case "!=":
                return self._everything - _equal(table, texts[0])
            case ">" | ">=":
                return _between(table, texts[0], None, open_low=node.op == ">")
            case "<" | "<=":
                return _between(table, None, texts[0], open_high=node.op == "<")
            case "TO":
                return _between(table, texts[0], texts[1])
            case "EXISTS":
                return table.exists
            case "IS NULL":
                return table.null
            case "IS EMPTY":
                return table.empty
            case "CONTAINS":
                part = normal_facet(texts[0])
                return BitMap.union(BitMap(), *[docs for key, docs in table.strings.items() if part in key])
            case "STARTS WITH":
                return _starting_with(table, normal_facet(texts[0]))

    # --- geo ------------------------------------------------------------------------------------

    def _geo(self, node: GeoRadius | GeoBoundingBox | GeoPolygon) -> BitMap:
        points, shapes = self._rules.is_geo_filterable, self._rules.has_shapes
        if isinstance(node, GeoPolygon):
            if not shapes:
                raise geo_not_filterable_error(node, self._rules.patterns, code=self._code)
            return self._meeting(Area.of([(lng, lat) for lat, lng in polygon_numbers(node, self._code)]))
        # Numbers are checked before the attribute.
        found = self._in_radius(node) if isinstance(node, GeoRadius) else self._in_box(node)
        if not (points or shapes):
            raise geo_not_filterable_error(node, self._rules.patterns, code=self._code)
        found = found if points else BitMap()
        return found | self._meeting(self._area(node)) if shapes else found

    def _area(self, node: GeoRadius | GeoBoundingBox) -> Area:
        if isinstance(node, GeoRadius):
            centre, radius, resolution = radius_numbers(node, self._code)
            return circle(centre, radius, int(resolution))
        (top, right), (bottom, left) = box_numbers(node, self._code)
        return Area.of([(right, top), (left, top), (left, bottom), (right, bottom)])

    def _meeting(self, area: Area) -> BitMap:
        return BitMap(docid for docid, figure in self._facets.shapes.items() if figure.meets(area))

    def _in_radius(self, node: GeoRadius) -> BitMap:
        centre, radius, _ = radius_numbers(node, self._code)
        points = self._facets.points
        return BitMap(
            docid for docid, point in points.items() if distance_m(centre, point) <= radius + _RADIUS_SLACK_M
        )

    def _in_box(self, node: GeoBoundingBox) -> BitMap:
        (top, right), (bottom, left) = box_numbers(node, self._code)

        def is_inside(point: Point) -> bool:
            lat, lng = point
            if not bottom <= lat <= top:
                return False
            # A box whose right side is left of its left side goes around the antimeridian.
            return lng >= left or lng <= right if right < left else left <= lng <= right

        return BitMap(docid for docid, point in self._facets.points.items() if is_inside(point))

    # --- vectors --------------------------------------------------------------------------------

    def _vectors(self, node: VectorExists) -> BitMap:
        embedders = self._index.vectors.embedders
        if node.embedder is None:
            return BitMap.union(BitMap(), *[_with_vectors(e, node.part) for e in embedders.values()])
        name = node.embedder.text
        if name not in embedders:
            if embedders:
                listed = ", ".join(f"`{n}`" for n in sorted(embedders))
                tail = f"Available embedders are: {listed}."
            else:
                tail = "This index does not have any configured embedders."
            raise located_error(node.embedder, f"The embedder `{name}` does not exist. {tail}", self._code)
        if node.part == "fragments" and node.fragment is not None:
            raise located_error(
                node.fragment,
                f"The fragment `{node.fragment.text}` does not exist on embedder `{name}`. "
                "This embedder does not have any configured fragments.",
                self._code,
            )
        return _with_vectors(embedders[name], node.part)


def _with_vectors(embedder: Embedder, part: str | None) -> BitMap:
    own = embedder.known - embedder.regenerates
    if part == "userProvided":
        return own
    if part == "documentTemplate":
        return embedder.documents - own
    if part == "regenerate":
        return embedder.documents & embedder.regenerates
    return embedder.documents


def _allowed_operators(rule: FilterableRule) -> list[str]:
    if not rule.is_filterable:
        return []
    operators = ["OR", "AND", "NOT"]
    if rule.equality:
        operators += ["=", "!=", "IN"]
    if rule.comparison:
        operators += ["<", ">", "<=", ">=", "TO"]
    return [*operators, "IS EMPTY", "IS NULL", "EXISTS"]


def _equal(table: FieldFacets, text: str) -> BitMap:
    found = table.strings.get(normal_facet(text))
    number = parse_finite(text)
    numbers = None if number is None else table.numbers.get(number)
    return BitMap.union(BitMap(), *[documents for documents in (found, numbers) if documents is not None])


def _between(
    table: FieldFacets, low: str | None, high: str | None, *, open_low: bool = False, open_high: bool = False
) -> BitMap:
    """Numbers in range when every given bound is one, and always the strings in byte order."""
    found = BitMap()
    numbers = [None if text is None else parse_finite(text) for text in (low, high)]
    if (low is None) == (numbers[0] is None) and (high is None) == (numbers[1] is None):
        keys = _range(table.number_order.keys, numbers[0], numbers[1], open_low=open_low, open_high=open_high)
        found |= BitMap.union(BitMap(), *[table.numbers[key] for key in keys])
    strings = [None if text is None else normal_facet(text) for text in (low, high)]
    keys = _range(table.string_order.keys, strings[0], strings[1], open_low=open_low, open_high=open_high)
    return found | BitMap.union(BitMap(), *[table.strings[key] for key in keys])


def _range(keys: Sequence[Any], low: Any, high: Any, *, open_low: bool, open_high: bool) -> Sequence[Any]:
    start = 0 if low is None else (bisect_right if open_low else bisect_left)(keys, low)
    end = len(keys) if high is None else (bisect_left if open_high else bisect_right)(keys, high)
    return keys[start:end]


def _starting_with(table: FieldFacets, prefix: str) -> BitMap:
    if not prefix:
        return table.exists
    keys = table.string_order.keys
    found = []
    for key in keys[bisect_left(keys, prefix) :]:
        if not key.startswith(prefix):
            break
        found.append(table.strings[key])
    return BitMap.union(BitMap(), *found)

"""In which attribute, and where in it, the words stand. Source: semantics C.8."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

from pyroaring import BitMap

from miroir.engine.graph import Located
from miroir.engine.ranking.graph_rule import Condition, GraphRule
from miroir.engine.resolve import Resolver

_POSITION_COST_MAX = 10


class _GroupedRule(GraphRule):
    """Conditions are groups of a node's documents by cost; the largest cost exists even without documents."""

    def __init__(self, resolver: Resolver, *, unified: bool = False) -> None:
        super().__init__(resolver)
        self.unified = unified

    def _grouped(
        self, target: Located, groups: Mapping[int, BitMap], cost: Callable[[int], int], cost_max: int
    ) -> list[tuple[int, Condition]]:
        found = [(cost(label), Condition(target, label)) for label in sorted(groups)]
        if all(c < cost_max for c, _ in found):
            found.append((cost_max, Condition(target, -1)))
        return found


class AttributeRankRule(_GroupedRule):
    """Cost per term: the weight of the best attribute that contains it."""

    name = "attributeRank"

    def conditions(self, source: Located | None, target: Located) -> Sequence[tuple[int, Condition]]:
        groups = self.resolver.documents_by_weight(target)
        weight_max = self.resolver.text.rules.max_weight or 0
        return self._grouped(target, groups, lambda weight: weight * target.size, weight_max * target.size)

    def documents(self, condition: Condition, universe: BitMap) -> BitMap:
        groups = self.resolver.documents_by_weight(condition.node)
        return groups.get(cast(int, condition.key), BitMap())


class WordPositionRule(_GroupedRule):
    """Cost per term: how far its best position is from its position in the query, in coarse steps."""

    name = "wordPosition"

    def conditions(self, source: Located | None, target: Located) -> Sequence[tuple[int, Condition]]:
        groups = self.resolver.documents_by_position_cost(target)
        return self._grouped(target, groups, lambda cost: cost, _POSITION_COST_MAX * target.size)

    def documents(self, condition: Condition, universe: BitMap) -> BitMap:
        groups = self.resolver.documents_by_position_cost(condition.node)
        return groups.get(cast(int, condition.key), BitMap())

"""How close neighbouring query words stand in the document. Source: semantics C.7."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from pyroaring import BitMap

from miroir.engine.graph import Located
from miroir.engine.ranking.graph_rule import Condition, GraphRule

#: Words that stand further apart than this many positions count as unrelated.
_DISTANCES = 3


class ProximityRule(GraphRule):
    """Cost per pair: 0 side by side, 1 one word between or reversed, 2 one more, 3 anything else."""

    name = "proximity"

    def conditions(self, source: Located | None, target: Located) -> Sequence[tuple[int, Condition]]:
        base = target.size - 1
        anywhere = Condition(target, None)
        if source is None or source.last_position + 1 != target.first_position:
            return [(base, anywhere)]
        pairs = [(base + c, Condition(target, (source, c))) for c in range(_DISTANCES)]
        return [*pairs, (base + _DISTANCES, anywhere)]

    def documents(self, condition: Condition, universe: BitMap) -> BitMap:
        if condition.key is None:
            return self.resolver.documents(condition.node)
        source, cost = cast(tuple[Located, int], condition.key)
        return self.resolver.neighbours.near(source, condition.node, cost + 1, cost, universe)

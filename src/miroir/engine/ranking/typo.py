"""How many typos stand between the query and the document. Source: semantics C.6."""

from __future__ import annotations

from collections.abc import Sequence

from pyroaring import BitMap

from miroir.engine.graph import Located, Zero
from miroir.engine.ranking.graph_rule import Condition, GraphRule


class TypoRule(GraphRule):
    """Cost: typos, plus 2 for a 2-gram and 3 for a 3-gram; a split word counts as one typo."""

    name = "typo"

    def conditions(self, source: Located | None, target: Located) -> Sequence[tuple[int, Condition]]:
        base = target.size if target.size > 1 else 0
        return [
            (base + typos, Condition(_restricted(target, typos), typos))
            for typos in range(self._typos_max(target) + 1)
        ]

    def documents(self, condition: Condition, universe: BitMap) -> BitMap:
        return self.resolver.documents(condition.node)

    def _typos_max(self, node: Located) -> int:
        term = self.resolver.terms[node.term]
        if term.typos == 0:
            return 0 if term.phrase is not None else 1
        if term.typos == 2 and node.two:
            return 2
        return 1 if node.one else 0


def _restricted(node: Located, typos: int) -> Located:
    if typos == 0:
        return node._replace(one=False, two=False)
    if typos == 1:
        return node._replace(zero=Zero.NOTHING, two=False)
    return node._replace(zero=Zero.NOTHING, one=False)

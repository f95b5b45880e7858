"""How many words of the query match; the matching strategy says which may be missing. Source: semantics C.5."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pyroaring import BitMap

from miroir.engine.graph import Located, QueryGraph, last_groups, removal_groups
from miroir.engine.ranking.graph_rule import Condition, GraphRule
from miroir.engine.resolve import Resolver

Strategy = Literal["last", "all", "frequency"]
_UNKNOWN_FREQUENCY = 1 << 62


def removable_groups(resolver: Resolver, graph: QueryGraph, strategy: Strategy) -> list[list[int]]:
    """Nodes in the order in which the strategy lets them go missing."""
    if strategy == "all":
        return []
    if strategy == "last":
        return last_groups(graph, resolver.is_mandatory)
    return _frequency_groups(resolver, graph)


def _frequency_groups(resolver: Resolver, graph: QueryGraph) -> list[list[int]]:
    """The most frequent terms first; terms that no document has count as most frequent of all."""
    documents: dict[int, BitMap] = {}
    for _, node in graph.terms():
        found = resolver.documents(node)
        for term_id in range(node.first_id, node.last_id + 1):
            documents[term_id] = documents[term_id] | found if term_id in documents else found
    frequency = {term_id: len(found) or _UNKNOWN_FREQUENCY for term_id, found in documents.items()}
    distinct = sorted(set(frequency.values()), reverse=True)
    return removal_groups(
        graph, resolver.is_mandatory, lambda term_id: 1 + distinct.index(frequency[term_id])
    )


def reduced_documents(resolver: Resolver, graph: QueryGraph, strategy: Strategy, universe: BitMap) -> BitMap:
    """Documents that match the query with everything left out that may be (semantics C.2)."""
    reduced = graph.copy()
    reduced.remove_keeping_paths(n for group in removable_groups(resolver, graph, strategy) for n in group)
    return resolver.graph_documents(reduced, universe)


class WordsRule(GraphRule):
    """Cost: the number of query terms left out."""

    name = "words"

    def __init__(self, resolver: Resolver, strategy: Strategy) -> None:
        super().__init__(resolver)
        self._strategy = strategy

    def conditions(self, source: Located | None, target: Located) -> Sequence[tuple[int, Condition]]:
        return [(0, Condition(target, None))]

    def documents(self, condition: Condition, universe: BitMap) -> BitMap:
        return self.resolver.documents(condition.node)

    def skippable(self, graph: QueryGraph) -> dict[int, frozenset[int]]:
        found: dict[int, frozenset[int]] = {}
        earlier: frozenset[int] = frozenset()
        for group in removable_groups(self.resolver, graph, self._strategy):
            found.update(dict.fromkeys(group, earlier))
            earlier = earlier.union(group)
        return found

    def extra_cost(self, graph: QueryGraph) -> int:
        in_phrases = 0
        for _, node in graph.terms():
            phrase = self.resolver.original_phrase(node)
            in_phrases += sum(word is not None for word in phrase or ())
        return max(in_phrases - 1, 0)

"""The generic ranking rule over the query graph. Source: semantics C.3.

Every edge into a node carries conditions, each with a cost; a path from start to end costs the sum of its
conditions. Documents go to the bucket of their cheapest path. The first path that finds a document claims
it; the paths that claimed something make the graph of the next rule.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from pyroaring import BitMap

from miroir.engine.graph import END, START, Located, QueryGraph, graph_of_paths
from miroir.engine.ranking.rule import Bucket
from miroir.engine.ranking.score import RankDetail, RankName
from miroir.engine.resolve import Resolver

_NONE: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Condition:
    """What a path asks of a document on the way to `node`; `key` tells conditions of one node apart."""

    node: Located  #: the node as the next rule may use it
    key: Hashable


@dataclass(slots=True)
class _Edge:
    target: int
    cost: int
    condition: int | None  #: None: the node is left out, or the end is reached
    excluded: frozenset[int] = _NONE  #: nodes that a path over this edge must leave out


class GraphRule(ABC):
    """Subclasses say which conditions lead to a node and which documents satisfy one."""

    name: RankName
    unified = False

    def __init__(self, resolver: Resolver) -> None:
        self.resolver = resolver

    @abstractmethod
    def conditions(self, source: Located | None, target: Located) -> Sequence[tuple[int, Condition]]:
        """(cost, condition) for every way from `source` (None: the start) to `target`, in order of visiting."""

    @abstractmethod
    def documents(self, condition: Condition, universe: BitMap) -> BitMap:
        """Documents that satisfy a condition; may hold others outside `universe`."""

    def skippable(self, graph: QueryGraph) -> dict[int, frozenset[int]]:
        """Nodes a path may leave out -> nodes it must then leave out too. Only the rule `words` has any."""
        return {}

    def extra_cost(self, graph: QueryGraph) -> int:
        """Added to the number of ranks."""
        return 0

    def start(self, universe: BitMap, graph: QueryGraph | None) -> None:
        assert graph is not None, "a graph rule needs a query"
        self._graph = graph
        self._conditions: list[Condition] = []
        self._found: dict[int, BitMap] = {}
        self._edges = self._build_edges(graph)
        self._costs = self._costs_to_end()
        self._next_cost = 0
        self._max_rank = 1 + self.extra_cost(graph) + max(self._costs[START], default=0)
        self._saw_dead = False

    def next_bucket(self, universe: BitMap) -> Bucket | None:
        if self._saw_dead:
            # Conditions that proved empty close paths; the number of ranks stays what it was.
            self._costs = self._costs_to_end()
            self._saw_dead = False
        cost = min((c for c in self._costs[START] if c >= self._next_cost), default=None)
        if cost is None:
            return None
        self._next_cost = cost + 1
        search = _PathSearch(self, universe.copy())
        search.visit(START, cost, search.remaining, _NONE)
        paths = [[self._conditions[c].node for c in path] for path in search.good_paths]
        detail = RankDetail(self.name, self._max_rank - cost, self._max_rank, self.unified)
        return Bucket(search.claimed, detail, graph_of_paths(paths))

    def _build_edges(self, graph: QueryGraph) -> list[list[_Edge]]:
        numbers: dict[Condition, int] = {}
        skippable = self.skippable(graph)
        edges: list[list[_Edge]] = [[] for _ in graph.nodes]
        for source, targets in enumerate(graph.successors):
            self.resolver.check_time()
            for target in targets:
                node = graph.nodes[target]
                if target == END or node is None:
                    edges[source].append(_Edge(END, 0, None))
                    continue
                if target in skippable:
                    edges[source].append(_Edge(target, node.size, None, skippable[target]))
                for cost, condition in self.conditions(graph.nodes[source], node):
                    number = numbers.get(condition)
                    if number is None:
                        number = numbers[condition] = len(self._conditions)
                        self._conditions.append(condition)
                    edges[source].append(_Edge(target, cost, number))
        return edges

    def _costs_to_end(self) -> list[frozenset[int]]:
        """For every node the possible costs of the rest of a path."""
        known: dict[int, frozenset[int]] = {END: frozenset((0,))}

        def visit(number: int) -> frozenset[int]:
            costs = known.get(number)
            if costs is None:
                costs = known[number] = frozenset(
                    edge.cost + rest
                    for edge in self._edges[number]
                    if not self._is_dead(edge)
                    for rest in visit(edge.target)
                )
            return costs

        return [visit(number) for number in range(len(self._edges))]

    def _is_dead(self, edge: _Edge) -> bool:
        found = None if edge.condition is None else self._found.get(edge.condition)
        return found is not None and not found

    def documents_of(self, condition: int, universe: BitMap) -> BitMap:
        """Documents that satisfy a condition, remembered until the next start: `universe` only shrinks."""
        found = self._found.get(condition)
        if found is None:
            self.resolver.check_time()
            found = self.documents(self._conditions[condition], universe) & universe
            self._found[condition] = found
            self._saw_dead |= not found
        return found

    def edges_from(self, number: int) -> list[_Edge]:
        return self._edges[number]

    def can_cost(self, number: int, cost: int) -> bool:
        """Whether the rest of a path from a node can cost exactly this."""
        return cost in self._costs[number]


class _PathSearch:
    """Depth-first walk over the paths of one total cost; documents are claimed by the first path."""

    def __init__(self, rule: GraphRule, universe: BitMap) -> None:
        self._rule = rule
        self.remaining = universe
        self.claimed = BitMap()
        self.good_paths: list[tuple[int, ...]] = []
        self._path: list[int] = []
        self._visited: set[int] = set()
        self._claims = 0

    def visit(self, number: int, budget: int, documents: BitMap, excluded: frozenset[int]) -> None:
        """Walk on from a node; `documents` satisfied every condition so far. Raises Late."""
        self._rule.resolver.check_time()
        claims = self._claims
        for edge in self._rule.edges_from(number):
            rest = budget - edge.cost
            if rest < 0 or not self._rule.can_cost(edge.target, rest):
                continue
            if not self.remaining:
                return
            if self._claims != claims:
                documents = documents & self.remaining
                claims = self._claims
                if not documents:
                    return
            if edge.condition is None:
                if edge.target == END:
                    self._claim(documents)
                else:
                    self.visit(edge.target, rest, documents, excluded | edge.excluded)
                continue
            if edge.target in excluded or not self._visited.isdisjoint(edge.excluded):
                continue
            found = documents & self._rule.documents_of(edge.condition, self.remaining)
            if not found:
                continue
            self._path.append(edge.condition)
            self._visited.add(edge.target)
            self.visit(edge.target, rest, found, excluded)
            self._visited.discard(edge.target)
            self._path.pop()

    def _claim(self, documents: BitMap) -> None:
        self.good_paths.append(tuple(self._path))
        self.claimed |= documents
        self.remaining -= documents
        self._claims += 1

"""The query graph: every way to read the query as a sequence of terms. Source: semantics B.8 and C.3 to C.5.

Nodes are numbered: 0 is the start, 1 the end, then terms in the order word i, 2-gram (i-1, i), 3-gram
(i-2, i-1, i). Ranking rules hand on smaller graphs made of the paths that found documents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from miroir.engine.query import QueryTerm, ngram_term
from miroir.engine.text import TextIndex

START, END = 0, 1


class Zero(IntEnum):
    """How much of a term's zero-typo content a node may use."""

    NOTHING = 0
    ALL = 1
    EXACT = 2  #: only the word as written, or the quoted phrase


class Located(NamedTuple):
    """A node: a term, the part of its derivations that is allowed, and its place in the query."""

    term: int  #: index into the search's list of terms
    first_id: int  #: term numbers it covers, without gaps
    last_id: int
    first_position: int  #: query positions it covers; stop words and hard separators leave gaps
    last_position: int
    zero: Zero = Zero.ALL
    one: bool = True
    two: bool = True
    mandatory: bool = False

    @property
    def size(self) -> int:
        """Number of query terms it covers."""
        return self.last_id - self.first_id + 1


@dataclass(slots=True)
class QueryGraph:
    """`nodes[i]` is None for start, end and removed nodes; edges are sorted lists of node numbers."""

    nodes: list[Located | None] = field(default_factory=lambda: [None, None])
    successors: list[list[int]] = field(default_factory=lambda: [[], []])
    predecessors: list[list[int]] = field(default_factory=lambda: [[], []])

    def terms(self) -> Iterable[tuple[int, Located]]:
        """Term nodes with their numbers, ascending."""
        return ((number, node) for number, node in enumerate(self.nodes) if node is not None)

    def copy(self) -> QueryGraph:
        return QueryGraph(
            list(self.nodes), [list(s) for s in self.successors], [list(p) for p in self.predecessors]
        )

    def add_edge(self, source: int, target: int) -> None:
        if target not in self.successors[source]:
            self.successors[source] = sorted((*self.successors[source], target))
            self.predecessors[target] = sorted((*self.predecessors[target], source))

    def remove_keeping_paths(self, removed: Iterable[int]) -> None:
        """Remove nodes, joining what came before each to what came after it."""
        for number in removed:
            before, after = self.predecessors[number], self.successors[number]
            for source in before:
                self.successors[source] = sorted({*self.successors[source], *after} - {number})
            for target in after:
                self.predecessors[target] = sorted({*self.predecessors[target], *before} - {number})
            self.nodes[number] = None
            self.successors[number], self.predecessors[number] = [], []


def build_graph(text: TextIndex, parsed: Sequence[QueryTerm]) -> tuple[QueryGraph, list[QueryTerm]]:
    """The full graph, and all terms it refers to (the parsed ones first, then n-grams)."""
    terms = list(parsed)
    graph = QueryGraph()

    def add(number: int, term: QueryTerm, first_id: int, last_id: int) -> None:
        graph.nodes.append(Located(number, first_id, last_id, *term.positions))
        graph.successors.append([])
        graph.predecessors.append([])

    for last, term in enumerate(parsed):
        add(last, term, last, last)
        for size in (2, 3):
            first = last - size + 1
            if first < 0:
                continue
            ngram = ngram_term(text, list(parsed[first : last + 1]))
            if ngram is not None:
                terms.append(ngram)
                add(len(terms) - 1, ngram, first, last)
    _connect(graph)
    return graph, terms


def _connect(graph: QueryGraph) -> None:
    """Join every node to the nodes of the nearest following term, or to the end."""
    located = list(graph.terms())
    for number, last_id in [(START, -1), *((n, node.last_id) for n, node in located)]:
        nearest = min((node.first_id for _, node in located if node.first_id > last_id), default=None)
        if nearest is None:
            graph.add_edge(number, END)
            continue
        for target, node in located:
            if node.first_id == nearest:
                graph.add_edge(number, target)


def graph_of_paths(paths: Iterable[Sequence[Located]]) -> QueryGraph:
    """A graph of exactly these paths; equal endings share their nodes."""
    graph = QueryGraph()
    numbers: dict[tuple[Located, ...], int] = {}
    for path in paths:
        ids: list[int] = []
        for place in range(len(path)):
            ending = tuple(path[place:])
            number = numbers.get(ending)
            if number is None:
                number = numbers[ending] = len(graph.nodes)
                graph.nodes.append(path[place])
                graph.successors.append([])
                graph.predecessors.append([])
            ids.append(number)
        for source, target in zip([START, *ids], [*ids, END], strict=True):
            graph.add_edge(source, target)
    return graph


def removal_groups(
    graph: QueryGraph, is_mandatory: Callable[[Located], bool], cost: Callable[[int], int]
) -> list[list[int]]:
    """Nodes in the order in which they may be left out; `cost` numbers the group of a term id.

    A phrase is mandatory; if there is none, the last group is.
    """
    groups: dict[int, list[int]] = {}
    has_mandatory = False
    for number, node in graph.terms():
        if is_mandatory(node):
            has_mandatory = True
            continue
        group = max(cost(term_id) for term_id in range(node.first_id, node.last_id + 1))
        groups.setdefault(group, []).append(number)
    ordered = [groups[key] for key in sorted(groups)]
    if not has_mandatory and ordered:
        ordered.pop()
    return ordered


def last_groups(graph: QueryGraph, is_mandatory: Callable[[Located], bool]) -> list[list[int]]:
    """Removal groups of the strategy `last`: from the end of the query."""
    ids = [term_id for _, node in graph.terms() for term_id in (node.first_id, node.last_id)]
    if not ids or min(ids) >= max(ids):
        return []
    last = max(ids)
    return removal_groups(graph, is_mandatory, lambda term_id: 1 + last - term_id)

"""Query graphs."""

from __future__ import annotations

from miroir.engine.graph import END, START, Located, QueryGraph, build_graph, graph_of_paths, last_groups
from miroir.engine.query import parse_query
from tests.unit.engine.searching import text_index

TEXT = text_index([])


def full_graph(q: str) -> tuple[QueryGraph, list[str]]:
    graph, terms = build_graph(TEXT, parse_query(TEXT, q).terms)
    return graph, ["", "", *(terms[node.term].original for _, node in graph.terms())]


def paths(graph: QueryGraph, names: list[str], number: int = START) -> set[tuple[str, ...]]:
    if number == END:
        return {()}
    return {
        (*(() if target == END else (names[target],)), *rest)
        for target in graph.successors[number]
        for rest in paths(graph, names, target)
    }


def test_words_and_ngrams() -> None:
    """Every way to read three words, nodes in the order word, 2-gram, 3-gram."""
    graph, names = full_graph("a b c ")
    assert names[2:] == ["a", "b", "ab", "c", "bc", "abc"]
    assert paths(graph, names) == {("a", "b", "c"), ("ab", "c"), ("a", "bc"), ("abc",)}


def test_groups_from_the_end() -> None:
    """Nodes with the first term stay; a phrase makes all words removable."""
    graph, names = full_graph("a b c ")
    groups = last_groups(graph, lambda node: False)
    assert [[names[n] for n in group] for group in groups] == [["c"], ["b", "bc"]]
    graph, names = full_graph('"x y" b c ')
    groups = last_groups(graph, lambda node: node.term == 0)
    assert [[names[n] for n in group] for group in groups] == [["c"], ["b", "bc"]]
    assert last_groups(full_graph("a ")[0], lambda node: False) == []


def test_removing_nodes_keeps_paths() -> None:
    graph, names = full_graph("a b c ")
    graph.remove_keeping_paths([n for group in last_groups(graph, lambda node: False) for n in group])
    assert paths(graph, names) == {("a",), ("ab",), ("abc",)}
    assert all(source not in targets for source, targets in enumerate(graph.successors))


def test_graph_of_paths_has_exactly_these_paths() -> None:
    """Endings are shared; no path is added by sharing."""
    a, b, c, d = (Located(i, i, i, i, i) for i in range(4))
    wanted = {(a, b, d), (c, b, d), (a, c)}
    graph = graph_of_paths(sorted(wanted))
    names = [str(node) for node in graph.nodes]
    assert paths(graph, names) == {tuple(map(str, path)) for path in wanted}
    assert len(list(graph.terms())) == 6

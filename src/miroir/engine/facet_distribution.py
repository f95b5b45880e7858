"""`facetDistribution` and `facetStats`: which values stand in a set of candidates, in which order, how many.

The order and the cut follow the server's two ways of counting: up to 3,000 candidates an alphabetical
facet is counted document by document (numbers sorted as text), else over the facet tree
(search-semantics D.5). The tree matters for the order of equal counts, so its shape is imitated.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pyroaring import BitMap

from miroir.engine.facet_tree import FacetTree
from miroir.engine.facets import FacetIndex, FieldFacets
from miroir.engine.geo import shown_float
from miroir.meili.settings_rules import is_inside, matches_pattern, value_order

#: Up to this many candidates alphabetical facets are counted document by document.
CANDIDATES_THRESHOLD = 3000
DEFAULT_MAX_VALUES = 100

Distribution = dict[str, dict[str, int]]
Stats = dict[str, dict[str, float]]


def selected_fields(index: FacetIndex, facets: Iterable[str]) -> dict[str, bool]:
    """Known filterable paths that the requested patterns name, sorted, with their children.

    The value says whether a pattern names the path itself: a child that comes only with its parent follows
    the `*` of `sortFacetValuesBy`.
    """
    patterns = tuple(facets)
    known = [path for path in index.known.union(index.fields) if index.rules.is_filterable(path)]
    named = {path for path in known if any(matches_pattern(pattern, path) for pattern in patterns)}
    return {path: path in named for path in sorted(known) if any(is_inside(path, name) for name in named)}


def facet_distribution(
    index: FacetIndex, settings: Mapping[str, Any], facets: Sequence[str], candidates: BitMap
) -> tuple[Distribution, Stats]:
    """Counts per value and stats per numeric facet over `candidates`, both by path in order of names."""
    faceting = settings.get("faceting") or {}
    limit = faceting.get("maxValuesPerFacet", DEFAULT_MAX_VALUES)
    distribution: Distribution = {}
    stats: Stats = {}
    for path, is_named in selected_fields(index, facets).items():
        table = index.fields.get(path, _EMPTY)
        by_count = value_order(settings, path if is_named else "*") == "count"
        distribution[path] = field_distribution(table, candidates, limit=limit, by_count=by_count)
        bounds = number_bounds(table, candidates)
        if bounds is not None:
            stats[path] = {"min": bounds[0], "max": bounds[1]}
    return distribution, stats


_EMPTY = FieldFacets()


def number_bounds(table: FieldFacets, candidates: BitMap) -> tuple[float, float] | None:
    """Smallest and largest number among the candidates."""
    if not table.with_number.intersect(candidates):
        return None
    keys = table.number_order.keys
    least = next(key for key in keys if table.numbers[key].intersect(candidates))
    most = next(key for key in reversed(keys) if table.numbers[key].intersect(candidates))
    return least, most


def field_distribution(
    table: FieldFacets, candidates: BitMap, *, limit: int, by_count: bool
) -> dict[str, int]:
    """Counts by shown value of one path, ordered and cut as the server does."""
    if not by_count and len(candidates) <= CANDIDATES_THRESHOLD:
        return _by_documents(table, candidates, limit)
    shown: dict[str, int] = {}
    found = candidates & table.with_number
    for key, count, _ in _walk(
        table.number_order.keys, table.numbers, found, table.number_shape if by_count else None
    ):
        shown[shown_float(key)] = count
        if len(shown) == limit:
            break
    found = candidates & table.with_string
    for text, count, docid in _walk(
        table.string_order.keys, table.strings, found, table.string_shape if by_count else None
    ):
        shown[table.original(docid, text)] = count
        if len(shown) == limit:
            break
    return shown


def _by_documents(table: FieldFacets, candidates: BitMap, limit: int) -> dict[str, int]:
    numbers: dict[float, int] = {}
    for docid in candidates & table.with_number:
        for number in table.values[docid].numbers:
            numbers[number] = numbers.get(number, 0) + 1
    strings: dict[str, list[Any]] = {}
    for docid in candidates & table.with_string:
        for key, original in table.values[docid].strings.items():
            entry = strings.get(key)
            if entry is None:
                strings[key] = [original, 1]
            else:
                entry[1] += 1
    shown = dict(sorted((shown_float(number), count) for number, count in numbers.items())[:limit])
    for key in sorted(strings)[: max(0, limit - len(shown))]:
        original, count = strings[key]
        shown[original] = count
    return shown


def _walk(
    keys: Sequence[Any], postings: Mapping[Any, BitMap], candidates: BitMap, tree: FacetTree | None
) -> Iterable[Any]:
    """(key, count, lowest docid) of every key among the candidates: by count with a tree, else in order."""
    if not candidates:
        return
    if tree is not None:
        yield from _by_falling_count(keys, postings, candidates, tree)
        return
    for key in keys:
        common = postings[key] & candidates
        if common:
            yield key, len(common), common.min()


def _by_falling_count(
    keys: Sequence[Any], postings: Mapping[Any, BitMap], candidates: BitMap, tree: FacetTree
) -> Iterable[Any]:
    """Keys as they leave a heap over the facet tree: larger count first, then leaves, then larger keys."""
    levels = _levels(keys, tree, [postings[key] & candidates for key in keys])
    heap: list[tuple[int, int, int, int]] = []

    def push(level: int, place: int) -> None:
        count = len(levels[level][place][1])
        if count:
            # The heap gives its smallest: negate the count, lower levels first, larger keys first.
            heapq.heappush(heap, (-count, level, -place, place))

    for place in range(len(levels[-1])):
        push(len(levels) - 1, place)
    while heap:
        _, level, _, place = heapq.heappop(heap)
        start, common, size = levels[level][place]
        if level == 0:
            yield keys[place], len(common), common.min()
            continue
        for child in range(start, start + size):
            push(level - 1, child)


_Level = list[tuple[int, BitMap, int]]  #: (first child, documents, number of children) of every group


def _levels(keys: Sequence[Any], tree: FacetTree, leaves: Sequence[BitMap]) -> list[_Level]:
    """Groups of candidates by level, leaves first."""
    levels: list[_Level] = [[(place, documents, 1) for place, documents in enumerate(leaves)]]
    below_names = keys
    for names in tree.levels:
        starts = [bisect_left(below_names, name) for name in names]
        below = levels[-1]
        groups: _Level = []
        for start, end in zip(starts, [*starts[1:], len(below)], strict=True):
            groups.append((start, BitMap.union(BitMap(), *(m[1] for m in below[start:end])), end - start))
        levels.append(groups)
        below_names = names
    return levels

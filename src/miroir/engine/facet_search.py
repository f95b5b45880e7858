"""Searching the values of one facet: by prefix, with typos, in order of value or of count.

Source: search-semantics D.6.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from pyroaring import BitMap

from miroir.engine.attribute_rules import AttributeRules
from miroir.engine.facet_distribution import DEFAULT_MAX_VALUES
from miroir.engine.facets import FacetIndex, FieldFacets
from miroir.engine.filtering import filter_documents
from miroir.engine.index import Index
from miroir.engine.search import check_embeddable, check_embedder, everything, find, max_total_hits
from miroir.meili import filters
from miroir.meili.codes import ApiError
from miroir.meili.commands import FacetSearchQuery
from miroir.meili.facet_matching import FacetMatcher, strong_form
from miroir.meili.settings_rules import attribute_list

FacetHit = dict[str, Any]
_Found = tuple[str, int]  #: value as shown, count


def check_facet_search(rules: AttributeRules, settings: Mapping[str, Any], name: str) -> None:
    """Refuse when facet search is off, or the facet is not searchable.

    Raises:
        ApiError: `facet_search_disabled` or `invalid_facet_search_facet_name`.
    """
    if not settings.get("facetSearch", True):
        raise ApiError("facet_search_disabled", "The facet search is disabled for this index")
    matched = rules.rule_of(name)
    if matched is not None and matched[1].facet_search:
        return
    start = f"Attribute `{name}` is not facet-searchable."
    listed = sorted({p for rule in rules.filterable if rule.facet_search for p in rule.shown_patterns})
    displayed = attribute_list(settings, "displayedAttributes")
    shown = listed if "*" in displayed else [p for p in listed if p in displayed]
    to_make = "To make it facet-searchable add it to the `filterableAttributes` index settings."
    if matched is not None:
        place = matched[0]
        rest = (
            f"Note: this attribute matches rule #{place} in filterableAttributes, but this rule does not enable "
            f'facetSearch.\nHint: enable facetSearch in rule #{place} by adding `"facetSearch": true` to the rule.\n'
            f"Hint: prepend another rule matching {name} with facetSearch: true before rule #{place}"
        )
    elif shown:
        hidden = ", <..hidden-attributes>" if len(shown) < len(listed) else ""
        rest = f"Available facet-searchable attributes patterns are: `{', '.join(shown)}{hidden}`. {to_make}"
    else:
        rest = f"This index does not have configured facet-searchable attributes. {to_make}"
    raise ApiError("invalid_facet_search_facet_name", f"{start} {rest}")


def facet_hits(
    index: FacetIndex, settings: Mapping[str, Any], name: str, query: str | None, candidates: BitMap
) -> list[FacetHit]:
    """`facetHits`: string values of the facet among the candidates, those that match when there is a query."""
    table = index.table(name)
    if table is None:
        return []
    faceting = settings.get("faceting") or {}
    limit = faceting.get("maxValuesPerFacet", DEFAULT_MAX_VALUES)
    orders = faceting.get("sortFacetValuesBy") or {}
    keys = table.string_order.keys if query is None else _matching_keys(table, settings, name, query)
    found = _counted(table, keys, candidates)
    if orders.get(name, orders.get("*", "alpha")) == "count":
        chosen = _most_frequent(found, limit)
    else:
        chosen = [pair for _, pair in zip(range(limit), found, strict=False)]
    return [{"value": value, "count": count} for value, count in chosen]


def _counted(table: FieldFacets, keys: Iterable[str], candidates: BitMap) -> Iterator[_Found]:
    for key in keys:
        documents = table.strings[key]
        count = documents.intersection_cardinality(candidates)
        if count:
            yield table.original(documents.min(), key), count


def _most_frequent(found: Iterable[_Found], limit: int) -> list[_Found]:
    # A full heap gives up its worst member for any later value that is at least as frequent.
    heap: list[tuple[int, str]] = []
    for value, count in found:
        if len(heap) < limit:
            heapq.heappush(heap, (count, value))
        elif heap and heap[0][0] <= count:
            heapq.heapreplace(heap, (count, value))
    return [(value, count) for count, value in sorted(heap, reverse=True)]


def _matching_keys(table: FieldFacets, settings: Mapping[str, Any], name: str, query: str) -> list[str]:
    """Keys whose stronger normal form starts with the query's, give or take typos, in order of that form."""
    matcher = FacetMatcher(settings, name, query)
    found = [key for key in table.string_order.keys if matcher.matches(key)]
    return sorted(found, key=strong_form)


def facet_search(
    index: Index, query: FacetSearchQuery, *, is_enabled: Callable[[str], bool]
) -> dict[str, Any]:
    """The answer of `/facet-search`, without the time.

    Raises:
        ApiError: the facet cannot be searched, or the accompanying search does not fit the index.
    """
    check_embedder(index, query.search)
    filters.check_features(filters.parse(query.search.filter, "invalid_search_filter"), is_enabled)
    check_embeddable(query.search)
    if not index.settings.get("facetSearch", True):
        raise ApiError("facet_search_disabled", "The facet search is disabled for this index")
    candidates = _candidates(index, query, is_enabled)
    check_facet_search(index.facets.rules, index.settings, query.facet_name)
    hits = facet_hits(index.facets, index.settings, query.facet_name, query.facet_query, candidates)
    return {"facetHits": hits, "facetQuery": query.facet_query}


def _candidates(index: Index, query: FacetSearchQuery, is_enabled: Callable[[str], bool]) -> BitMap:
    """What the accompanying search finds; a semantic or hybrid one finds everything that passes the filter."""
    search = query.search
    hybrid = search.hybrid
    has_words = search.q is not None and bool(search.q.strip())
    node = filters.parse(search.filter, "invalid_search_filter")
    # Refusals show the filter as typed here, not as the search would re-serialise it.
    filtered = filter_documents(index, node, everything(index))
    if hybrid is not None and hybrid.semantic_ratio > 0 and (search.vector is not None or has_words):
        return filtered
    if query.exhaustive_facet_count:
        return find(index, replace(search, page=0), 0, is_enabled=is_enabled).candidates
    return find(index, search, min(20, max_total_hits(index.settings)), is_enabled=is_enabled).candidates

"""Requests that name what is ours: refused, so that our values in documents are never seen, used or spoilt. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from miroir.core.reserved import RESERVED_PREFIX
from miroir.meili.codes import ApiError
from miroir.meili.commands import FacetSearchQuery, MultiSearch, SearchQuery, SimilarQuery
from miroir.meili.filter_ast import Condition, Foreign, walk
from miroir.meili.filters import parse

#: Settings that name attributes, or hold objects that do.
_NAMING = (
    "displayedAttributes",
    "searchableAttributes",
    "filterableAttributes",
    "sortableAttributes",
    "rankingRules",
    "distinctAttribute",
    "faceting",
    "typoTolerance",
    "localizedAttributes",
)
#: Settings that could make words of the separators our values consist of.
_SPELLING = ("nonSeparatorTokens", "dictionary")
_OURS = frozenset(map(chr, range(0x0700, 0x070E)))


def refuse_names(names: Iterable[str | None]) -> None:
    """Raise ApiError for the first name that is ours."""
    for name in names:
        if name is not None and name.startswith(RESERVED_PREFIX):
            raise ApiError(
                "miroir_reserved_field",
                f"The field `{name}` is reserved: names beginning with `{RESERVED_PREFIX}` belong to Miroir.",
            )


def refuse_filter(value: Any, code: str = "invalid_search_filter") -> None:
    """Raise ApiError for a filter about a field of ours (or one that does not parse)."""
    if value is None or RESERVED_PREFIX not in str(value):
        return
    tree = parse(value, code)
    if tree is not None:
        refuse_names(node.field.text for node in walk(tree) if isinstance(node, Condition | Foreign))


def refuse_search(query: SearchQuery) -> None:
    """Raise ApiError for a search that filters, sorts, counts or groups by a field of ours."""
    refuse_filter(query.filter)
    refuse_names(query.sort or ())
    refuse_names(query.facets or ())
    refuse_names((query.distinct,))


def refuse_multi_search(request: MultiSearch) -> None:
    """The same for every query, and for the federation."""
    for item in request.queries:
        refuse_search(item.search)
    if request.federation is not None:
        refuse_names((request.federation.distinct,))
        for names in request.federation.facets_by_index.values():
            refuse_names(names or ())


def refuse_facet_search(query: FacetSearchQuery) -> None:
    """The same for a search among the values of a facet."""
    refuse_names((query.facet_name,))
    refuse_search(query.search)


def refuse_similar(query: SimilarQuery) -> None:
    """The same for similar documents."""
    refuse_filter(query.filter, "invalid_similar_filter")


def refuse_settings(patch: Mapping[str, Any]) -> None:
    """Raise ApiError for settings about fields of ours, or that would make our values searchable."""
    for key in _NAMING:
        refuse_names(_texts(patch.get(key)))
    for key in _SPELLING:
        if any(_OURS & set(text) for text in _texts(patch.get(key))):
            raise ApiError(
                "miroir_reserved_field",
                f"`{key}` may not hold the characters U+0700 to U+070D: they belong to Miroir.",
            )


def _texts(value: Any) -> Iterator[str]:
    """Every text in a JSON value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key)
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)

"""Decoding of searches: POST bodies and GET parameters to `SearchQuery`, and back to JSON.

What needs no state is checked here: types, ranges, enums; for searches, once the index uid is known to be one, the
syntax of `filter`; then features; then, once the index is known to exist, the rest (sort
syntax and sortability, distinct, facets, `attributesToSearchOn`, embedders; for facet searches and similar
searches the filter too) comes after the index is known to exist.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields as dataclass_fields
from typing import Any

import orjson

from miroir.meili import decode, filters, query_params
from miroir.meili.codes import ApiError
from miroir.meili.commands import FacetSearchQuery, Federation, Hybrid, SearchQuery, SimilarQuery
from miroir.meili.document_ids import decode_id
from miroir.meili.multi_search import check_item, decode_multi_search
from miroir.meili.search_fields import (
    FACET_SEARCH_FIELDS,
    SEARCH_FIELDS,
    SEARCH_PARAMS,
    SIMILAR_FIELDS,
    SIMILAR_PARAMS,
)
from miroir.meili.search_kinds import check_embedder, require_hybrid
from miroir.meili.sorting import Sort, parse_sort, parse_sorts

__all__ = [
    "Sort",
    "check_item",
    "decode_facet_search",
    "decode_multi_search",
    "decode_search",
    "decode_search_params",
    "decode_similar",
    "decode_similar_params",
    "parse_sort",
    "parse_sorts",
    "require_hybrid",
    "to_json",
]


def decode_search(body: object) -> SearchQuery:
    """POST /indexes/{uid}/search. Raises ApiError."""
    return SearchQuery(**decode.arguments(decode.object_fields(body, SEARCH_FIELDS)))


def decode_search_params(params: list[tuple[str, str]]) -> SearchQuery:
    """GET /indexes/{uid}/search, parameters decoded and in order. Raises ApiError for single ones."""
    found = query_params.param_fields(params, SEARCH_PARAMS)
    embedder = found.pop("hybridEmbedder", None)
    ratio = found.pop("hybridSemanticRatio", None)
    context = found.pop("personalizeUserContext", None)
    if embedder is None:
        if ratio is not None:
            found["refused"] = ApiError(
                "invalid_search_hybrid_query",
                "`hybridEmbedder` is mandatory when `hybridSemanticRatio` is present",
            )
        elif "vector" in found:
            found["refused"] = ApiError(
                "missing_search_hybrid", "`hybridEmbedder` is mandatory when `vector` is present"
            )
    else:
        found["hybrid"] = Hybrid(embedder, 0.5 if ratio is None else ratio)
    if context is not None:
        found["personalize"] = {"userContext": context}
    return SearchQuery(**decode.arguments(found))


def check_filter(query: SearchQuery) -> SearchQuery:
    """The query, once its parameters together and the syntax of its filter are known to be right. Raises ApiError."""
    if query.refused is not None:
        raise query.refused
    filters.parse(query.filter)
    return query


def check_features(query: SearchQuery, is_enabled: Callable[[str], bool]) -> None:
    """What experimental features refuse before the index is looked for. Raises ApiError."""
    if query.use_network is not None and not is_enabled("network"):
        raise ApiError(
            "feature_not_enabled",
            "passing `useNetwork` in a search query requires enabling the `network` experimental feature. "
            "See https://github.com/orgs/meilisearch/discussions/805",
        )
    filters.check_features(filters.parse(query.filter), is_enabled)


def check_query(query: SearchQuery, settings: Mapping[str, Any]) -> None:
    """What is refused once the index is known to exist, before it is looked at more closely. Raises ApiError."""
    require_hybrid(query)
    check_embedder(settings, query)
    parse_sorts(query.sort)


def check_personalize(asked: SearchQuery | Federation) -> None:
    """What is refused once the hits are there: nobody ranks them for a person. Raises ApiError."""
    if asked.personalize is not None:
        raise ApiError(
            "feature_not_enabled",
            "reranking search results requires enabling the `personalization` experimental feature. "
            "See https://github.com/orgs/meilisearch/discussions/866",
        )


def decode_facet_search(body: object) -> FacetSearchQuery:
    """POST /indexes/{uid}/facet-search; unknown members are tolerated. Raises ApiError."""
    found = decode.object_fields(body, FACET_SEARCH_FIELDS, allow_unknown=True)
    name = found.pop("facetName")
    query = found.pop("facetQuery", None)
    exhaustive = found.pop("exhaustiveFacetCount", None)
    search = SearchQuery(**decode.arguments(found))
    return FacetSearchQuery(name, query, exhaustive, search)


def decode_similar(body: object) -> SimilarQuery:
    """POST /indexes/{uid}/similar. Raises ApiError."""
    return _similar(decode.object_fields(body, SIMILAR_FIELDS))


def decode_similar_params(params: list[tuple[str, str]]) -> SimilarQuery:
    """GET /indexes/{uid}/similar. Raises ApiError."""
    return _similar(query_params.param_fields(params, SIMILAR_PARAMS))


def _similar(found: dict[str, Any]) -> SimilarQuery:
    """The id is refused after everything else, and in the same words for both methods."""
    value = found.pop("id")
    arguments = decode.arguments(found)
    try:
        return SimilarQuery(id=decode_id(value, ".id", "invalid_similar_id"), **arguments)
    except ApiError as error:
        return SimilarQuery(id="", refused_id=error, **arguments)


_DEFAULT_SEARCH = SearchQuery()
_CAMEL = {decode.snake(name): name for name in SEARCH_FIELDS}


def to_json(query: SearchQuery) -> dict[str, Any]:
    """The body that asks for this search: only members that differ from their defaults, in API order."""
    body: dict[str, Any] = {}
    sent = {
        field.name: value
        for field in dataclass_fields(query)
        if (value := getattr(query, field.name)) != getattr(_DEFAULT_SEARCH, field.name)
    }
    for name, camel in _CAMEL.items():
        if name not in sent:
            continue
        value = sent[name]
        if isinstance(value, Hybrid):
            value = {"embedder": value.embedder, "semanticRatio": value.semantic_ratio}
        elif isinstance(value, tuple):
            value = list(value)
        body[camel] = value
    return body


def to_body(query: SearchQuery) -> bytes:
    """`to_json` as bytes."""
    return orjson.dumps(to_json(query))

"""Decoding of POST /multi-search, federated and not.

`decode_multi_search` checks shapes only. What the server checks query by query, after access, is in
`check_item`; what it checks of a federation is in `federation_requests` and `federation_checks`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from miroir.meili import decode, filters, refusals
from miroir.meili.codes import ApiError
from miroir.meili.commands import (
    Federation,
    FederationOptions,
    MergeFacets,
    MultiSearch,
    MultiSearchItem,
    SearchQuery,
)
from miroir.meili.decode import Field
from miroir.meili.indexes import index_uid
from miroir.meili.search_fields import PERSONALIZE, SEARCH_FIELDS


def _weight(value: Any, path: str, code: str) -> float:
    number = decode.number(value, path, code)
    if not number >= 0.0:
        refusals.invalid("the value of `weight` is invalid, expected a positive float (>= 0.0).", path, code)
    return number


def _options(found: dict[str, Any]) -> FederationOptions:
    return FederationOptions(**decode.arguments(found))


_OPTIONS = decode.fields(
    Field("weight", _weight, "invalid_multi_search_weight"),
    Field("remote", decode.string, "invalid_multi_search_remote", nullable=True),
    Field("queryPosition", decode.integer, "invalid_multi_search_query_position", nullable=True),
)

_QUERY_FIELDS = decode.fields(
    Field("indexUid", index_uid, "invalid_index_uid", required="missing_index_uid"),
    *(
        replace(field, nullable=True)
        if field.name in ("offset", "limit", "showPerformanceDetails")
        else field
        for field in SEARCH_FIELDS.values()
    ),
    Field("federationOptions", decode.object_of(_OPTIONS, _options), nullable=True),
)


def _facets_by_index(value: Any, path: str, code: str) -> dict[str, tuple[str, ...] | None]:
    members = decode.raw_object(value, path, code)
    for name in members:
        try:
            index_uid(name, path, code)
        except ApiError:
            refusals.invalid(
                f'the key "{name}" could not be deserialized into the key type '
                "`meilisearch_types::index_uid::IndexUid`",
                path,
                code,
            )
    found = decode.map_of(decode.strings, nullable=True)(members, path, code)
    return {name: found[name] for name in sorted(found)}


_FEDERATION_FIELDS = decode.fields(
    Field("limit", decode.integer, "invalid_search_limit"),
    Field("offset", decode.integer, "invalid_search_offset"),
    Field("page", decode.integer, "invalid_search_page", nullable=True),
    Field("hitsPerPage", decode.integer, "invalid_search_hits_per_page", nullable=True),
    Field("facetsByIndex", _facets_by_index, "invalid_multi_search_facets_by_index"),
    Field(
        "mergeFacets",
        decode.object_of(
            decode.fields(
                Field(
                    "maxValuesPerFacet",
                    decode.integer,
                    "invalid_multi_search_max_values_per_facet",
                    nullable=True,
                )
            ),
            lambda found: MergeFacets(**decode.arguments(found)),
        ),
        "invalid_multi_search_merge_facets",
        nullable=True,
    ),
    Field("distinct", decode.string, "invalid_search_distinct", nullable=True),
    Field("showPerformanceDetails", decode.boolean, "invalid_search_show_performance_details"),
    Field("personalize", PERSONALIZE, "invalid_search_personalize", nullable=True),
)


def _item(value: Any, path: str, code: str) -> MultiSearchItem:
    found = decode.object_fields(value, _QUERY_FIELDS, path, code)
    sent = frozenset(name for name, member in found.items() if member is not None)
    uid = found.pop("indexUid")
    options = found.pop("federationOptions", None)
    return MultiSearchItem(uid, SearchQuery(**decode.arguments(found)), options, sent)


_FIELDS = decode.fields(
    Field("queries", decode.array_of(_item), required="bad_request"),
    Field(
        "federation",
        decode.object_of(_FEDERATION_FIELDS, lambda found: Federation(**decode.arguments(found))),
        nullable=True,
    ),
)


def decode_multi_search(body: object) -> MultiSearch:
    """The shape of the body. Raises ApiError."""
    found = decode.object_fields(body, _FIELDS)
    return MultiSearch(found["queries"], found.get("federation"))


def check_item(multi: MultiSearch, i: int) -> None:
    """What needs no index about query `i` of a request that is no federation. Raises ApiError."""
    item = multi.queries[i]
    try:
        if item.federation_options is not None:
            raise ApiError(
                "invalid_multi_search_federation_options",
                "Using `federationOptions` is not allowed in a non-federated search.\n"
                " - Hint: remove `federationOptions` from the query or add `federation` to the request.",
            )
        filters.parse(item.search.filter)
    except ApiError as error:
        raise inside(i, error) from None


class QueryError(ApiError):
    """The error of one query of a multi-search; a missing index is a bad request here."""

    @property
    def status(self) -> int:
        return 400 if self.code == "index_not_found" else super().status


def inside(i: int, error: ApiError) -> QueryError:
    """The error of query `i`, its message prefixed."""
    return QueryError(error.code, f"Inside `.queries[{i}]`: {error.message}", headers=dict(error.headers))

"""Routes of search: one index, several, facets, similar documents. A search runs over one index version."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from miroir.engine.catalog import LiveIndex
from miroir.engine.facet_search import facet_search
from miroir.engine.federated_search import federated_search
from miroir.engine.filtering import filter_documents
from miroir.engine.routing import Answer, Handler
from miroir.engine.search import everything, search
from miroir.engine.search_times import Stopwatch, late_after, new_request_uid
from miroir.engine.similar import similar
from miroir.engine.state import State
from miroir.meili import filters
from miroir.meili.auth import combine_filters, rule_filter
from miroir.meili.codes import ApiError
from miroir.meili.commands import Access, Call, FacetSearchQuery, MultiSearch, SearchQuery, SimilarQuery
from miroir.meili.multi_search import check_item, inside
from miroir.meili.search import check_features, check_personalize, check_query, require_hybrid

#: Refusals of the engine proper, which the server prints with the name of the index.
_NAMED = frozenset(
    {
        "invalid_search_filter",
        "invalid_search_sort",
        "invalid_search_distinct",
        "invalid_search_attributes_to_search_on",
    }
)


def restricted(query: SearchQuery, access: Access, uid: str) -> SearchQuery:
    """The query with the tenant's filter of this index ANDed to its own."""
    rule = rule_filter(access, uid)
    return query if rule is None else replace(query, filter=combine_filters(rule, query.filter))


def is_enabled(state: State) -> Callable[[str], bool]:
    """Tells experimental features."""
    return lambda feature: state.features.get(feature, False)


def named(error: ApiError, uid: str) -> ApiError:
    """The error with the index's name, where the server prints it."""
    return ApiError(error.code, f"Index `{uid}`: {error.message}") if error.code in _NAMED else error


def _answer(state: State, live: LiveIndex, query: SearchQuery, call: Call) -> dict[str, Any]:
    watch = Stopwatch()
    check_query(query, live.index.settings)
    try:
        found = search(
            live.index, query, is_enabled=is_enabled(state), is_late=late_after(live.index.settings)
        )
    except ApiError as error:
        raise named(error, live.uid) from None
    check_personalize(query)
    body: dict[str, Any] = {}
    semantic = found.pop("semanticHitCount", None)
    for name, value in found.items():
        if name in ("limit", "hitsPerPage"):
            body["processingTimeMs"] = watch.elapsed_ms()
        body[name] = value
    body["requestUid"] = new_request_uid(state)
    if _wants_metadata(call):
        body["metadata"] = metadata(state, live, query)
    if query.show_performance_details:
        body["performanceDetails"] = watch.details()
    if semantic is not None:
        body["semanticHitCount"] = semantic
    return body


def _wants_metadata(call: Call) -> bool:
    return call.request.headers.get("meili-include-metadata", "").strip().lower() in ("true", "1")


def metadata(state: State, live: LiveIndex, query: SearchQuery) -> dict[str, Any]:
    """The `metadata` object of one query."""
    described: dict[str, Any] = {} if query.q is None else {"query": query.q}
    described |= {"queryUid": new_request_uid(state), "indexUid": live.uid}
    if live.index.primary_key is not None:
        described["primaryKey"] = live.index.primary_key
    return described


def _search(state: State, call: Call) -> Answer:
    assert call.index_uid is not None, "a route of an index"
    query = restricted(call.args, call.access, call.index_uid)
    check_features(query, is_enabled(state))
    return 200, _answer(state, state.index(call.index_uid), query, call)


async def _multi_search(state: State, call: Call) -> Answer:
    multi: MultiSearch = call.args
    if multi.federation is not None:
        queries = tuple(
            replace(item, search=restricted(item.search, call.access, item.index_uid))
            for item in multi.queries
        )
        multi = replace(multi, queries=queries)
        return 200, await federated_search(
            state,
            multi,
            include_metadata=_wants_metadata(call),
            named=named,
            metadata=metadata,
        )
    results = []
    for i, item in enumerate(multi.queries):
        check_item(multi, i)
        try:
            query = restricted(item.search, call.access, item.index_uid)
            check_features(query, is_enabled(state))
            live = state.index(item.index_uid)
            results.append({"indexUid": item.index_uid, **_answer(state, live, query, call)})
        except ApiError as error:
            raise inside(i, error) from None
        await asyncio.sleep(0)
    return 200, {"results": results}


def _facet_search(state: State, call: Call) -> Answer:
    args: FacetSearchQuery = call.args
    watch = Stopwatch()
    live = state.index(call.index_uid)
    query = restricted(args.search, call.access, live.uid)
    require_hybrid(query)
    answer = facet_search(live.index, replace(args, search=query), is_enabled=is_enabled(state))
    return 200, {**answer, "processingTimeMs": watch.elapsed_ms()}


def _similar(state: State, call: Call) -> Answer:
    args: SimilarQuery = call.args
    watch = Stopwatch()
    live = state.index(call.index_uid)
    index = live.index
    rule = rule_filter(call.access, live.uid)
    source = index.docids.get(args.id)
    if source is not None and rule is not None:
        ruled = filters.parse(rule, "invalid_similar_filter")
        if source not in filter_documents(index, ruled, everything(index), "invalid_similar_filter"):
            raise ApiError("not_found_similar_id", f"Document `{args.id}` not found.")
    asked = replace(args, filter=combine_filters(rule, args.filter))
    body: dict[str, Any] = {}
    for name, value in similar(index, asked, is_enabled=is_enabled(state)).items():
        if name == "limit":
            body["processingTimeMs"] = watch.elapsed_ms()
        body[name] = value
    if args.show_performance_details:
        body["performanceDetails"] = watch.details()

    return 200, body


ROUTES: dict[str, Handler] = {
    "search": _search,
    "multi_search": _multi_search,
    "facet_search": _facet_search,
    "similar": _similar,
}

"""What a federation is refused for before any index is opened: filters first, then each query by itself.

Source: search-semantics G.2, api 7.9.
"""

from __future__ import annotations

from collections.abc import Callable

from miroir.meili import filters
from miroir.meili.codes import ApiError
from miroir.meili.commands import Federation, MultiSearch, MultiSearchItem
from miroir.meili.multi_search import inside

_REMOVE = " - Hint: remove `{0}` from the query or remove `federation` from the request"
_Features = Callable[[str], bool]


def check_federation(multi: MultiSearch, is_enabled: _Features) -> None:
    """Refuse what no index is needed for. `is_enabled` tells experimental features.

    Raises:
        ApiError: ``Inside `.queries[i]`: …``: of all filters the first, else of all queries the first.
    """
    assert multi.federation is not None
    for i, item in enumerate(multi.queries):
        try:
            filters.check_features(filters.parse(item.search.filter), is_enabled)
        except ApiError as error:
            raise inside(i, error) from None
    for i, item in enumerate(multi.queries):
        try:
            _check_options(item, multi.federation)
            _check_network(item, is_enabled)
        except ApiError as error:
            raise inside(i, error) from None


def shown_position(item: MultiSearchItem, i: int) -> int:
    """The position that hits and errors of query `i` name."""
    options = item.federation_options
    return i if options is None or options.query_position is None else options.query_position


def _check_network(item: MultiSearchItem, is_enabled: _Features) -> None:
    """Members about other servers need a feature, and here nobody can register one."""
    if item.search.use_network is not None:
        _require_network("passing `useNetwork` in a search query", is_enabled)
    options = item.federation_options
    if options is None:
        return
    if options.remote is not None:
        _require_network("Performing a remote federated search", is_enabled)
        raise ApiError(
            "invalid_multi_search_remote",
            f"Invalid `.federation_options.remote`: remote `{options.remote}` is not registered",
        )
    if options.query_position is not None:
        _require_network("Using `federationOptions.queryPosition`", is_enabled)


def _require_network(action: str, is_enabled: _Features) -> None:
    if not is_enabled("network"):
        raise ApiError(
            "feature_not_enabled",
            f"{action} requires enabling the `network` experimental feature. "
            "See https://github.com/orgs/meilisearch/discussions/805",
        )


def _check_options(item: MultiSearchItem, federation: Federation) -> None:
    for name in ("offset", "limit", "page", "hitsPerPage"):
        if name in item.sent:
            raise ApiError(
                "invalid_multi_search_query_pagination",
                "Using pagination options is not allowed in federated queries.\n"
                f"{_REMOVE.format(name)}\n"
                " - Hint: pass `federation.limit` and `federation.offset` for pagination in federated search",
            )
    if item.search.facets:
        shown = "[" + ", ".join(f'"{facet}"' for facet in item.search.facets) + "]"
        raise ApiError(
            "invalid_multi_search_query_facets",
            "Using facet options is not allowed in federated queries.\n"
            f"{_REMOVE.format('facets')}\n"
            f" - Hint: pass `federation.facetsByIndex.{item.index_uid}: {shown}` for facets in federated search",
        )
    if "personalize" in item.sent:
        raise ApiError(
            "invalid_multi_search_query_personalization",
            "Using `.personalize` is not allowed in federated queries.\n"
            f"{_REMOVE.format('personalize')}\n"
            " - Hint: pass `federation.personalize` for personalization in federated search",
        )
    options = item.federation_options
    if options is not None and options.remote is not None and item.search.use_network:
        raise ApiError(
            "invalid_multi_search_federation_options",
            "Using `.useNetwork` is not allowed as the same time as `.federationOptions.remote`.\n"
            "  - Hint: to perform an explicit query against a remote, remove `.useNetwork`.\n"
            "  - Hint: to automatically perform queries against the entire network, remove "
            "`.federationOptions.remote`.",
        )
    if "showPerformanceDetails" in item.sent:
        raise ApiError(
            "invalid_multi_search_query_show_performance_details",
            "Using `.showPerformanceDetails` is not allowed in federated queries.\n"
            f"{_REMOVE.format('showPerformanceDetails')}",
        )
    if "distinct" in item.sent and federation.distinct is not None:
        raise ApiError(
            "invalid_multi_search_distinct",
            "Using `distinct` options is not allowed in federated queries when it also appears in "
            "`.federation.distinct`.\n"
            f"{_REMOVE.format('distinct')}\n"
            "  - Note: `distinct` at the query level is discouraged in federated search.",
        )

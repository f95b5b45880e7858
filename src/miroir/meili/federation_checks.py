"""What a federation is refused for once indexes are looked at, in the server's order.

Index by index, in the order of their uids: the order of facet values that are to be merged; then query by query, in
the order sent, its embedder, its sort and whether its rules can be compared, and after that what the search itself
refuses (which is the caller's part); last the facets. Then the indexes that only `facetsByIndex` names.
Source: search-semantics G.2, api 7.9.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from miroir.meili.codes import ApiError
from miroir.meili.commands import Federation, MultiSearch, MultiSearchItem
from miroir.meili.facet_checks import check_facets
from miroir.meili.federation_requests import shown_position
from miroir.meili.multi_search import QueryError, inside
from miroir.meili.rule_compatibility import CanonicalRules, SearchKind, canonical_rules, check_compatible
from miroir.meili.search_kinds import check_embedder, has_words, require_hybrid, runs_semantic
from miroir.meili.settings import defaults
from miroir.meili.settings_rules import value_order
from miroir.meili.sorting import parse_sorts

Settings = Mapping[str, Any]
#: the queries of one index, with their positions
Group = tuple[tuple[int, MultiSearchItem], ...]
#: gives, for a used or named index, its paths that can be filtered and that its requested facets name
KnownFacets = Callable[[str], Iterable[str]]

_ORDERS = {"alpha": "alphabetically", "count": "by count"}


def groups_of(multi: MultiSearch) -> dict[str, Group]:
    """Index uid -> its queries in the order sent; the uids in their order."""
    groups: dict[str, Group] = {}
    for i, item in enumerate(multi.queries):
        groups[item.index_uid] = (*groups.get(item.index_uid, ()), (i, item))
    return dict(sorted(groups.items()))


class FederationChecks:
    """The checks of one federation, to be called in the order of its execution; each raises ApiError."""

    def __init__(self, federation: Federation, known_facets: KnownFacets) -> None:
        self._federation = federation
        self._known_facets = known_facets
        self._rules: CanonicalRules | None = None
        self._orders: dict[str, tuple[str, str]] = {}  #: facet -> the first index that has it, its order

    @property
    def orders(self) -> dict[str, str]:
        """Order of the values of each facet that is merged: `alpha` or `count`."""
        return {facet: order for facet, (_, order) in self._orders.items()}

    def missing(self, uid: str, group: Group) -> ApiError:
        """The refusal of a group whose index does not exist."""
        return _inside(group[0], ApiError("index_not_found", f"Index `{uid}` not found."))

    def begin(self, uid: str, settings: Settings, group: Group) -> None:
        """Before the queries of an index."""
        try:
            self._check_order(uid, settings)
        except ApiError as error:
            raise _inside(group[0], _in_facets(uid, error)) from None

    def query(self, uid: str, settings: Settings, i: int, item: MultiSearchItem) -> None:
        """Before a query is run."""
        try:
            require_hybrid(item.search)
            check_embedder(settings, item.search)
            self._check_rules(uid, settings, i, item)
        except ApiError as error:
            raise _inside((i, item), error) from None

    def end(self, uid: str, settings: Settings, group: Group) -> None:
        """After the queries of an index."""
        try:
            check_facets(settings, self._federation.facets_by_index.get(uid) or ())
        except ApiError as error:
            raise _inside(group[0], _in_facets(uid, error)) from None

    def unused(self, uid: str, settings: Settings | None) -> None:
        """After all queries: an index that no query asks must exist (`settings` None) and have the facets too."""
        try:
            if settings is None:
                raise ApiError("index_not_found", f"Index `{uid}` not found.")
            self._check_order(uid, settings)
            check_facets(settings, self._federation.facets_by_index[uid] or ())
        except ApiError as error:
            named = _in_facets(uid, error)
            note = f"\n - Note: index `{uid}` is not used in queries"
            raise QueryError(named.code, named.message + note) from None

    def _check_rules(self, uid: str, settings: Settings, i: int, item: MultiSearchItem) -> None:
        query = item.search
        ranking_rules = settings.get("rankingRules")
        rules = canonical_rules(
            defaults()["rankingRules"] if ranking_rules is None else ranking_rules,
            parse_sorts(query.sort) if query.sort is not None else None,
            strategy=query.matching_strategy,
            kind=_kind(item),
            query_position=shown_position(item, i),
            index_uid=uid,
        )
        self._rules = rules if self._rules is None else check_compatible(self._rules, rules)

    def _check_order(self, uid: str, settings: Settings) -> None:
        if self._federation.merge_facets is None or not self._federation.facets_by_index.get(uid):
            return
        for path in self._known_facets(uid):
            order = value_order(settings, path)
            first_uid, first_order = self._orders.setdefault(path, (uid, order))
            if order != first_order:
                raise ApiError(
                    "invalid_multi_search_facet_order",
                    f"Inconsistent order for values in facet `{path}`: index `{first_uid}` orders "
                    f"{_ORDERS[first_order]}, but index `{uid}` orders {_ORDERS[order]}.\n - Hint: Remove "
                    "`federation.mergeFacets` or change `faceting.sortFacetValuesBy` to be consistent in settings.",
                )


def _kind(item: MultiSearchItem) -> SearchKind:
    if runs_semantic(item.search):
        return "vector"
    return "keyword" if has_words(item.search) else "placeholder"


def _inside(query: tuple[int, MultiSearchItem], error: ApiError) -> QueryError:
    return inside(shown_position(query[1], query[0]), error)


def _in_facets(uid: str, error: ApiError) -> ApiError:
    return ApiError(error.code, f"Inside `.federation.facetsByIndex.{uid}`: {error.message}")

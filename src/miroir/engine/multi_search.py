"""Multi-search over several index versions: federated into one list, or one answer per query.

Source: search-semantics G; api 7.9. The time, the uid and the metadata of an answer are the caller's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from pyroaring import BitMap

from miroir.engine.attribute_rules import matches_pattern
from miroir.engine.facet_distribution import check_facets, facet_distribution
from miroir.engine.federation import (
    IndexResult,
    Merged,
    QueryResult,
    check_facet_orders,
    merge_facets,
    merge_indexes,
    merge_queries,
    without_hits,
)
from miroir.engine.formatting.hits import HitMaker
from miroir.engine.index import Index
from miroir.engine.rule_compatibility import CanonicalRules, SearchKind, canonical_rules, check_compatible
from miroir.engine.search import Found, find, max_total_hits, search
from miroir.meili import filters
from miroir.meili.codes import ApiError
from miroir.meili.commands import Federation, MultiSearch, MultiSearchItem, SearchQuery
from miroir.meili.multi_search import check_item, check_multi_search, inside
from miroir.meili.sorting import parse_sorts

JsonObject = dict[str, Any]
OpenIndex = Callable[[str], Index]
Facets = Mapping[str, tuple[JsonObject, JsonObject]]

_PER_PAGE = 20
#: Errors of a search that never name the index.
_UNNAMED = frozenset(
    {
        "invalid_search_embedder",
        "invalid_vector_dimensions",
        "vector_embedding_error",
        "invalid_search_facets",
    }
)


@contextmanager
def naming(index_uid: str, query: SearchQuery, is_enabled: Callable[[str], bool]) -> Iterator[None]:
    """Errors of carrying out a query get the index's name; those of its syntax come first and do not."""
    filters.check_features(filters.parse(query.filter), is_enabled)
    parse_sorts(query.sort)
    try:
        yield
    except ApiError as error:
        if error.code in _UNNAMED or error.code == "feature_not_enabled":
            raise
        raise ApiError(error.code, f"Index `{index_uid}`: {error.message}", headers=error.headers) from None


def search_index(
    index_uid: str,
    index: Index,
    query: SearchQuery,
    *,
    is_enabled: Callable[[str], bool],
    is_late: Callable[[], bool],
) -> JsonObject:
    """As `search`, with errors that name the index where the API does."""
    with naming(index_uid, query, is_enabled):
        return search(index, query, is_enabled=is_enabled, is_late=is_late)


def multi_search(
    multi: MultiSearch,
    open_index: OpenIndex,
    *,
    is_enabled: Callable[[str], bool],
    is_late: Callable[[], bool],
) -> JsonObject:
    """The answer of `/multi-search`: `results`, or the members of a federated answer.

    Raises:
        ApiError: the first query that cannot be answered, its place in the message.
    """
    if multi.federation is not None:
        return _Federated(multi, multi.federation, open_index, is_enabled, is_late).run()
    results = []
    for i, item in enumerate(multi.queries):
        check_item(multi, i)
        try:
            index = open_index(item.index_uid)
            answer = search_index(item.index_uid, index, item.search, is_enabled=is_enabled, is_late=is_late)
        except ApiError as error:
            raise inside(i, error) from None
        results.append({"indexUid": item.index_uid, **answer})
    return {"results": results}


class _Federated:
    def __init__(
        self,
        multi: MultiSearch,
        federation: Federation,
        open_index: OpenIndex,
        is_enabled: Callable[[str], bool],
        is_late: Callable[[], bool],
    ) -> None:
        self._multi = multi
        self._federation = federation
        self._open_index = open_index
        self._is_enabled = is_enabled
        self._is_late = is_late
        self._indexes: dict[str, Index] = {}
        self._previous: CanonicalRules | None = None
        self._is_semantic = False
        self._vectors: dict[str, list[float]] = {}

    def run(self) -> JsonObject:
        check_multi_search(self._multi)
        queries = self._by_index()
        offset, limit = self._window()
        results: dict[str, IndexResult] = {}
        facets: dict[str, tuple[JsonObject, JsonObject]] = {}
        orders: dict[str, str] = {}
        for uid, items in sorted(queries.items()):
            first = items[0][0]
            try:
                self._indexes[uid] = self._open_index(uid)
                orders = self._checked_orders(uid)
            except ApiError as error:
                raise inside(first, error) from None
            results[uid] = self._index_result(uid, items, offset + limit)
            patterns = self._federation.facets_by_index.get(uid)
            if patterns is not None:
                try:
                    facets[uid] = self._facets(uid, patterns, results[uid].candidates)
                except ApiError as error:
                    raise inside(first, error) from None
        self._check_unused(queries)
        merged = merge_indexes(results, offset, limit, self._federation.distinct)
        return self._answer(merged, facets, orders)

    def _by_index(self) -> dict[str, list[tuple[int, MultiSearchItem]]]:
        queries: dict[str, list[tuple[int, MultiSearchItem]]] = {}
        for i, item in enumerate(self._multi.queries):
            queries.setdefault(item.index_uid, []).append((i, item))
        return queries

    @property
    def _is_paged(self) -> bool:
        return self._federation.page is not None or self._federation.hits_per_page is not None

    def _window(self) -> tuple[int, int]:
        federation = self._federation
        if not self._is_paged:
            return federation.offset, federation.limit
        per_page = _PER_PAGE if federation.hits_per_page is None else federation.hits_per_page
        page = 1 if federation.page is None else federation.page
        return ((page - 1) * per_page, per_page) if page else (0, 0)

    # --- one index --------------------------------------------------------------------------------

    def _index_result(
        self, uid: str, items: Sequence[tuple[int, MultiSearchItem]], wanted: int
    ) -> IndexResult:
        index = self._indexes[uid]
        wanted = min(wanted, max_total_hits(index.settings))
        results = []
        for i, item in items:
            try:
                results.append(self._query_result(uid, index, i, item, wanted))
            except ApiError as error:
                raise inside(i, error) from None
        return merge_queries(uid, index, results, wanted, self._federation.distinct)

    def _query_result(
        self, uid: str, index: Index, i: int, item: MultiSearchItem, wanted: int
    ) -> QueryResult:
        query = item.search
        self._check_rules(uid, index, i, query)
        executed = replace(
            query,
            page=1 if self._is_paged else None,
            hits_per_page=wanted if self._is_paged else None,
            distinct=self._federation.distinct or query.distinct,
        )
        with naming(uid, query, self._is_enabled):
            found: Found = find(index, executed, wanted, is_enabled=self._is_enabled, is_late=self._is_late)
        self._is_semantic = self._is_semantic or found.semantic_count is not None
        if query.retrieve_vectors and found.query_vector is not None:
            self._vectors[str(i)] = list(found.query_vector)
        options = item.federation_options
        position = i if options is None or options.query_position is None else options.query_position
        return QueryResult(
            position=position,
            weight=1.0 if options is None else options.weight,
            hits=list(zip(found.docids, found.details, strict=True)),
            candidates=found.candidates,
            maker=HitMaker(index, query, found.words, found.sort),
        )

    def _check_rules(self, uid: str, index: Index, i: int, query: SearchQuery) -> None:
        rules = canonical_rules(
            index.settings.get("rankingRules") or (),
            None if query.sort is None else parse_sorts(query.sort),
            strategy=query.matching_strategy,
            kind=_kind(query),
            query_position=i,
            index_uid=uid,
        )
        self._previous = rules if self._previous is None else check_compatible(self._previous, rules)

    # --- facets -----------------------------------------------------------------------------------

    def _facets(self, uid: str, patterns: Sequence[str], candidates: BitMap) -> tuple[JsonObject, JsonObject]:
        index = self._indexes[uid]
        try:
            check_facets(index.facets.rules, patterns)
        except ApiError as error:
            raise _in_facets(uid, error) from None
        distribution, stats = facet_distribution(index.facets, index.settings, patterns, candidates)
        return dict(distribution), dict(stats)

    def _checked_orders(self, uid: str) -> dict[str, str]:
        """The order of every facet to merge so far; refuses an index that disagrees with an earlier one."""
        if self._federation.merge_facets is None:
            return {}
        wanted: dict[str, tuple[Mapping[str, Any], list[str]]] = {}
        for name, index in self._indexes.items():
            patterns = self._federation.facets_by_index.get(name)
            if patterns is None:
                continue
            known = index.facets.known.union(index.facets.fields)
            paths = [p for p in sorted(known) if any(matches_pattern(pattern, p) for pattern in patterns)]
            wanted[name] = (index.settings, [p for p in paths if index.facets.rules.is_filterable(p)])
        return check_facet_orders(wanted)

    def _check_unused(self, queries: Mapping[str, object]) -> None:
        for uid, patterns in sorted(self._federation.facets_by_index.items()):
            if uid in queries:
                continue
            try:
                self._indexes[uid] = self._open_index(uid)
                check_facets(self._indexes[uid].facets.rules, patterns or ())
            except ApiError as error:
                named = _in_facets(uid, error)
                note = f"{named.message}\n - Note: index `{uid}` is not used in queries"
                raise _BadRequestError(error.code, note) from None
            self._checked_orders(uid)

    # --- the answer -------------------------------------------------------------------------------

    def _answer(self, merged: Merged, facets: Facets, orders: Mapping[str, str]) -> JsonObject:
        answer: JsonObject = {"hits": [hit.hit for hit in merged.page]}
        if any(item.search.retrieve_vectors for item in self._multi.queries):
            answer["queryVectors"] = self._vectors
        answer |= self._totals(merged.total)
        merge = self._federation.merge_facets
        if facets and merge is not None:
            distribution, stats = merge_facets(list(facets.values()), orders, merge.max_values_per_facet)
            rejected = [hit for hits in merged.rejected.values() for hit in hits]
            answer["facetDistribution"] = without_hits(distribution, rejected)
            answer["facetStats"] = stats
        elif facets:
            answer["facetsByIndex"] = {
                uid: {
                    "distribution": without_hits(distribution, merged.rejected.get(uid, ())),
                    "stats": stats,
                }
                for uid, (distribution, stats) in sorted(facets.items())
            }
        if self._is_semantic:
            answer["semanticHitCount"] = merged.semantic_count
        return answer

    def _totals(self, count: int) -> JsonObject:
        federation = self._federation
        if not self._is_paged:
            return {"limit": federation.limit, "offset": federation.offset, "estimatedTotalHits": count}
        per_page = _PER_PAGE if federation.hits_per_page is None else federation.hits_per_page
        return {
            "hitsPerPage": per_page,
            "page": 1 if federation.page is None else federation.page,
            "totalPages": math.ceil(count / per_page) if per_page else 0,
            "totalHits": count,
        }


class _BadRequestError(ApiError):
    """A missing index that stands in the body, not in the URL."""

    @property
    def status(self) -> int:
        return 400


def _in_facets(uid: str, error: ApiError) -> ApiError:
    if error.message.startswith("Inside `.federation"):
        return error
    return ApiError(error.code, f"Inside `.federation.facetsByIndex.{uid}`: {error.message}")


def _kind(query: SearchQuery) -> SearchKind:
    has_words = query.q is not None and bool(query.q.strip())
    hybrid = query.hybrid
    is_semantic = (
        hybrid is not None and hybrid.semantic_ratio != 0 and (query.vector is not None or has_words)
    )
    if is_semantic and hybrid is not None and (hybrid.semantic_ratio == 1 or not has_words):
        return "vector"
    return "keyword" if has_words else "placeholder"

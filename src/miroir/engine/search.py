"""One search over one index version: universe, ranking, totals, and the answer's body.

`find` gives ranked docids with their score details, for hybrid and federated searches; `search` makes the
JSON answer of `/indexes/{uid}/search`. Errors carry no index name; backends add it where the API does.
Source: semantics B.1, C.2, C.11, C.13, F; api 7.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pyroaring import BitMap

from miroir.engine.distinct import apply_distinct, check_distinct, distinct_table, shown_again
from miroir.engine.facet_distribution import facet_distribution
from miroir.engine.filtering import filter_documents
from miroir.engine.formatting.hits import HitMaker
from miroir.engine.formatting.matcher import MatchingPhrase, MatchingTerm, MatchingWords
from miroir.engine.graph import QueryGraph, build_graph
from miroir.engine.hybrid import VectorSortRule, is_good_enough, merge_hybrid
from miroir.engine.index import Index
from miroir.engine.languages import three_letters
from miroir.engine.query import ParsedQuery, QueryTerm, computed_words, parse_query
from miroir.engine.ranking.bucket_sort import Distinct, Ranked, bucket_sort
from miroir.engine.ranking.plan import RulePlanner
from miroir.engine.ranking.score import Detail, VectorDetail
from miroir.engine.ranking.words import reduced_documents
from miroir.engine.resolve import Resolver
from miroir.engine.sorting import check_search_sort
from miroir.engine.text_rules import Restriction
from miroir.meili import filters
from miroir.meili.codes import ApiError
from miroir.meili.commands import SearchQuery
from miroir.meili.facet_checks import check_facets
from miroir.meili.search_kinds import asks_embedder, check_media, runs_semantic
from miroir.meili.settings_rules import attribute_list, matches_pattern
from miroir.meili.sorting import Sort, parse_sorts

JsonObject = dict[str, Any]

DEFAULT_MAX_TOTAL_HITS = 1_000


def _never(_feature: str = "") -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Found:
    """Ranked documents of one search, best first, before any offset."""

    docids: Sequence[int]
    details: Sequence[tuple[Detail, ...]]
    candidates: BitMap  #: what counts as found: totals and facets
    words: MatchingWords
    sort: tuple[Sort, ...]
    query_vector: Sequence[float] | None = None  #: what a semantic search compared with
    semantic_count: int | None = None  #: set for hybrid requests with a ratio above 0


def everything(index: Index) -> BitMap:
    """All documents of a version; not to be changed by the caller."""
    return index.text.cache.get("everything", lambda: BitMap(index.documents), lambda found: 4 * len(found))


def max_total_hits(settings: Mapping[str, Any]) -> int:
    """`pagination.maxTotalHits`: how many hits can be reached."""
    value = (settings.get("pagination") or {}).get("maxTotalHits")
    return DEFAULT_MAX_TOTAL_HITS if value is None else int(value)


def find(
    index: Index,
    query: SearchQuery,
    length: int,
    *,
    is_enabled: Callable[[str], bool] = _never,
    is_late: Callable[[], bool] = _never,
) -> Found:
    """The first `length` documents; the caller cuts off the offset.

    `is_enabled` tells experimental features; `is_late` turns true when the time budget is spent.

    Raises:
        ApiError: the request does not fit the index: attributes, filter, sort, distinct, embedder, facets.
    """
    return _Search(index, query, length, is_enabled, is_late).run()


def check_embedder(index: Index, query: SearchQuery) -> None:
    """Refuse an unknown embedder or a vector that does not fit it, before anything else is looked at."""
    if query.hybrid is None or not asks_embedder(query):
        return
    name = query.hybrid.embedder
    embedder = index.vectors.embedders.get(name)
    if embedder is None:
        raise ApiError("invalid_search_embedder", f"Cannot find embedder with name `{name}`.")
    if query.vector is not None and len(query.vector) != embedder.dimensions:
        raise ApiError(
            "invalid_vector_dimensions",
            f"Invalid vector dimensions: expected: `{embedder.dimensions}`, found: `{len(query.vector)}`.",
        )


def check_embeddable(query: SearchQuery) -> None:
    """Refuse a search by vectors alone that gives a text and no vector: nothing here makes one of a text."""
    if runs_semantic(query) and query.vector is None:
        raise _not_embeddable(query)


def _not_embeddable(query: SearchQuery) -> ApiError:
    return ApiError(
        "vector_embedding_error",
        "Error while generating embeddings: user error: attempt to embed the following text in a configuration "
        f"where embeddings must be user provided:\n  - `{query.q}`",
    )


class _Search:
    def __init__(
        self,
        index: Index,
        query: SearchQuery,
        length: int,
        is_enabled: Callable[[str], bool],
        is_late: Callable[[], bool],
    ) -> None:
        self._index = index
        self._query = query
        self._length = length
        self._is_enabled = is_enabled
        self._is_late = is_late
        self._sort = parse_sorts(query.sort)
        self._planner = RulePlanner(index.settings, index.facets, self._sort)

    def run(self) -> Found:
        query, index = self._query, self._index
        check_embedder(index, query)
        check_media(query, self._is_enabled)
        check_embeddable(query)
        self._restriction = restriction(index, query.attributes_to_search_on)
        if query.distinct is not None:
            displayed = attribute_list(index.settings, "displayedAttributes")
            check_distinct(index.facets.rules, query.distinct, displayed)
        universe = self._filtered()
        check_search_sort(index.facets.rules, index.settings, self._sort)
        if query.hybrid is None or not asks_embedder(query):
            return self._keyword(universe)
        if runs_semantic(query):
            found = self._semantic(universe)
            return replace(found, semantic_count=_semantic_count(found.details))
        return self._hybrid(universe, query.hybrid.semantic_ratio)

    def _filtered(self) -> BitMap:
        node = filters.parse(self._query.filter)
        if node is None:
            return everything(self._index)
        filters.check_features(node, self._is_enabled)
        return filter_documents(self._index, filters.reserialise(node), everything(self._index))

    # --- keyword ----------------------------------------------------------------------------------

    def _parsed(self, words: str) -> ParsedQuery:
        return parse_query(
            self._index.text, words, query_languages(self._index, self._query, self._restriction)
        )

    def _keyword(self, universe: BitMap) -> Found:
        text, query = self._index.text, self._query
        parsed = self._parsed(query.q) if query.q and query.q.strip() else ParsedQuery()
        graph: QueryGraph | None = None
        terms: list[QueryTerm] = []
        if parsed.terms:
            graph, terms = build_graph(text, parsed.terms)
        resolver = Resolver(text, terms, self._restriction, self._is_late)
        if parsed.negative_words or parsed.negative_phrases:
            unwanted = [resolver.word_documents(word) for word in parsed.negative_words]
            unwanted += [resolver.phrase_documents(phrase) for phrase in parsed.negative_phrases]
            universe = universe - BitMap.union(BitMap(), *unwanted)
        if graph is None:
            ranked = self._ranked(self._planner.placeholder_rules(), None, universe)
        else:
            strategy = query.matching_strategy
            universe = reduced_documents(resolver, graph, strategy, universe)
            ranked = self._ranked(self._planner.keyword_rules(resolver, strategy), graph, universe)
        distinct = self._distinct()
        if query.is_paged and distinct is not None:
            ranked.candidates = distinct(ranked.candidates)[0]
        return Found(ranked.docids, ranked.details, ranked.candidates, matching_words(terms), self._sort)

    def _ranked(self, rules: Sequence[Any], graph: QueryGraph | None, universe: BitMap) -> Ranked:
        is_exhaustive = self._query.is_paged
        threshold = self._query.ranking_score_threshold
        distinct = self._distinct()
        return bucket_sort(
            rules,
            graph,
            universe,
            self._length,
            distinct=distinct,
            threshold=threshold,
            evaluate_max=max_total_hits(self._index.settings)
            if is_exhaustive and threshold is not None
            else None,
            is_late=self._is_late,
        )

    def _distinct(self) -> Distinct | None:
        name = self._query.distinct or self._index.settings.get("distinctAttribute")
        table = distinct_table(self._index.facets, name)
        return None if table is None else lambda candidates: apply_distinct(table, candidates)

    # --- semantic and hybrid ----------------------------------------------------------------------

    def _semantic(self, universe: BitMap) -> Found:
        query = self._query
        assert query.hybrid is not None
        embedder = self._index.vectors.embedders[query.hybrid.embedder]
        vector = query.vector
        if vector is None:
            raise _not_embeddable(query)
        # A purely semantic search knows no words, not even those that are not wanted.
        is_hybrid = bool(query.q and query.q.strip()) and query.hybrid.semantic_ratio < 1
        parsed = self._parsed(query.q or "") if is_hybrid else ParsedQuery()
        resolver = Resolver(self._index.text, (), self._restriction)
        unwanted = [resolver.word_documents(word) for word in parsed.negative_words]
        unwanted += [resolver.phrase_documents(phrase) for phrase in parsed.negative_phrases]
        if unwanted:
            universe = universe - BitMap.union(BitMap(), *unwanted)
        rules = self._planner.vector_rules(VectorSortRule(embedder, vector, self._length))
        ranked = self._ranked(rules, None, universe)
        return Found(
            ranked.docids, ranked.details, ranked.candidates, MatchingWords(), self._sort, query_vector=vector
        )

    def _hybrid(self, universe: BitMap, ratio: float) -> Found:
        keyword = self._keyword(universe)
        keyword_list = list(zip(keyword.docids, keyword.details, strict=True))
        if is_good_enough(keyword_list, self._length, ratio):
            return replace(keyword, semantic_count=0)
        try:
            semantic = self._semantic(universe)
        except ApiError as error:
            if error.code == "vector_embedding_error":
                return replace(keyword, semantic_count=0)
            raise
        name = self._query.distinct or self._index.settings.get("distinctAttribute")
        merged = merge_hybrid(
            keyword_list,
            list(zip(semantic.docids, semantic.details, strict=True)),
            ratio=ratio,
            offset=0,
            limit=self._length,
            distinct=distinct_table(self._index.facets, name),
        )
        docids = [docid for docid, _ in merged.hits]
        details = [tuple(d) for _, d in merged.hits]
        candidates = ((keyword.candidates | semantic.candidates) - merged.excluded) | BitMap(docids)
        return Found(
            docids,
            details,
            candidates,
            keyword.words,
            self._sort,
            query_vector=semantic.query_vector,
            semantic_count=_semantic_count(details),
        )


def _semantic_count(details: Sequence[Sequence[Detail]]) -> int:
    return sum(any(isinstance(detail, VectorDetail) for detail in hit) for hit in details)


# --- attributesToSearchOn -------------------------------------------------------------------------


def restriction(index: Index, names: Sequence[str] | None) -> Restriction | None:
    """The fields a search is limited to; None for all.

    Raises:
        ApiError: `invalid_search_attributes_to_search_on`, for a name that is not searchable when the
            searchable attributes are listed.
    """
    if names is None:
        return None
    fields, rules = index.text.fields, index.text.rules
    chosen: set[int] = set()
    for name in names:
        if name == "*" or name in fields:
            chosen.update(() if name == "*" else (fields[name],))
            continue
        matching = [fields[path] for path in fields if "*" in name and matches_pattern(name, path)]
        if matching:
            chosen.update(matching)
        elif rules.searchable is not None and name not in rules.searchable:
            raise _not_searchable(index, name)
    if "*" in names:
        return None
    exact = index.text.exact_fields
    return Restriction(frozenset(chosen - exact), frozenset(chosen & exact))


def _not_searchable(index: Index, name: str) -> ApiError:
    displayed = attribute_list(index.settings, "displayedAttributes")
    rules = index.text.rules
    top = {field for field in index.field_ids if rules.weight(field) is not None}
    known = sorted(top | index.text.fields.keys())
    shown = known if "*" in displayed else [path for path in known if path in displayed]
    hidden = ", <..hidden-attributes>" if len(shown) < len(known) else ""
    return ApiError(
        "invalid_search_attributes_to_search_on",
        f"Attribute `{name}` is not searchable. Available searchable attributes are: `{', '.join(shown)}{hidden}`.",
    )


def query_languages(
    index: Index, query: SearchQuery, restricted: Restriction | None
) -> tuple[str, ...] | None:
    """The languages a query may be in: those asked for, else all that the searched attributes have."""
    if query.locales is not None:
        return three_letters(query.locales) or None
    rules = index.text.rules
    if not rules.localized:
        return None
    fields = index.text.fields
    if restricted is not None:
        chosen = restricted.tolerant | restricted.exact
        fields = {path: number for path, number in fields.items() if number in chosen}
    return tuple(sorted({code for path in fields for code in rules.languages(path) or ()})) or None


def matching_words(terms: Sequence[QueryTerm]) -> MatchingWords:
    """Everything that was derived from the terms while searching, for highlights and crops."""
    return MatchingWords(
        [MatchingPhrase(tuple(p), term.positions) for term in terms for p in term.computed_phrases()],
        [
            MatchingTerm(tuple(words), term.positions, term.is_prefix, len(term.original))
            for term, words in zip(terms, computed_words(terms), strict=True)
        ],
    )


# --- the answer -----------------------------------------------------------------------------------


def window(query: SearchQuery, settings: Mapping[str, Any]) -> tuple[int, int]:
    """(offset, how many documents to rank) of a search, both within `maxTotalHits`."""
    reachable = max_total_hits(settings)
    offset, limit = query.offset, query.limit
    if query.is_paged:
        limit = 20 if query.hits_per_page is None else query.hits_per_page
        page = 1 if query.page is None else query.page
        offset = (page - 1) * limit if page else 0
        if page == 0:
            limit = 0
    return offset, min(offset + limit, reachable)


def search(
    index: Index,
    query: SearchQuery,
    *,
    is_enabled: Callable[[str], bool] = _never,
    is_late: Callable[[], bool] = _never,
) -> JsonObject:
    """The answer of a search in the order of the API; the caller adds the time, the uid and the metadata.

    Raises:
        ApiError: the request does not fit the index.
    """
    offset, length = window(query, index.settings)
    found = find(index, query, length, is_enabled=is_enabled, is_late=is_late)
    if query.distinct is not None:
        found = _shown_once(index, found, query.distinct)
    if query.facets:
        check_facets(index.settings, query.facets)
    maker = HitMaker(index, query, found.words, found.sort)
    page = zip(found.docids[offset:length], found.details[offset:length], strict=True)
    answer: JsonObject = {"hits": [maker.make(docid, details) for docid, details in page]}
    answer["query"] = query.q or ""
    if query.retrieve_vectors and found.query_vector is not None:
        answer["queryVector"] = list(found.query_vector)
    answer |= totals(query, len(found.candidates))
    if query.facets:
        distribution, stats = facet_distribution(index.facets, index.settings, query.facets, found.candidates)
        answer["facetDistribution"] = distribution
        answer["facetStats"] = stats
    if found.semantic_count is not None:
        shown = found.details[offset:length]
        answer["semanticHitCount"] = _semantic_count(shown) if found.semantic_count else 0
    return answer


def _shown_once(index: Index, found: Found, distinct: str) -> Found:
    again = shown_again([index.documents[docid] for docid in found.docids], distinct)
    if not again:
        return found
    kept = [place for place in range(len(found.docids)) if place not in set(again)]
    return replace(
        found,
        docids=[found.docids[place] for place in kept],
        details=[found.details[place] for place in kept],
        candidates=found.candidates - BitMap(found.docids[place] for place in again),
    )


def totals(query: SearchQuery, count: int) -> JsonObject:
    """`limit`, `offset`, `estimatedTotalHits`, or the four members of page mode."""
    if not query.is_paged:
        return {"limit": query.limit, "offset": query.offset, "estimatedTotalHits": count}
    per_page = 20 if query.hits_per_page is None else query.hits_per_page
    return {
        "hitsPerPage": per_page,
        "page": 1 if query.page is None else query.page,
        "totalPages": math.ceil(count / per_page) if per_page else 0,
        "totalHits": count,
    }

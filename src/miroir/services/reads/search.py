"""A search of one index, from the decoded question to the answer's JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from miroir.core.reads.distinct import deduplicate, shown_once
from miroir.core.reads.hybrid_merge import is_semantic, keyword_suffices, knows_words, mix
from miroir.core.reads.merging import Hit
from miroir.core.reads.node_errors import as_api_error
from miroir.core.reads.projection import Finisher
from miroir.core.reads.scores import searchable_count
from miroir.core.reads.search_plan import (
    Kind,
    SearchPlan,
    judged_body,
    kind_of,
    matching_of,
    plan_search,
    query_vector_body,
    total_pages,
)
from miroir.core.topology import IndexView
from miroir.meili.codes import ApiError
from miroir.meili.commands import SearchQuery
from miroir.meili.search import require_hybrid
from miroir.meili.search_kinds import asks_embedder
from miroir.meili.settings_rules import AttributeRules, is_inside, matches_pattern
from miroir.services.reads.marking import Marker
from miroir.services.reads.ranked import Ranked, Ranker, add_facets, both, counted_matching
from miroir.services.reads.scatter import Ask, NodeRefusal, Reading, Scatter
from miroir.services.reads.spelling import Speller


class IndexSearch:
    """Searches one index of the cluster."""

    def __init__(self, scatter: Scatter) -> None:
        self._scatter = scatter
        self._ranker = Ranker(scatter)
        self._speller = Speller(scatter)
        self._marker = Marker(scatter)

    async def search(self, reading: Reading, query: SearchQuery) -> dict[str, Any]:
        """The answer without what only the edge of the request knows (time taken, request uid, metadata).

        Raises ApiError: what a node would have refused, or miroir_index_incomplete.
        """
        ranked = await self.rank(reading, query)
        if query.distinct is not None:
            await self._show_once(reading, ranked, query.distinct)
        _require_facets(reading.index, query)
        page = ranked.hits[ranked.plan.offset : ranked.plan.ends_at]
        await self.fetch_bodies(reading, ranked, page)
        if ranked.facets is not None:
            counted = [counted_matching(ranked, matching_of(reading.index, ranked.plan.asked))]
            await self._speller.settle(reading, ranked.facets, ranked.candidates, query.facets or (), counted)
        return answer(ranked, page)

    async def _show_once(self, reading: Reading, ranked: Ranked, distinct: str) -> None:
        """Without the hits that show a value again."""
        ranked.hits, dropped = shown_once(ranked.hits[: ranked.plan.ends_at], distinct)
        if not dropped:
            return
        ranked.total -= len(dropped)
        if ranked.counted is not None:
            ranked.counted -= {hit.seq for hit in dropped}
        if ranked.facets is not None:
            for counted in await self._ranker.count_hits(reading, ranked, dropped):
                add_facets(ranked.facets, counted, sign=-1)

    async def fetch_bodies(self, reading: Reading, ranked: Ranked, page: Sequence[Hit]) -> None:
        """Give the hits of a page their documents, where the first phase left them out. Raises ApiError."""
        try:
            await self._ranker.fetch_bodies(reading, ranked, page)
            await self._marker.complete(reading, ranked, page)
        except NodeRefusal as refusal:
            raise as_api_error(refusal.body, reading.index) from refusal

    async def rank(
        self,
        reading: Reading,
        query: SearchQuery,
        *,
        depth: int | None = None,
        needed: tuple[str, ...] = (),
        by_name: bool = False,
    ) -> Ranked:
        """The merged list of whichever search the query asks for. Raises ApiError.

        `by_name`: which documents are counted must be known where it is not all that match.
        """
        require_hybrid(query)
        kind = kind_of(query)
        if (
            kind != "keyword"
            and query.hybrid is not None
            and query.hybrid.embedder not in (reading.index.settings.get("embedders") or {})
        ):
            # A hybrid search that keywords satisfy would never ask a node about it.
            raise ApiError(
                "invalid_search_embedder", f"Cannot find embedder with name `{query.hybrid.embedder}`."
            )
        if kind != "keyword":
            _require_dimensions(reading.index, query)
        try:
            if kind == "keyword":
                plan = plan_search(reading.index, query, depth=depth, needed=needed)
                return await self._ranker.rank(reading, plan, by_name=by_name)
            if kind == "semantic":
                return await self._semantic(reading, query, depth, needed, by_name=by_name)
            return await self._hybrid(reading, query, depth, needed, by_name=by_name)
        except NodeRefusal as refusal:
            raise await self._judged(reading, query, refusal) from refusal

    async def _judged(self, reading: Reading, query: SearchQuery, refusal: NodeRefusal) -> ApiError:
        """The refusal in the words for the client's own request, without the filter we added."""
        if query.filter is None:
            return as_api_error(refusal.body, reading.index)
        plain = await self._scatter.judgement(reading, Ask("/search", judged_body(query)), refusal.share)
        return as_api_error(plain or refusal.body, reading.index)

    async def _semantic(
        self,
        reading: Reading,
        query: SearchQuery,
        depth: int | None,
        needed: tuple[str, ...],
        *,
        by_name: bool,
    ) -> Ranked:
        embedded = await self._embedded(reading, query)
        plan = plan_search(reading.index, embedded, kind="semantic", depth=depth, needed=needed)
        return await self._ranker.rank(reading, plan, by_name=by_name)

    async def _embedded(self, reading: Reading, query: SearchQuery) -> SearchQuery:
        """The query with its vector: embedded once, by one node, when the client gave none."""
        if query.vector is not None or query.media is not None:
            return query
        body = query_vector_body(query)
        answers = await self._scatter.ask(
            reading, lambda _share, _origin: Ask("/search", body), shares=reading.shares[:1]
        )
        vector = answers[0].value.get("queryVector")
        return query if vector is None else replace(query, vector=tuple(vector))

    async def _hybrid(
        self,
        reading: Reading,
        query: SearchQuery,
        depth: int | None,
        needed: tuple[str, ...],
        *,
        by_name: bool,
    ) -> Ranked:
        """Both halves over all shards, mixed here: no shard sees the hybrid search itself (H10)."""
        assert query.hybrid is not None
        ratio = query.hybrid.semantic_ratio
        plan = plan_search(reading.index, query, depth=depth, needed=needed)
        counted_apart = bool(plan.distinct) or query.ranking_score_threshold is not None
        keyword = await self._ranker.rank(reading, plan, counted=not counted_apart)
        if keyword_suffices(keyword.hits[: plan.wanted], plan.wanted, ratio):
            return await self._ranker.rank(reading, plan, by_name=by_name) if counted_apart else keyword
        try:
            embedded = await self._embedded(reading, query)
        except NodeRefusal as refusal:
            if refusal.body.get("code") != "vector_embedding_error":
                raise
            return await self._ranker.rank(reading, plan, by_name=by_name) if counted_apart else keyword
        kind: Kind = "hybrid" if knows_words(query) else "semantic"
        half = plan_search(reading.index, embedded, kind=kind, depth=depth, needed=needed)
        if counted_apart:
            mixed = await self._ranker.mixed(reading, plan, half, ratio)
            if mixed is not None:
                mixed.keyword_hits = keyword.hits
                return mixed
        semantic = await self._ranker.rank(reading, half, counted=False)
        near = semantic.hits[: half.wanted]
        hits = mix(keyword.hits[: plan.wanted], near, ratio, searchable_count(reading.index))
        if plan.distinct:
            hits, _ = deduplicate(hits, plan.distinct)
        found = both(semantic, keyword, hits[: plan.wanted])
        found.keyword_hits = keyword.hits
        return found


def _require_dimensions(index: IndexView, query: SearchQuery) -> None:
    """Refuse a vector that cannot fit, which keywords that suffice would never show to a node."""
    assert query.hybrid is not None
    wanted = index.settings["embedders"][query.hybrid.embedder].get("dimensions")
    if query.vector is not None and wanted is not None and len(query.vector) != wanted:
        raise ApiError(
            "invalid_vector_dimensions",
            f"Invalid vector dimensions: expected: `{wanted}`, found: `{len(query.vector)}`.",
        )


def _require_facets(index: IndexView, query: SearchQuery) -> None:
    """Refuse `*` where the client made nothing filterable: nodes always have attributes of ours."""
    if "*" in (query.facets or ()) and not AttributeRules(index.settings).filterable_patterns():
        raise ApiError(
            "invalid_search_facets",
            "Invalid facet distribution: Pattern `*` is not filterable."
            " This index does not have configured filterable attributes.",
        )


def answer(ranked: Ranked, page: Sequence[Hit]) -> dict[str, Any]:
    """A SearchResult, its keys in the server's order."""
    plan, query = ranked.plan, ranked.plan.query
    result: dict[str, Any] = {"hits": finish(ranked, page), "query": query.q or ""}
    if query.retrieve_vectors and query.vector is not None and plan.semantic:
        result["queryVector"] = list(query.vector)
    result["processingTimeMs"] = 0
    if query.is_paged:
        result["hitsPerPage"] = 20 if query.hits_per_page is None else query.hits_per_page
        result["page"] = 1 if query.page is None else query.page
        result["totalPages"] = total_pages(ranked.total, query)
        result["totalHits"] = ranked.total
    else:
        result["limit"] = query.limit
        result["offset"] = query.offset
        result["estimatedTotalHits"] = ranked.total
    if ranked.facets is not None:
        # Counting duplicates asks for a facet of its own.
        asked = plan.distinct is None or any(
            is_inside(plan.distinct, name) or matches_pattern(name, plan.distinct)
            for name in query.facets or ()
        )
        without = None if asked else plan.distinct
        result["facetDistribution"] = ranked.facets.distribution(
            plan.index, ranked.total, query.facets or (), without=without
        )
        result["facetStats"] = ranked.facets.stats(without=without)
    if asks_embedder(query):
        result["semanticHitCount"] = sum(1 for hit in page if is_semantic(hit))
    return result


def finish(ranked: Ranked, page: Sequence[Hit]) -> list[dict[str, Any]]:
    """The page as the client sees it."""
    return shown(ranked.plan, page)


def shown(plan: SearchPlan, page: Sequence[Hit]) -> list[dict[str, Any]]:
    """Hits as the client of a plan's query sees them."""
    query = plan.query
    finisher = Finisher(plan.projection)
    hits = []
    for hit in page:
        body = finisher.document(hit.body)
        if query.show_ranking_score:
            body["_rankingScore"] = hit.score
        if query.show_ranking_score_details:
            body["_rankingScoreDetails"] = finisher.details(hit.details)
        hits.append(body)
    return hits

"""What to ask of each node for one search, as JSON bodies. reference: search-semantics H (row by row), H.30."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from miroir.core.reads.covering import Share
from miroir.core.reads.projection import Projection, project
from miroir.core.reserved import SEQ_FIELD
from miroir.core.topology import IndexView
from miroir.meili.commands import FilterValue, JsonObject, SearchQuery
from miroir.meili.filter_ast import And, Condition, Filter, Not, Or, to_text
from miroir.meili.filters import parse
from miroir.meili.settings_rules import AttributeRules

DEFAULT_MAX_TOTAL_HITS = 1000
#: So near to 1 that a node puts what is similar before what only has the words, but looks at words at all.
_NEARLY_SEMANTIC = 0.9999999
#: From this many hits that lie before the page on, documents are fetched in a second request (H19).
TWO_PHASE_DEPTH = 200


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """One search, ready to be asked. `body` is common to all nodes; each adds its filter."""

    index: IndexView
    query: SearchQuery
    offset: int
    limit: int
    max_total_hits: int
    wanted: int  #: hits before the end of the page
    depth: int  #: hits every node must return
    distinct: str | None
    projection: Projection
    two_phase: bool
    filter: FilterValue | None  #: the client's, safe to ask of a shard
    semantic: bool  #: ranked by similarity alone
    matching: JsonObject  #: the part of a body that decides what matches and how it ranks
    body: JsonObject

    @property
    def distinct_is_countable(self) -> bool:
        """Whether nodes can filter by the distinct attribute: only then can duplicates be counted exactly."""
        if self.distinct is None:
            return False
        rule = AttributeRules(self.index.settings).match_rule(self.distinct)
        return rule is not None and rule.features.equality

    @property
    def by_frequency(self) -> bool:
        """Whether it depends on the words of the index which of them a match may lack."""
        return self.query.matching_strategy == "frequency" and not self.semantic

    @property
    def asked(self) -> SearchQuery:
        """The query as nodes are asked it to count: words may have been replaced."""
        if self.semantic:
            return self.query
        strategy = self.matching.get("matchingStrategy", "last")
        return replace(self.query, q=self.matching.get("q"), matching_strategy=strategy, filter=self.filter)

    @property
    def ends_at(self) -> int:
        """First position after the page that may be shown."""
        return min(self.offset + self.limit, self.max_total_hits)


@dataclass(frozen=True, slots=True)
class Matching:
    """What decides which documents a search finds, without how they are shown."""

    body: JsonObject
    filter: FilterValue | None

    @property
    def is_plain(self) -> bool:
        """Whether the filter alone decides."""
        return not str(self.body.get("q") or "").strip() and "hybrid" not in self.body


def matching_of(index: IndexView, query: SearchQuery) -> Matching:
    """What a query finds, as each node is asked."""
    proof = shard_proof(index, query.filter)
    kind = kind_of(query)
    if kind != "keyword":  # of everything that passes the filter, each has its place
        return Matching({}, proof)
    return Matching(matching_body(query), proof)


def plan_search(
    index: IndexView,
    query: SearchQuery,
    *,
    kind: Kind = "keyword",
    depth: int | None = None,
    needed: tuple[str, ...] = (),
) -> SearchPlan:
    """Decide how to ask. `depth` overrides the number of hits (a federation asks for its own).

    `kind` keyword or semantic, or the half of a hybrid search; `hybrid` is its semantic half where a node has to know
    the words, to mark them or to leave out what has unwanted ones. `needed` are attributes to see besides.
    """
    offset, limit = window(query)
    reach = max_total_hits(index)
    ends_at = min(offset + limit, reach)
    distinct = query.distinct or index.settings.get("distinctAttribute")
    threshold = query.ranking_score_threshold
    wanted = ends_at if depth is None else min(depth, reach)
    # Exhaustive totals under a threshold are counted here, on repaired scores (H12).
    depth = reach if depth is None and query.is_paged and threshold is not None else wanted
    if kind == "hybrid":
        depth = 2 * wanted  # what only has the words may come before what has nothing
    two_phase = depth - min(limit, depth) >= TWO_PHASE_DEPTH
    projection = project(
        index,
        query.attributes_to_retrieve,
        highlight=query.attributes_to_highlight,
        crop=query.attributes_to_crop,
        needed=tuple(dict.fromkeys((*((distinct,) if distinct else ()), *needed))),
    )
    matching = matching_body(query) | vectors_body(query, kind)
    body = dict(matching)
    body |= {"offset": 0, "limit": depth, "showRankingScore": True, "showRankingScoreDetails": True}
    if query.distinct is not None:
        body["distinct"] = (
            query.distinct
        )  # the setting's attribute need not be filterable, the parameter's must
    if query.facets:
        body["facets"] = list(query.facets)
    if two_phase:
        body["attributesToRetrieve"] = list(dict.fromkeys([*([distinct] if distinct else []), *needed]))
    else:
        body |= _presentation(query, projection)
    return SearchPlan(
        index=index,
        query=query,
        offset=offset,
        limit=limit,
        max_total_hits=reach,
        wanted=wanted,
        depth=depth,
        distinct=distinct,
        projection=projection,
        two_phase=two_phase,
        filter=shard_proof(index, query.filter),
        semantic=kind != "keyword",
        matching=matching,
        body=body,
    )


Kind = Literal["keyword", "semantic", "hybrid"]


def kind_of(query: SearchQuery) -> Kind:
    """Which search runs. reference: search-semantics F.1."""
    hybrid = query.hybrid
    if hybrid is None or hybrid.semantic_ratio == 0.0:
        return "keyword"
    given = query.vector is not None or query.media is not None
    if not (query.q or "").strip() and not given:
        return "keyword"
    if hybrid.semantic_ratio == 1.0 or not query.q:
        return "semantic"
    return "hybrid"


def vectors_body(query: SearchQuery, kind: Kind) -> JsonObject:
    """What makes a node search by similarity; nothing for the keyword half of a hybrid search."""
    hybrid = query.hybrid
    if hybrid is None or (kind == "keyword" and kind_of(query) == "hybrid"):
        return {}
    ratio = {"keyword": 0.0, "hybrid": _NEARLY_SEMANTIC, "semantic": 1.0}[kind]
    body: JsonObject = {"hybrid": {"embedder": hybrid.embedder, "semanticRatio": ratio}}
    if query.vector is not None:
        body["vector"] = list(query.vector)
    if query.media is not None:
        body["media"] = query.media
    return body


def query_vector_body(query: SearchQuery) -> JsonObject:
    """Asks one node to embed the query: the answer's `queryVector` then serves every shard (H10)."""
    return {
        "limit": 1,
        "attributesToRetrieve": [],
        "retrieveVectors": True,
        "q": query.q or "",
        **vectors_body(query, "semantic"),
    }


def window(query: SearchQuery) -> tuple[int, int]:
    """(offset, limit) of the page asked for."""
    if not query.is_paged:
        return query.offset, query.limit
    size = 20 if query.hits_per_page is None else query.hits_per_page
    page = 1 if query.page is None else query.page
    return (0, 0) if page == 0 else ((page - 1) * size, size)


def max_total_hits(index: IndexView) -> int:
    """Hits that can be reached by paging."""
    pagination = index.settings.get("pagination") or {}
    value = pagination.get("maxTotalHits")
    return DEFAULT_MAX_TOTAL_HITS if value is None else int(value)


def matching_body(query: SearchQuery) -> JsonObject:
    """The part of a body that decides which documents match and how they rank."""
    body: JsonObject = {}
    if query.q is not None:
        body["q"] = query.q
    if query.matching_strategy != "last":
        body["matchingStrategy"] = query.matching_strategy
    if query.attributes_to_search_on is not None:
        body["attributesToSearchOn"] = list(query.attributes_to_search_on)
    if query.locales is not None:
        body["locales"] = list(query.locales)
    if query.sort:
        body["sort"] = list(query.sort)
    return body


def _presentation(query: SearchQuery, projection: Projection) -> JsonObject:
    """The part of a body that decides what a hit shows."""
    body: JsonObject = {}
    if projection.retrieve is not None:
        body["attributesToRetrieve"] = list(projection.retrieve)
    if query.retrieve_vectors:
        body["retrieveVectors"] = True
    if projection.highlight:
        body["attributesToHighlight"] = list(projection.highlight)
        body["highlightPreTag"] = query.highlight_pre_tag
        body["highlightPostTag"] = query.highlight_post_tag
    if projection.crop:
        body["attributesToCrop"] = list(projection.crop)
        body["cropLength"] = query.crop_length
        body["cropMarker"] = query.crop_marker
    if query.show_matches_position:
        body["showMatchesPosition"] = True
    return body


def with_filter(body: JsonObject, *filters: FilterValue | None) -> JsonObject:
    """A copy of `body` whose filter is the AND of `filters`."""
    joined = join_filters(*filters)
    return body if joined is None else {**body, "filter": joined}


def join_filters(*filters: FilterValue | None) -> FilterValue | None:
    """AND of filter expressions: an array's outer level is AND already, a string becomes one element of it.

    The client's comes first: a node evaluates in order, and what comes after nothing is not even checked.
    """
    present = [each for each in filters if not is_empty(each)]
    if not present:
        return None
    if len(present) == 1:
        return present[0]
    joined: list[Any] = []
    for each in present:
        if not isinstance(each, list | tuple):
            joined.append(each)
        else:
            joined.extend(part for part in each or () if not is_empty(part))
    return joined


def is_empty(value: Any) -> bool:
    """Whether a filter says nothing: absent, blank, `[]` or `[[]]`."""
    if value is None:
        return True
    if isinstance(value, str):
        return not value.strip()
    return isinstance(value, list | tuple) and all(is_empty(part) for part in value)


def shard_proof(index: IndexView, value: FilterValue | None) -> FilterValue | None:
    """The filter with `f != v` as `NOT f = v`, for fields that some shard may not know (H7).

    On a node that has never seen `f`, `!=` matches nothing. Where no document of the index has it, a single node
    answers the same, so there it stays.
    """
    if value is None or "!=" not in str(value):
        return value
    tree = parse(value)
    return None if tree is None else to_text(_without_unequal(tree, frozenset(index.field_order)))


def _without_unequal(node: Filter, known: frozenset[str]) -> Filter:
    match node:
        case Condition(op="!=") if node.name in known or node.name.partition(".")[0] in known:
            return Not(Condition(node.field, "=", node.values))
        case Not(operand):
            return Not(_without_unequal(operand, known))
        case And(operands):
            return And(tuple(_without_unequal(each, known) for each in operands))
        case Or(operands):
            return Or(tuple(_without_unequal(each, known) for each in operands))
        case _:
            return node


def node_search(plan: SearchPlan, share: Share) -> JsonObject:
    """The first request to one node."""
    return with_filter(plan.body, plan.filter, share.shard_filter)


def only(seqs: Sequence[str]) -> str:
    """A filter for exactly these documents of a shard, by their sequence."""
    return f"{SEQ_FIELD} IN [{', '.join(quoted(seq) for seq in seqs)}]"


def sequences(matching: Matching, share: Share, *filters: FilterValue) -> JsonObject:
    """Asks a node for the sequences of everything that matches, as the values of a facet."""
    body = matching.body | {"limit": 0, "facets": [SEQ_FIELD]}
    return with_filter(body, matching.filter, share.shard_filter, *filters)


def facets_of(share: Share, facets: Sequence[str], seqs: Sequence[str]) -> JsonObject:
    """Asks a node for the facets of exactly these documents, as far as it answers for them."""
    return with_filter({"limit": 0, "facets": list(facets)}, share.shard_filter, only(seqs))


def first_document(share: Share, field: str, *filters: FilterValue | None) -> JsonObject:
    """Asks a node for one attribute of the first document that passes; a body of /documents/fetch."""
    body: JsonObject = {"limit": 1, "sort": [f"{SEQ_FIELD}:asc"], "fields": [field, SEQ_FIELD]}
    return with_filter(body, share.shard_filter, *filters)


def quoted(value: str) -> str:
    """A filter value in quotes."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def winners(plan: SearchPlan, share: Share, seqs: Sequence[str]) -> JsonObject:
    """The second phase: the documents of the page, formatted for the same query (H19)."""
    body = plan.matching | _presentation(plan.query, plan.projection)
    if plan.projection.retrieve is not None:
        body["attributesToRetrieve"] = [*plan.projection.retrieve, SEQ_FIELD]
    body["limit"] = len(seqs)
    if plan.index.settings.get("distinctAttribute"):
        body["distinct"] = SEQ_FIELD
    return with_filter(body, only(seqs), plan.filter)


def remarking(plan: SearchPlan, share: Share, seqs: Sequence[str], texts: Sequence[str]) -> list[JsonObject]:
    """Searches that show the marks of some documents: for the query itself, then for other texts."""
    body = winners(plan, share, seqs) | {"showMatchesPosition": True}
    words = {name: value for name, value in body.items() if name not in ("hybrid", "vector", "media")}
    return [body, *({**words, "q": text, "matchingStrategy": "last"} for text in texts)]


def whole_with_marks(plan: SearchPlan, share: Share, seqs: Sequence[str]) -> JsonObject:
    """A search that shows some documents whole, with their marks."""
    return winners(plan, share, seqs) | {"showMatchesPosition": True, "attributesToRetrieve": ["*"]}


def counting_word(word: str) -> JsonObject:
    """A search that finds the documents of a node that have exactly this word."""
    return {"q": f'"{word}"', "limit": 0}


def total_pages(total: int, query: SearchQuery) -> int:
    size = 20 if query.hits_per_page is None else query.hits_per_page
    return 0 if size == 0 else math.ceil(total / size)


def judged_body(query: SearchQuery) -> JsonObject:
    """The search as the client wrote it, for a node to refuse in its own words; it returns no hits (H22)."""
    body = matching_body(query) | vectors_body(query, kind_of(query)) | {"limit": 0}
    if query.hybrid is not None:
        body["hybrid"]["semanticRatio"] = query.hybrid.semantic_ratio
    if query.facets:
        body["facets"] = list(query.facets)
    if query.distinct is not None:
        body["distinct"] = query.distinct
    return with_filter(body, query.filter)

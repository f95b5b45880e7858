"""Counting the union of what several queries of one index match: one request per node and part. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from miroir.core.reads.covering import Share
from miroir.core.reads.search_plan import (
    SearchPlan,
    is_empty,
    join_filters,
    kind_of,
    matching_body,
    shard_proof,
    vectors_body,
    with_filter,
)
from miroir.core.topology import IndexView
from miroir.meili.commands import JsonObject, SearchQuery
from miroir.meili.filter_ast import to_text
from miroir.meili.filters import parse

_NEGATIVE = re.compile(r"(?:(?<=\s)|^)-\w+")
_NEGATIVE_PHRASE = re.compile(r"(?:\s|^)-$")


def federation_count_body(
    index: IndexView, queries: Sequence[SearchQuery], share: Share, facets: Sequence[str] | None
) -> JsonObject:
    """A federation of no hits: counts the union of what several queries of one index match."""
    federation: JsonObject = {"limit": 0}
    if facets:
        federation["facetsByIndex"] = {index.physical_uid: list(facets)}
    bodies = []
    for query in queries:
        body = matching_body(replace(query, sort=None)) | vectors_body(query, kind_of(query))
        proof = shard_proof(index, query.filter)
        bodies.append({"indexUid": index.physical_uid, **with_filter(body, proof, share.shard_filter)})
    return {"federation": federation, "queries": bodies}


def count_parts(queries: Sequence[SearchQuery]) -> list[list[SearchQuery]]:
    """Queries of one index in parts whose unions have nothing in common, each of which a node can federate.

    The sequence rule that nodes have cannot stand beside relevance: queries without words are counted alone, the
    others without what those find.
    """
    blank = [query for query in queries if kind_of(query) == "keyword" and not (query.q or "").strip()]
    worded = [query for query in queries if query not in blank]
    if not blank or not worded:
        return [list(queries)]
    if any(is_empty(query.filter) for query in blank):
        return [[query for query in blank if is_empty(query.filter)][:1]]
    trees = [tree for query in blank if (tree := parse(query.filter)) is not None]
    others = "NOT (" + " OR ".join(f"({to_text(tree)})" for tree in trees) + ")"
    return [blank, [replace(query, filter=join_filters(query.filter, others)) for query in worded]]


def counted_query(plan: SearchPlan) -> SearchQuery:
    """The query that finds, by words or by its filter alone, what a plan's search counts."""
    query = plan.asked
    if kind_of(query) != "hybrid":
        return query
    words = negatives(query.q or "") if plan.semantic else query.q
    return replace(query, q=words, hybrid=None, vector=None, media=None)


def negatives(text: str) -> str:
    """The part of a query that says what must not match: `-word`, `-"some words"`."""
    found: list[str] = []
    parts = text.split('"')
    for number, part in enumerate(parts):
        if number % 2 == 0:
            found += _NEGATIVE.findall(part)
        elif _NEGATIVE_PHRASE.search(parts[number - 1]):
            found.append(f'-"{part}"')
    return " ".join(found)

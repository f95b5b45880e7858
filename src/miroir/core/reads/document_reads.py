"""Documents without a search: one order over all shards, by sort values and then by insertion.

reference: meilisearch-api 2.3, 8.2; search-semantics H.32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from miroir.core.reads.covering import Share
from miroir.core.reads.distinct import facet_keys
from miroir.core.reads.merging import SEQ_RULE, Key, sort_key
from miroir.core.reads.projection import at_path
from miroir.core.reads.search_plan import join_filters, shard_proof
from miroir.core.reserved import SEQ_FIELD
from miroir.core.topology import IndexView
from miroir.meili.commands import DocumentsQuery, JsonObject
from miroir.meili.settings_rules import AttributeRules

#: Without it a node does not tell by which values it sorted.
SORT_VALUES_HEADER = {"Meili-Proxy-Search": "true"}


def fetch_body(index: IndexView, query: DocumentsQuery, share: Share, *filters: str) -> JsonObject:
    """POST /documents/fetch for one node: everything up to the end of the page, in the cluster's order."""
    body: JsonObject = {
        "offset": 0,
        "limit": query.offset + query.limit,
        "sort": [*(query.sort or ()), SEQ_RULE],
    }
    if query.fields is not None:
        body["fields"] = [*query.fields, SEQ_FIELD, *_sort_fields(query)]
    if query.retrieve_vectors:
        body["retrieveVectors"] = True
    if query.ids is not None:
        body["ids"] = list(query.ids)
    joined = join_filters(shard_proof(index, query.filter), share.shard_filter, *filters)
    if joined is not None:
        body["filter"] = joined
    return body


def _sort_fields(query: DocumentsQuery) -> list[str]:
    """Fields whose values we must see ourselves where a node does not tell them."""
    assert query.fields is not None
    names = [entry.rpartition(":")[0] for entry in query.sort or ()]
    return [name for name in names if not name.startswith("_geoPoint(") and name not in query.fields]


def added_fields(query: DocumentsQuery) -> tuple[str, ...]:
    """What `fetch_body` asked for that the client did not."""
    return () if query.fields is None else tuple(_sort_fields(query))


def merge_documents(lists: Sequence[list[JsonObject]], query: DocumentsQuery) -> list[JsonObject]:
    """The page. Documents are as nodes sent them, but for their `_federation`."""
    keyed: list[tuple[Key, JsonObject]] = []
    directions = [entry.endswith(":asc") for entry in query.sort or ()]
    names = [entry.rpartition(":")[0] for entry in query.sort or ()]
    for documents in lists:
        for document in documents:
            shown = (document.pop("_federation", None) or {}).get("weightedScoreValues")
            parts: list[Any] = []
            if shown:
                for value, ascending in zip(shown, directions, strict=False):
                    _shown_key(value, ascending, parts)
            else:
                for name, ascending in zip(names, directions, strict=True):
                    sort_key(stored_sort_value(at_path(document, name), ascending), ascending, parts)
            parts.append(document.get(SEQ_FIELD, ""))
            keyed.append((tuple(parts), document))
    keyed.sort(key=lambda item: item[0])
    return [document for _, document in keyed[query.offset : query.offset + query.limit]]


def _shown_key(value: Mapping[str, Any], ascending: bool, parts: list[Any]) -> None:
    if "geoSort" in value:
        distance = value["geoSort"]["distance"]
        parts += (1, 0.0) if distance is None else (0, distance if ascending else -distance)
    else:
        sort_key(value["sort"]["value"], ascending, parts)


def stored_sort_value(value: Any, ascending: bool) -> float | str | None:
    """The value a node sorts a document by: its least or greatest number, else string, else nothing."""
    keys = facet_keys(value)
    choose = min if ascending else max
    numbers = [key[1] for key in keys if not key[0]]
    if numbers:
        return choose(numbers)
    strings = [key[1] for key in keys if key[0]]
    return choose(strings) if strings else None


def without_distances(query: DocumentsQuery) -> DocumentsQuery:
    """The listing as a node is asked that has no points."""
    return replace(query, sort=tuple(each for each in query.sort or () if not _is_distance(each)))


def add_no_distances(documents: Sequence[JsonObject], query: DocumentsQuery) -> None:
    """What a node would have said of documents without points."""
    for document in documents:
        shown = iter(document["_federation"]["weightedScoreValues"])
        document["_federation"]["weightedScoreValues"] = [
            {"geoSort": {"distance": None}} if _is_distance(each) else next(shown)
            for each in query.sort or ()
        ]


def lacks_points(index: IndexView, query: DocumentsQuery, refusal: Mapping[str, Any]) -> bool:
    """Whether a node refuses to sort by distance because no document of its own ever had a point."""
    return (
        refusal.get("code") == "invalid_document_sort"
        and any(_is_distance(each) for each in query.sort or ())
        and "_geo" in index.field_order
        and AttributeRules(index.settings).is_sortable("_geo")
    )


def _is_distance(entry: str) -> bool:
    return entry.startswith("_geoPoint(")

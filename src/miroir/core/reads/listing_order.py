"""A page of a listing that is sorted by several fields, told from all documents that are listed.

A node drops documents that have a field of the sort but no value under it (null, empty); where it skips whole buckets
of an earlier field it counts them all the same. So what an offset skips depends on documents nobody sees.
reference: meilisearch-api 2.3; search-semantics D.4.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from miroir.core.reads.distinct import facet_keys
from miroir.core.reads.document_reads import stored_sort_value
from miroir.core.reads.merging import sort_key
from miroir.core.reads.projection import at_path
from miroir.core.reserved import SEQ_FIELD
from miroir.meili.commands import DocumentsQuery, JsonObject
from miroir.meili.sorted_walk import SortedWalk

#: (field, ascending)
Criterion = tuple[str, bool]


def depends_on_dropped(query: DocumentsQuery) -> bool:
    """Whether a page may begin elsewhere for the sake of documents that the order drops."""
    sorts = query.sort or ()
    return query.offset > 0 and len(sorts) > 1 and not any(entry.startswith("_geoPoint(") for entry in sorts)


def unsorted(query: DocumentsQuery, limit: int) -> DocumentsQuery:
    """Asks for all that is listed, with the fields of the sort."""
    names = [name for name, _ in criteria_of(query)]
    fields = dict.fromkeys([*names, *(name.partition(".")[0] for name in names)])
    return replace(
        query, sort=None, offset=0, limit=limit, fields=tuple(fields), retrieve_vectors=False, is_get=False
    )


def criteria_of(query: DocumentsQuery) -> tuple[Criterion, ...]:
    """What the listing is sorted by."""
    return tuple((entry.rpartition(":")[0], entry.endswith(":asc")) for entry in query.sort or ())


def sorted_page(documents: Sequence[JsonObject], query: DocumentsQuery) -> list[str]:
    """Sequences of the documents of the page; `documents` are all that are listed, by insertion."""
    page = _walk(documents, criteria_of(query)).page(query.offset, query.limit)
    return [document[SEQ_FIELD] for document in page]


def _walk(documents: Sequence[JsonObject], criteria: Sequence[Criterion]) -> SortedWalk[JsonObject]:
    if not criteria:
        return SortedWalk(len(documents), leaf=iter(documents))
    return SortedWalk(len(documents), buckets=_buckets(documents, criteria))


def _buckets(
    documents: Sequence[JsonObject], criteria: Sequence[Criterion]
) -> Iterator[SortedWalk[JsonObject]]:
    name, ascending = criteria[0]
    by_value: dict[tuple[Any, ...], list[JsonObject]] = {}
    without = []
    for document in documents:
        value = at_path(document, name)
        if facet_keys(value):
            place: list[Any] = []
            sort_key(stored_sort_value(value, ascending), ascending, place)
            by_value.setdefault(tuple(place), []).append(document)
        elif not has_path(document, name):
            without.append(document)
    for place_of in sorted(by_value):
        yield _walk(by_value[place_of], criteria[1:])
    if without:
        yield _walk(without, criteria[1:])


def has_path(body: Any, path: str) -> bool:
    """Whether a document has something, be it null, under a (dotted) path."""
    if isinstance(body, list):
        return any(has_path(item, path) for item in body)
    if not isinstance(body, dict):
        return False
    if path in body:
        return True
    head, dot, rest = path.partition(".")
    while dot:
        if head in body and has_path(body[head], rest):
            return True
        more, dot, rest = rest.partition(".")
        head = f"{head}.{more}"
    return False

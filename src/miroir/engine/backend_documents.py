"""Routes of documents: writes are queued, reads answered from the catalog of now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from pyroaring import BitMap

from miroir.engine.index import Document, Index
from miroir.engine.jobs import AddDocuments, ClearDocuments, DeleteByFilter, DeleteDocuments, EditDocuments
from miroir.engine.routing import ACCEPTED, Answer, Handler
from miroir.engine.selecting import everything, matching_documents
from miroir.engine.sort_values import sort_values
from miroir.engine.sorting import check_document_sort, sorted_page
from miroir.engine.state import State
from miroir.meili.codes import ApiError
from miroir.meili.commands import (
    Call,
    DocumentGet,
    DocumentsDelete,
    DocumentsEdit,
    DocumentsQuery,
    DocumentsWrite,
)
from miroir.meili.documents import check_edit
from miroir.meili.field_selection import retrieve
from miroir.meili.filters import check_features, parse
from miroir.meili.refusals import compact_json
from miroir.meili.sorting import Sort, parse_sorts

VECTORS = "_vectors"


def _add(state: State, call: Call) -> Answer:
    args: DocumentsWrite = call.args
    job = AddDocuments(
        merge=args.kind == "merge",
        documents=list(args.documents),
        primary_key=args.primary_key,
        skip_creation=args.skip_creation,
        may_create=call.access.may_create_indexes,
    )
    details = {"receivedDocuments": len(args.documents), "indexedDocuments": None}
    return ACCEPTED, state.enqueue(
        "documentAdditionOrUpdate",
        job,
        index_uid=call.index_uid,
        details=details,
        custom_metadata=args.custom_metadata,
    )


def _delete(state: State, call: Call) -> Answer:
    args: DocumentsDelete = call.args
    job: DeleteDocuments | DeleteByFilter | ClearDocuments
    details: dict[str, Any]
    if args.ids is not None:
        job = DeleteDocuments(ids=list(args.ids))
        details = {"providedIds": len(args.ids), "deletedDocuments": None, "originalFilter": None}
    elif args.filter is not None:
        node = parse(args.filter, "invalid_document_filter")
        check_features(node, lambda feature: state.features.get(feature, False))
        job = DeleteByFilter(filter=args.filter)
        details = {"providedIds": 0, "deletedDocuments": None, "originalFilter": compact_json(args.filter)}
    else:
        job = ClearDocuments()
        details = {"deletedDocuments": None}
    return ACCEPTED, state.enqueue(
        "documentDeletion",
        job,
        index_uid=call.index_uid,
        details=details,
        custom_metadata=args.custom_metadata,
    )


def _edit(state: State, call: Call) -> Answer:
    args: DocumentsEdit = call.args
    assert call.index_uid is not None
    check_edit(args, call.index_uid, lambda feature: state.features.get(feature, False))
    job = EditDocuments(function=args.function, filter=args.filter, context=args.context)
    details = {
        "editedDocuments": None,
        "deletedDocuments": None,
        "originalFilter": None if args.filter is None else compact_json(args.filter),
        "context": args.context,
        "function": args.function,
    }
    return ACCEPTED, state.enqueue(
        "documentEdition",
        job,
        index_uid=call.index_uid,
        details=details,
        custom_metadata=args.custom_metadata,
    )


# --- reading ------------------------------------------------------------------------------------


class _Renderer:
    """Prints documents of one index version: its field order, the wanted fields, vectors or none."""

    def __init__(self, index: Index, fields: Sequence[str] | None, *, vectors: bool) -> None:
        self._index = index
        self._places = {name: place for place, name in enumerate(index.field_ids)}
        self._fields = fields
        self._vectors = vectors

    def show(self, docid: int) -> Document:
        stored = self._index.documents[docid]
        last = len(self._places)
        names = sorted((n for n in stored if n != VECTORS), key=lambda n: self._places.get(n, last))
        document: Document = {name: stored[name] for name in names}
        if self._fields is not None:
            document = retrieve(document, self._fields)
        if self._vectors:
            is_asked = self._fields is None or VECTORS in self._fields
            document[VECTORS] = self._index.vectors.shown(docid, stored.get(VECTORS) if is_asked else None)
        return document


def _list(state: State, call: Call) -> Answer:
    args: DocumentsQuery = call.args
    live = state.index(call.index_uid)
    index = live.index
    found = (
        everything(index) if args.filter is None else matching_documents(live, args.filter, state.features)
    )
    if args.ids is not None:
        named = (index.docids.get(text) for text in args.ids)
        # A new set: a filter may give one of the index's own.
        found = found & BitMap(docid for docid in named if docid is not None)
    page: Iterable[int] = islice(found, args.offset, args.offset + args.limit)
    criteria: Sequence[Sort] = ()
    if args.sort:
        criteria = parse_sorts(args.sort, "invalid_document_sort")
        check_document_sort(index.facets.rules, criteria, index.field_ids)
        page = sorted_page(index.facets, criteria, found, args.offset, args.limit)
    renderer = _Renderer(index, args.fields, vectors=args.retrieve_vectors)
    results = []
    for docid in page:
        document = renderer.show(docid)
        if call.request.headers.get("meili-proxy-search") == "true" and not args.is_get:
            values = sort_values(index.facets, criteria, docid)
            document["_federation"] = {"weightedScoreValues": values}
        results.append(document)
    return 200, {"results": results, "offset": args.offset, "limit": args.limit, "total": len(found)}


def _get(state: State, call: Call) -> Answer:
    args: DocumentGet = call.args
    index = state.index(call.index_uid).index
    docid = index.docids.get(args.id)
    if docid is None:
        raise ApiError("document_not_found", f"Document `{args.id}` not found.")
    return 200, _Renderer(index, args.fields, vectors=args.retrieve_vectors).show(docid)


ROUTES: dict[str, Handler] = {
    "documents.add": _add,
    "documents.clear": _delete,
    "documents.delete_batch": _delete,
    "documents.delete_filter": _delete,
    "document.delete": _delete,
    "documents.edit": _edit,
    "documents.list": _list,
    "documents.fetch": _list,
    "document.get": _get,
}

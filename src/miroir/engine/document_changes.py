"""From the operations of a batch to the documents that change: ids, merges, counts, errors per task.

Pure. Rules (Meilisearch v1.50, `document_operation.rs`, read not copied): a payload with one bad document
changes nothing; ids are given to unknown documents in order of first mention, lowest free number first;
counts are distinct ids per payload.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from miroir.engine.index import Document, Index
from miroir.engine.jobs import AddDocuments, DeleteDocuments
from miroir.meili.codes import ApiError
from miroir.meili.primary_keys import document_id, infer_primary_key, primary_key_taken


@dataclass(frozen=True, slots=True)
class DeleteDocids:
    """Delete documents by internal number: what a deletion by filter matched."""

    docids: Sequence[int]


Operation = AddDocuments | DeleteDocuments | DeleteDocids


@dataclass(frozen=True, slots=True)
class Change:
    """One document before and after; None: it did not or does no longer exist."""

    docid: int
    id: str
    old: Document | None
    new: Document | None


@dataclass(slots=True)
class Result:
    """Outcome of one operation."""

    count: int = 0
    error: ApiError | None = None


@dataclass(slots=True)
class Resolved:
    """`names`: top-level names in order of first mention in the payloads that count."""

    primary_key: str | None
    changes: list[Change] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    names: list[str] = field(default_factory=list)


_Edit = tuple[AddDocuments, Document] | None  # None: delete


def resolve(index: Index, operations: Sequence[Operation]) -> Resolved:
    """Work out what a batch of operations changes."""
    asked = next((op.primary_key for op in operations if isinstance(op, AddDocuments)), None)
    primary_key, results, rest = _choose_key(index, asked, operations)
    if primary_key is None:
        return Resolved(index.primary_key, results=results)
    resolved = Resolved(primary_key, results=results)
    edits: dict[str, list[_Edit]] = {}
    names: dict[str, None] = dict.fromkeys(index.field_ids)
    names.setdefault(primary_key if "." not in primary_key else primary_key.split(".", 1)[0])
    known = len(names)
    by_docid: dict[int, str] | None = None
    for operation in rest:
        result = Result()
        resolved.results.append(result)
        if isinstance(operation, AddDocuments):
            try:
                payload = [(document_id(document, primary_key), document) for document in operation.documents]
            except ApiError as error:
                result.error = error
                continue
            for text, document in payload:
                edits.setdefault(text, []).append((operation, document))
                names.update(dict.fromkeys(document))
            result.count = len({text for text, _ in payload})
        else:
            if isinstance(operation, DeleteDocids):
                if by_docid is None:
                    by_docid = {docid: text for text, docid in index.docids.items()}
                ids: Iterable[str] = [by_docid[docid] for docid in operation.docids]
            else:
                ids = operation.ids
            distinct = dict.fromkeys(ids)
            result.count = len(distinct)
            for text in distinct:
                edits.setdefault(text, []).append(None)
    resolved.names = list(names) if known < len(names) or not index.field_ids else list(index.field_ids)
    resolved.changes = list(_changes(index, edits))
    return resolved


def _choose_key(
    index: Index, asked: str | None, operations: Sequence[Operation]
) -> tuple[str | None, list[Result], Sequence[Operation]]:
    """(primary key, results of the leading operations that count for nothing, the other operations)."""
    if index.primary_key is not None:
        if asked is None or asked == index.primary_key:
            return index.primary_key, [], operations
        error = primary_key_taken(index.primary_key)
        refused = [
            Result(error=error) if isinstance(op, AddDocuments) and op.documents else Result()
            for op in operations
        ]
        return None, refused, ()
    if asked is not None:
        return asked, [], operations
    results: list[Result] = []
    for position, operation in enumerate(operations):
        result = Result()
        if isinstance(operation, AddDocuments) and operation.documents:
            try:
                return infer_primary_key(operation.documents), results, operations[position:]
            except ApiError as error:
                result.error = error
        results.append(result)
    return None, results, ()


def _changes(index: Index, edits: Mapping[str, list[_Edit]]) -> Iterator[Change]:
    embedders = index.vectors.embedders.keys()
    free = _free_docids(index.documents)
    for text, todo in edits.items():
        docid = index.docids.get(text)
        old = None if docid is None else index.documents[docid]
        if docid is None:
            docid = next(free)
        new = _applied(old, todo)
        if embedders and old is not None and new is not None and None not in todo:
            new = _with_kept_vectors(old, new, embedders)
        if new is not old and not (new is None and old is None):
            yield Change(docid, text, old, new)


def _applied(old: Document | None, edits: Iterable[_Edit]) -> Document | None:
    document = old
    for edit in edits:
        if edit is None:
            document = None
            continue
        operation, sent = edit
        if operation.skip_creation and document is None:
            continue
        if operation.merge and document is not None:
            document = _merged(document, sent)
        else:
            document = sent
    return document


def _merged(document: Document, sent: Document) -> Document:
    """The document with what was sent in place of what it had; `_vectors` are merged by embedder."""
    before, after = document.get("_vectors"), sent.get("_vectors")
    merged = {**document, **sent}
    if isinstance(before, dict) and isinstance(after, dict):
        merged["_vectors"] = {**before, **after}
    return merged


def _with_kept_vectors(old: Document, new: Document, embedders: Collection[str]) -> Document:
    """A document that does not mention an embedder keeps the vectors that were sent for it before."""
    before, after = old.get("_vectors"), new.get("_vectors")
    if not isinstance(before, dict) or not (after is None or isinstance(after, dict)):
        return new
    kept = {name: before[name] for name in before if name in embedders and name not in (after or {})}
    return {**new, "_vectors": {**(after or {}), **kept}} if kept else new


def _free_docids(documents: Mapping[int, Any]) -> Iterator[int]:
    """Numbers no document has, ascending."""
    docid = 0
    left = len(documents)
    while left:
        if docid in documents:
            left -= 1
        else:
            yield docid
        docid += 1
    while True:
        yield docid
        docid += 1


def counted(counts: Mapping[str, int], changes: Iterable[Change]) -> dict[str, int]:
    """How many documents hold each top-level name after the changes; `_vectors` is not counted."""
    after = dict(counts)
    for change in changes:
        for name in change.old or ():
            after[name] = after.get(name, 0) - 1
        for name in change.new or ():
            after[name] = after.get(name, 0) + 1
    return {name: count for name, count in after.items() if count > 0 and name != "_vectors"}

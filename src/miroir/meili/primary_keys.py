"""Primary keys of indexes: inferring one, and reading the ids of documents, with the server's words for what is wrong.

Source: reference/meilisearch-api.md, sections 6.1 and 6.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from miroir.meili.codes import ApiError
from miroir.meili.document_ids import canonical_id, is_valid_id
from miroir.meili.large_documents import LargeDocuments
from miroir.meili.refusals import compact_json


def infer_primary_key(documents: Sequence[Mapping[str, Any]]) -> str:
    """The one top-level name of the first document that ends in `id`, in any case. Raises ApiError."""
    names = sorted(
        (name for name in (documents[0] if documents else ()) if name.lower().endswith("id")),
        key=str.encode,
    )
    if len(names) == 1:
        return names[0]
    if not names:
        raise ApiError(
            "index_primary_key_no_candidate_found",
            "The primary key inference failed as the engine did not find any field ending with `id` in its name. "
            "Please specify the primary key manually using the `primaryKey` query parameter.",
        )
    raise ApiError(
        "index_primary_key_multiple_candidates_found",
        f"The primary key inference failed as the engine found {len(names)} fields ending with `id` in their names: "
        f"'{names[0]}' and '{names[1]}'. Please specify the primary key manually using the `primaryKey` query "
        "parameter.",
    )


def primary_key_taken(primary_key: str) -> ApiError:
    """An index that has a primary key was given another one."""
    return ApiError("index_primary_key_already_exists", f"Index already has a primary key: `{primary_key}`.")


def document_ids(documents: Sequence[Mapping[str, Any]], primary_key: str) -> list[str]:
    """Canonical id text of every document, in order. Raises ApiError about the first one that has none.

    Those of large documents are read once; do not change the list.
    """
    kept = documents.kept_ids if isinstance(documents, LargeDocuments) else {}
    if primary_key in kept:
        return kept[primary_key]
    found: list[str] = []
    append = found.append
    valid = is_valid_id
    for document in documents:
        value = document.get(primary_key)
        if type(value) is int and -(2**63) <= value < 2**64:
            append(str(value))
        elif type(value) is str and valid(value):
            append(value)
        else:
            append(document_id(document, primary_key))
    kept.clear()
    kept[primary_key] = found
    return found


def document_id(document: Mapping[str, Any], primary_key: str) -> str:
    """Canonical text of a document's id. Raises ApiError `missing_document_id` or `invalid_document_id`."""
    matches = [document[primary_key]] if primary_key in document else list(_nested(document, primary_key))
    if not matches:
        raise ApiError(
            "missing_document_id",
            f"Document doesn't have a `{primary_key}` attribute: `{compact_json(document)}`.",
        )
    if len(matches) > 1:
        raise ApiError(
            "invalid_document_id",
            f"Document have too many matching `{primary_key}` attribute: `{compact_json(document)}`.",
        )
    return canonical_id(matches[0])


def _nested(value: Any, path: str) -> list[Any]:
    """Every value at a dotted path, through arrays; a name may itself hold dots."""
    if isinstance(value, list):
        return [found for item in value for found in _nested(item, path)]
    if not isinstance(value, dict):
        return []
    found = [value[path]] if path in value else []
    for name, inner in value.items():
        if path.startswith(name + "."):
            found.extend(_nested(inner, path[len(name) + 1 :]))
    return found

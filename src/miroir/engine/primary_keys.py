"""Primary keys of an index: inferring one, and reading the id of a document.

Source: reference/meilisearch-api.md, sections 6.1 and 6.2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from miroir.meili.codes import ApiError
from miroir.meili.decode import compact_json
from miroir.meili.document_ids import canonical_id


def key_differs(index_key: str) -> ApiError:
    """The index has another primary key than the one a write asks for."""
    return ApiError("index_primary_key_already_exists", f"Index already has a primary key: `{index_key}`.")


def infer(first_document: Mapping[str, Any]) -> str:
    """The only top-level name that ends with `id`, whatever its case. Raises ApiError."""
    names = sorted(name for name in first_document if name.lower().endswith("id"))
    if len(names) == 1:
        return names[0]
    hint = "Please specify the primary key manually using the `primaryKey` query parameter."
    if not names:
        raise ApiError(
            "index_primary_key_no_candidate_found",
            "The primary key inference failed as the engine did not find any field ending with `id` in its"
            f" name. {hint}",
        )
    raise ApiError(
        "index_primary_key_multiple_candidates_found",
        f"The primary key inference failed as the engine found {len(names)} fields ending with `id` in their"
        f" names: '{names[0]}' and '{names[1]}'. {hint}",
    )


def document_id(document: Mapping[str, Any], primary_key: str) -> str:
    """Canonical text of a document's id. Raises ApiError `missing_document_id` or `invalid_document_id`."""
    if primary_key in document:
        return canonical_id(document[primary_key])
    found = list(_values(document, primary_key)) if "." in primary_key else []
    if not found:
        raise ApiError(
            "missing_document_id",
            f"Document doesn't have a `{primary_key}` attribute: `{compact_json(document)}`.",
        )
    if len(found) > 1:
        raise ApiError(
            "invalid_document_id",
            f"Document have too many matching `{primary_key}` attribute: `{compact_json(document)}`.",
        )
    return canonical_id(found[0])


def _values(value: object, path: str) -> Iterator[Any]:
    """Everything a dotted path leads to; every way to split it is tried, arrays are looked into."""
    if isinstance(value, list):
        for item in value:
            yield from _values(item, path)
    elif isinstance(value, Mapping):
        if path in value:
            yield value[path]
        for place, character in enumerate(path):
            if character == "." and path[:place] in value:
                yield from _values(value[path[:place]], path[place + 1 :])

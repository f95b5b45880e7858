"""What only a node would notice in a document, noticed before any node gets a part of the payload.

A payload is stored whole or not at all; once it is split over shards, a node can refuse its own part only.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from miroir.meili.codes import ApiError
from miroir.meili.geo_field import GEO_FIELD, document_point
from miroir.meili.geojson import GEOJSON_FIELD, document_shape
from miroir.meili.vector_values import check_forms, sent_vectors

_VECTORS = "_vectors"


#: of one index, ever: Meilisearch numbers them in 16 bits and never gives a number back
FIELDS_MAX = 65_535


def check_field_count(count: int) -> None:
    """Raise ApiError when an index would have seen more top-level names than a node can number."""
    if count > FIELDS_MAX:
        raise ApiError("max_fields_limit_exceeded", "A document cannot contain more than 65,535 fields.")


def check_documents(
    documents: Sequence[Mapping[str, Any]],
    ids: Sequence[str],
    settings: Mapping[str, Any],
    known: Collection[str],
) -> None:
    """Raise ApiError for points, shapes and vectors that the index's settings do not allow.

    `known` are ids that exist already: their vectors stay when the payload does not mention them.
    """
    for document, document_id in zip(documents, ids, strict=True):
        check_forms(document, document_id)
    if _filters(settings, GEOJSON_FIELD):
        for document in documents:
            document_shape(document)
    if _filters(settings, GEO_FIELD) or GEO_FIELD in settings.get("sortableAttributes", ()):
        for document, document_id in zip(documents, ids, strict=True):
            if GEO_FIELD in document:
                document_point(document, document_id)
    for name, config in (settings.get("embedders") or {}).items():
        dimensions = config.get("dimensions")
        if dimensions is not None:
            user_provided = config.get("source") == "userProvided"
            _check_vectors(documents, ids, name, dimensions, known if user_provided else None)


def _filters(settings: Mapping[str, Any], name: str) -> bool:
    """Whether an attribute is among the filterable ones by its whole name."""
    return any(
        rule == name or (isinstance(rule, dict) and name in rule.get("attributePatterns", ()))
        for rule in settings.get("filterableAttributes", ())
    )


def _check_vectors(
    documents: Sequence[Mapping[str, Any]],
    ids: Sequence[str],
    name: str,
    dimensions: int,
    known: Collection[str] | None,
) -> None:
    """`known` None: the embedder makes vectors itself where none are sent."""
    provided: set[str] = set()
    missing: list[str] = []
    for document, document_id in zip(documents, ids, strict=True):
        sent = sent_vectors(document, name, dimensions, document_id) if _VECTORS in document else None
        if sent is not None and not (sent.embeddings is None and sent.regenerate):
            provided.add(document_id)
        elif known is not None and (sent is not None or document_id not in known):
            missing.append(document_id)
    missing = [document_id for document_id in dict.fromkeys(missing) if document_id not in provided]
    if missing:
        others = f" and at least {len(missing) - 1} other document(s)" if len(missing) > 1 else ""
        raise ApiError(
            "vector_embedding_error",
            f"While embedding documents for embedder `{name}`: no vectors provided for document `{missing[0]}`"
            f"{others}\n- Note: `{name}` has `source: userProvided`, so documents must provide embeddings as an array "
            f"in `_vectors.{name}`.\n- Hint: opt-out for a document with `_vectors.{name}: null`",
        )

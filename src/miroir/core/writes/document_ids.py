"""Primary keys and document ids as the orchestrator uses them, and the names that documents may not have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from miroir.core.reserved import RESERVED_PREFIX
from miroir.meili.codes import ApiError
from miroir.meili.large_documents import SentDocuments
from miroir.meili.primary_keys import document_ids, infer_primary_key, primary_key_taken

__all__ = ["document_ids", "infer_primary_key", "primary_key_taken", "refuse_reserved_fields"]


def refuse_reserved_fields(documents: Sequence[Mapping[str, Any]]) -> None:
    """Raise ApiError when a document carries a name that belongs to Miroir."""
    known = documents.names if isinstance(documents, SentDocuments) else None
    for names in {tuple(document) for document in documents} if known is None else known:
        for name in names:
            if name.startswith(RESERVED_PREFIX):
                raise ApiError(
                    "miroir_reserved_field",
                    f"The field `{name}` is reserved: names beginning with `{RESERVED_PREFIX}` belong to Miroir.",
                )

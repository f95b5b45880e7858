"""Editing documents by function: what the function makes of each, as explicit replacements and deletions. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from miroir.core.reserved import RESERVED_PREFIX
from miroir.core.writes.document_ids import document_ids
from miroir.core.writes.reserved_words import refuse_names
from miroir.meili.codes import ApiError
from miroir.meili.rhai import compile_script, same_json

_CODE = "edit_documents_by_function_error"


@dataclass(slots=True)
class Edits:
    """What an edition comes to. `candidates` were looked at; `documents` replace, `deleted` are ids that go."""

    candidates: int = 0
    documents: list[dict[str, Any]] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)


class Editor:
    """One compiled function, applied document by document; collects `edits`."""

    def __init__(self, function: str, context: Mapping[str, Any] | None, primary_key: str) -> None:
        """Raises ApiError bad_request when the function does not compile."""
        self._run: Callable[[dict[str, Any], dict[str, Any] | None], Any] = compile_script(function)
        self._context = None if context is None else dict(context)
        self._primary_key = primary_key
        self.edits = Edits()

    def apply(self, stored: Iterable[Mapping[str, Any]]) -> None:
        """Run the function over documents as nodes hold them.

        Raises:
            ApiError: edit_documents_by_function_error about the first document the function cannot be applied to.
        """
        for raw in stored:
            old = {name: value for name, value in raw.items() if not name.startswith(RESERVED_PREFIX)}
            (document_id,) = document_ids((old,), self._primary_key)
            new = self._run(old, self._context)
            self.edits.candidates += 1
            if new is None:
                self.edits.deleted.append(document_id)
                continue
            if not isinstance(new, dict):
                raise ApiError(_CODE, "Document editions must keep documents as objects")
            if document_ids((new,), self._primary_key)[0] != document_id:
                raise ApiError(_CODE, "Document editions cannot modify a document's primary key")
            refuse_names(new)
            if not same_json(old, new):
                self.edits.documents.append(new)

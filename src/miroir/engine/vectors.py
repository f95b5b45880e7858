"""Vectors of documents for `userProvided` embedders; one immutable version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class VectorIndex:
    """All embedders with their vectors."""

    def updated(
        self,
        settings: Mapping[str, Any],
        changes: Sequence[tuple[int, Document | None, Document | None]],
        primary_key: str | None = None,
    ) -> VectorIndex:
        """The next version after a batch."""
        return self

    def rebuilt(
        self, settings: Mapping[str, Any], documents: Mapping[int, Document], primary_key: str | None = None
    ) -> VectorIndex:
        """The version under new embedder settings."""
        return self

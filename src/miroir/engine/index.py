"""One version of an index: documents, words, facets, vectors. Immutable once published.

`indexing.with_changes` makes a new version that shares what did not change, so that searches go on over the
old version while a batch is being indexed, and a failed batch leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from miroir.engine.facets import FacetIndex
from miroir.engine.text import TextIndex
from miroir.engine.vectors import VectorIndex

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Index:
    """A searchable version of one index.

    `documents` maps internal docid -> document as stored (`_vectors` included as sent); `docids` maps the
    canonical text of the primary key -> docid; `field_ids` lists top-level names in order of first
    appearance (primary key first), which is the order of keys in every hit. `settings` is the full
    effective settings object (canonical keys, `meili/settings.py`).
    """

    settings: Mapping[str, Any]
    primary_key: str | None = None
    documents: Mapping[int, Document] = field(default_factory=dict)
    docids: Mapping[str, int] = field(default_factory=dict)
    field_ids: tuple[str, ...] = ()
    text: TextIndex = field(default_factory=TextIndex)
    facets: FacetIndex = field(default_factory=FacetIndex)
    vectors: VectorIndex = field(default_factory=VectorIndex)

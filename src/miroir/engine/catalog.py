"""The indexes of one engine as they are now: an immutable map that a finished batch replaces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from miroir.engine.index import Index
from miroir.engine.store import IndexRow


@dataclass(frozen=True, slots=True)
class LiveIndex:
    """One index: its storage number, its name, its searchable version. Times are ns since 1970."""

    number: int
    uid: str
    index: Index
    created_at: int
    updated_at: int
    field_counts: Mapping[str, int] = field(default_factory=dict)  #: top-level name -> documents holding it
    raw_size: int = 0  #: bytes of all stored documents

    def row(self) -> IndexRow:
        """What is stored of it besides the documents."""
        return IndexRow(
            uid=self.uid,
            primary_key=self.index.primary_key,
            created_at=self.created_at,
            updated_at=self.updated_at,
            settings=orjson.dumps(dict(self.index.settings)),
            field_ids=list(self.index.field_ids),
        )


Catalog = Mapping[str, LiveIndex]

"""The catalogue: which logical name is which physical index, and the state of each.

There are two of them, changed by the same values: the sequenced catalogue (what the next op will find) and the
visible one (what readers see: everything up to the last completed task). A name can move between physical
indexes (swap, rename); a physical uid never changes its meaning and is never used twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import UNSET

from miroir.core.changes import Changes
from miroir.core.records import CatalogueChange, IndexChange, IndexState


def physical_uid(number: int) -> str:
    """Name on the nodes of the `number`-th index ever made."""
    return f"miroir-{number:06d}"


@dataclass(slots=True)
class Catalogue:
    """Names and indexes; `apply` is the only way to change it."""

    names: Changes[str, str] = field(default_factory=Changes)
    indexes: Changes[str, IndexState] = field(default_factory=Changes)

    def find(self, logical: str) -> IndexState | None:
        """The index that bears this name, or None."""
        physical = self.names.get(logical)
        return None if physical is None else self.indexes[physical]

    def apply(self, change: CatalogueChange, *, now_ns: int) -> Applied:
        """Make `change` so. Names first, then states; an index that lost its last name goes.

        `now_ns` becomes the time of the last update of the indexes touched.
        """
        indexes: dict[str, IndexState | None] = {}
        for physical, patch in change.indexes.items():
            old = self.indexes.get(physical)
            if patch.created is not None:
                old = patch.created
            if old is not None:
                self.indexes[physical] = indexes[physical] = _patched(old, patch, now_ns)
        for logical, target in change.names.items():
            if target is None:
                self.names.pop(logical, None)
            else:
                self.names[logical] = target
        if change.names:
            bearing = set(self.names.values())
            for physical in [p for p in self.indexes if p not in bearing]:
                del self.indexes[physical]
                indexes[physical] = None
        return Applied(dict(change.names), indexes)


@dataclass(frozen=True, slots=True)
class Applied:
    """Rows that changed; None: the row is gone."""

    names: dict[str, str | None]
    indexes: dict[str, IndexState | None]


def _patched(old: IndexState, patch: IndexChange, now_ns: int) -> IndexState:
    changed: dict[str, Any] = {"updated_at": max(now_ns, old.created_at)}
    for name in ("primary_key", "settings", "document_count", "field_distribution", "exact"):
        value = getattr(patch, name)
        if value is not UNSET:
            changed[name] = value
    if patch.new_fields:
        changed["field_order"] = extended(old.field_order, patch.new_fields)
    return msgspec.structs.replace(old, **changed)


def extended(order: tuple[str, ...], names: Iterable[str]) -> tuple[str, ...]:
    """`order` with those of `names` at its end that it does not have yet."""
    known = set(order)
    fresh = [name for name in dict.fromkeys(names) if name not in known]
    return (*order, *fresh)

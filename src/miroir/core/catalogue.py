"""The catalogue: which logical name is which physical index, and the state of each.

There are two of them, changed by the same values: the sequenced catalogue (what the next op will find) and the
visible one (what readers see: everything up to the last completed task). A name can move between physical
indexes (swap, rename); a physical uid never changes its meaning and is never used twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET

from miroir.core.changes import Changes
from miroir.core.records import CatalogueChange, IndexChange, IndexState

V = TypeVar("V")


def physical_uid(number: int) -> str:
    """Name on the nodes of the `number`-th index ever made."""
    return f"miroir-{number:06d}"


@dataclass(slots=True)
class Catalogue:
    """Names and indexes; changed by `apply`, or by what a draft of it came to."""

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
        return _apply(self.names, self.indexes, change, now_ns)

    def take(self, applied: Applied) -> None:
        """Follow what was applied to a draft."""
        _take(self.names, applied.names)
        _take(self.indexes, applied.indexes)


class Draft:
    """What a catalogue will be once some changes are durable; until then it stays as it is, and readers with it."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._names = _Layer(catalogue.names)
        self._indexes = _Layer(catalogue.indexes)

    def apply(self, change: CatalogueChange, *, now_ns: int) -> Applied:
        """As of a catalogue, on top of what was applied to the draft before."""
        return _apply(self._names, self._indexes, change, now_ns)


def _apply(
    names: MutableMapping[str, str],
    indexes: MutableMapping[str, IndexState],
    change: CatalogueChange,
    now_ns: int,
) -> Applied:
    changed: dict[str, IndexState | None] = {}
    for physical, patch in change.indexes.items():
        old = indexes.get(physical)
        if patch.created is not None:
            old = patch.created
        if old is not None:
            indexes[physical] = changed[physical] = _patched(old, patch, now_ns)
    _take(names, change.names)
    if change.names:
        bearing = set(names.values())
        for physical in [p for p in indexes if p not in bearing]:
            del indexes[physical]
            changed[physical] = None
    return Applied(dict(change.names), changed)


def _take(rows: MutableMapping[str, V], changed: Mapping[str, V | None]) -> None:
    for key, value in changed.items():
        if value is None:
            rows.pop(key, None)
        else:
            rows[key] = value


class _Layer(MutableMapping[str, V]):
    """A mapping as it is, under changes that it does not know of."""

    def __init__(self, below: Mapping[str, V]) -> None:
        self._below = below
        self._changed: dict[str, V | None] = {}  #: None: gone

    def __getitem__(self, key: str) -> V:
        value = self._changed[key] if key in self._changed else self._below.get(key)
        if value is None:
            raise KeyError(key)
        return value

    def __setitem__(self, key: str, value: V) -> None:
        self._changed[key] = value

    def __delitem__(self, key: str) -> None:
        self._changed[key] = None

    def __iter__(self) -> Iterator[str]:
        yield from (key for key in self._below if key not in self._changed)
        yield from (key for key, value in self._changed.items() if value is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


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

"""The functions scripts can call: by name and the types of what they are given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from miroir.meili.rhai.limits import Budget
from miroir.meili.rhai.slots import Slot
from miroir.meili.rhai.values import Pointer, Stream, type_name

ANY = "any"
_RANGES = ("range", "range=")
_CACHE_MAX = 2_000


class Machine(Protocol):
    """What functions may ask of the run they belong to."""

    @property
    def budget(self) -> Budget:
        """What the run has left."""

    def call_pointer(self, pointer: Pointer, arguments: list[Any], this: Slot | None = None) -> Any:
        """Call a function that was given as a value."""

    def call_back(
        self,
        pointer: Pointer,
        item: Slot,
        arguments: list[Any],
        extras: list[Any],
        at: int | None,
    ) -> Any:
        """Call with `item` as `this`, or as argument `at`, and with `extras` if it takes that many."""


@dataclass(frozen=True, slots=True)
class Native:
    """One function for one list of types; one that `changes` gets the slot of its first argument."""

    types: tuple[str, ...]
    run: Callable[..., Any]
    changes: bool


class Library:
    """All functions; getters of properties are named `get$` and their name."""

    def __init__(self) -> None:
        self._all: dict[tuple[str, int], list[Native]] = {}
        self._found: dict[tuple[str, ...], Native | None] = {}

    def add(self, names: str, types: str, run: Callable[..., Any], *, changes: bool = False) -> None:
        """Register a function under these names; `types` are words, `ranges` means both kinds."""
        for kinds in _spread(tuple(types.split())):
            for name in names.split():
                self._all.setdefault((name, len(kinds)), []).append(Native(kinds, run, changes))

    def find(self, name: str, arguments: list[Any]) -> Native | None:
        """The function for these values: one for exactly their types, else the one with the fewest of any type."""
        key = (name, *map(_kind, arguments))
        if key in self._found:
            return self._found[key]
        fitting = [
            native
            for native in self._all.get((name, len(arguments)), ())
            if all(want in (ANY, have) for want, have in zip(native.types, key[1:], strict=True))
        ]
        found = min(fitting, key=lambda native: native.types.count(ANY), default=None)
        if len(self._found) < _CACHE_MAX:
            self._found[key] = found
        return found

    def knows(self, name: str, count: int) -> bool:
        """Whether any function of this name takes this many arguments."""
        return (name, count) in self._all


LIBRARY = Library()


def native(names: str, types: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function (machine, *values) that changes nothing."""

    def register(run: Callable[..., Any]) -> Callable[..., Any]:
        LIBRARY.add(names, types, run)
        return run

    return register


def changing(names: str, types: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function (machine, slot, *values) that may change what is in the slot; not for constants."""

    def register(run: Callable[..., Any]) -> Callable[..., Any]:
        LIBRARY.add(names, types, run, changes=True)
        return run

    return register


def _kind(value: Any) -> str:
    return "stream" if isinstance(value, Stream) else type_name(value)


def _spread(types: tuple[str, ...]) -> list[tuple[str, ...]]:
    if "ranges" not in types:
        return [types]
    at = types.index("ranges")
    return [(*types[:at], kind, *types[at + 1 :]) for kind in _RANGES]


# --- indexes ------------------------------------------------------------------------------------


def index_in(length: int, index: int) -> int | None:
    """The index from the start; negative ones count from the end. None outside."""
    at = index if index >= 0 else length + index
    return at if 0 <= at < length else None


def span_in(length: int, start: int, count: int) -> tuple[int, int]:
    """(start, count) of a part that is inside; a negative start counts from the end."""
    if start < 0:
        start = max(length + start, 0)
    elif start >= length:
        return length, 0
    return start, max(min(count, length - start), 0)

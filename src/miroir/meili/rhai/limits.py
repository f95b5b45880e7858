"""How much a script may do and hold. The first numbers are the server's; those of time and memory are ours."""

from __future__ import annotations

from typing import Any

from miroir.meili.rhai.errors import Place, RunError, too_large
from miroir.meili.rhai.values import Pointer, Shared, to_string

OPERATIONS_MAX = 1_000_000
CALLS_MAX = 1_000
VARIABLES_MAX = 1_000
FUNCTIONS_MAX = 30
ITEMS_MAX = 10_000
#: Items and characters that one run may copy or make: what keeps a script of few operations from taking ages.
_WORK_MAX = 20_000_000
#: Characters of one text; the server allows 1 GiB.
TEXT_MAX = 16 * 2**20


class Budget:
    """What one run has left."""

    __slots__ = ("operations", "work")

    def __init__(self) -> None:
        self.operations = OPERATIONS_MAX
        self.work = _WORK_MAX

    def step(self, place: Place = None) -> None:
        """One operation.

        Raises:
            RunError: ErrorTooManyOperations.
        """
        self.operations -= 1
        if self.operations < 0:
            raise RunError("ErrorTooManyOperations", "Too many operations", place)

    def spend(self, units: int) -> None:
        """Work that one operation does.

        Raises:
            RunError: ErrorTooManyOperations.
        """
        self.work -= units
        if self.work < 0:
            raise RunError("ErrorTooManyOperations", "Too many operations")

    def text(self, text: str) -> str:
        """The text, which was made just now.

        Raises:
            RunError: ErrorDataTooLarge.
        """
        self.room(len(text))
        return text

    def room(self, length: int) -> None:
        """A text of this length may be made.

        Raises:
            RunError: ErrorDataTooLarge.
        """
        if length > TEXT_MAX:
            raise too_large("Length of string")
        self.spend(length >> 1)

    def appended(self, text: str, more: str) -> str:
        """A text that replaces the one it begins with.

        Raises:
            RunError: ErrorDataTooLarge.
        """
        length = len(text) + len(more)
        if length > TEXT_MAX:
            raise too_large("Length of string")
        self.spend(len(more) + (length >> 8))
        return text + more

    def clone(self, value: Any) -> Any:
        """A copy: arrays and maps are values."""
        kind = type(value)
        if kind is list:
            self.spend(len(value) + 8)
            return [self.clone(item) if type(item) in _DEEP else item for item in value]
        if kind is dict:
            self.spend(len(value) + 8)
            return {name: self.clone(item) if type(item) in _DEEP else item for name, item in value.items()}
        if kind is Shared:
            return self.clone(value.value)
        if kind is Pointer:
            self.spend(len(value.curry))
            return Pointer(value.name, value.function, list(value.curry))
        return value

    def printed(self, value: Any) -> str:
        """A value as text.

        Raises:
            RunError: ErrorDataTooLarge.
        """
        if type(value) is str:
            return str(value)
        items, members, characters = self._sizes(value)
        self.room(8 * (items + members) + characters)
        return to_string(value)

    def check(self, value: Any, place: Place = None) -> None:
        """An array or map that grew is not too large.

        Raises:
            RunError: ErrorDataTooLarge.
        """
        kind = type(value)
        if kind is not list and kind is not dict:
            return
        if len(value) <= ITEMS_MAX and len(value) % 32 and not (kind is list and type(value[-1]) in _DEEP):
            return  # counting all of it at every step would take longer than the step
        items, members, _ = self._sizes(value)
        if items > ITEMS_MAX:
            raise too_large("Size of array/BLOB", place)
        if members > ITEMS_MAX:
            raise too_large("Size of object map", place)

    def _sizes(self, value: Any) -> tuple[int, int, int]:
        """(items of arrays, members of maps, characters) in a value and all it holds."""
        kind = type(value)
        if kind is str:
            return 0, 0, len(value)
        if kind is not list and kind is not dict:
            return 0, 0, 0
        self.spend((len(value) >> 4) + 1)
        inner = value if kind is list else value.values()
        items, members, characters = (len(value), 0, 0) if kind is list else (0, len(value), 0)
        for item in inner:
            if type(item) in _DEEP:
                more = self._sizes(item)
                items, members, characters = items + more[0], members + more[1], characters + more[2]
        return items, members, characters


_DEEP = frozenset({list, dict, Shared, Pointer})

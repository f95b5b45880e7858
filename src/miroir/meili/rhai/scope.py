"""The variables that are known somewhere in a script."""

from __future__ import annotations

from typing import Any

from miroir.meili.rhai.slots import Cell


class Scope:
    """Variables by name, the last defined first, and as a stack."""

    __slots__ = ("_cells", "_names")

    def __init__(self) -> None:
        self._names: list[str] = []
        self._cells: dict[str, list[Cell]] = {}

    @property
    def size(self) -> int:
        """How many there are, those that are hidden included."""
        return len(self._names)

    def push(self, name: str, value: Any, *, constant: bool = False) -> Cell:
        """Define one."""
        cell = Cell(value, constant=constant)
        self._names.append(name)
        self._cells.setdefault(name, []).append(cell)
        return cell

    def rewind(self, size: int) -> None:
        """Forget all but the first so many."""
        while len(self._names) > size:
            self._cells[self._names.pop()].pop()

    def find(self, name: str) -> Cell | None:
        """The variable of a name, None if there is none."""
        cells = self._cells.get(name)
        return cells[-1] if cells else None

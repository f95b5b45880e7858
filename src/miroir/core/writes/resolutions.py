"""Resolutions in the log, by op and by index: a busy index must not be searched for among all others, nor by its past."""

from __future__ import annotations

from collections.abc import Iterable

from miroir.core.records import Resolution


class Resolutions(dict[int, Resolution]):
    """Op -> resolution. Ops of one index come in their order; only `[]`, `get` and `pop` change or ask for one."""

    def __init__(self, rows: Iterable[tuple[int, Resolution]] = ()) -> None:
        super().__init__()
        self._of_index: dict[str, dict[int, None]] = {}
        for op, resolution in sorted(rows, key=lambda row: row[0]):
            self[op] = resolution

    def __setitem__(self, op: int, resolution: Resolution) -> None:
        super().__setitem__(op, resolution)
        if resolution.physical is not None:
            self._of_index.setdefault(resolution.physical, {})[op] = None

    def pop(self, op: int, *default: object) -> Resolution | None:  # type: ignore[override]
        """Take one out, None when it is not there."""
        found = super().pop(op, None)
        if found is not None and found.physical is not None:
            ops = self._of_index[found.physical]
            del ops[op]
            if not ops:
                del self._of_index[found.physical]
        return found

    def last_of(self, index: str) -> int:
        """The last op of an index by its key, -1 without one."""
        return next(reversed(self._of_index.get(index, {})), -1)

    def after(self, index: str, op: int) -> list[tuple[int, Resolution]]:
        """Ops of an index behind `op`, ascending. Takes as long as there are such."""
        found: list[tuple[int, Resolution]] = []
        for number in reversed(self._of_index.get(index, {})):
            if number <= op:
                break
            found.append((number, self[number]))
        return found[::-1]

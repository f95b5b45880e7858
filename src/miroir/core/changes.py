"""A dict that knows which of its keys were touched, so that what is derived from it need not walk all of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Changes(dict[K, V], Generic[K, V]):
    """Touched are keys that were set or deleted since `take_changed`; at first, all of them."""

    def __init__(self, rows: Mapping[K, V] | Iterable[tuple[K, V]] = ()) -> None:
        super().__init__(rows)
        self._changed: set[K] = set(self)

    def take_changed(self) -> set[K]:
        """The keys touched since the last call."""
        changed, self._changed = self._changed, set()
        return changed

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        self._changed.add(key)

    def __delitem__(self, key: K) -> None:
        super().__delitem__(key)
        self._changed.add(key)

    def pop(self, key: K, *default: Any) -> Any:
        self._changed.add(key)
        return super().pop(key, *default)

    def update(self, rows: Mapping[K, V]) -> None:  # type: ignore[override]
        super().update(rows)
        self._changed.update(rows)

    def _unsupported(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError("would change keys without a trace")

    clear = popitem = setdefault = __ior__ = _unsupported

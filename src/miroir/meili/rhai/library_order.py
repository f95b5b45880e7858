"""Functions that put items of arrays in order, or compare them with their neighbours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from miroir.meili.rhai.errors import RunError, no_function
from miroir.meili.rhai.library import Machine, changing
from miroir.meili.rhai.operators import equals
from miroir.meili.rhai.slots import Cell, Slot
from miroir.meili.rhai.values import Char, Pointer, type_name

Items = list[Any]


def _compared(machine: Machine, comparer: Pointer, one: Any, other: Any) -> Any:
    """What a comparer answers; None if it fails."""
    machine.budget.step()
    pair = [machine.budget.clone(one), machine.budget.clone(other)]
    try:
        return machine.call_pointer(comparer, pair)
    except RunError as error:
        if error.is_system:
            raise
        return None


@changing("dedup", "array")
def _dedup(machine: Machine, slot: Slot) -> None:
    items = slot.get()
    machine.budget.spend(len(items))

    def same(one: Any, other: Any) -> bool:
        try:
            return equals(one, other, machine.budget)
        except RunError as error:
            if error.is_system:
                raise
            return False

    _without_neighbours(items, same)


@changing("dedup", "array Fn")
def _dedup_by(machine: Machine, slot: Slot, comparer: Pointer) -> None:
    def same(one: Any, other: Any) -> bool:
        return _compared(machine, comparer, one, other) is True

    _without_neighbours(slot.get(), same)


def _without_neighbours(items: Items, same: Callable[[Any, Any], bool]) -> None:
    kept: Items = []
    for item in items:
        if not kept or not same(item, kept[-1]):
            kept.append(item)
    items[:] = kept


# --- order --------------------------------------------------------------------------------------


@changing("sort sort_by", "array Fn")
def _sort_by(machine: Machine, slot: Slot, comparer: Pointer) -> None:
    def order(one: Any, other: Any) -> int:
        answer = _compared(machine, comparer, one, other)
        if type(answer) is bool:
            return -1 if answer else 1
        return answer if type(answer) is int else 0

    slot.get()[:] = _merge_sorted(slot.get(), order)


def _merge_sorted(items: Items, order: Callable[[Any, Any], int]) -> Items:
    """Sorted, equal ones as they were; whatever `order` answers, this ends."""
    if len(items) < 2:
        return items[:]
    middle = len(items) // 2
    left, right = _merge_sorted(items[:middle], order), _merge_sorted(items[middle:], order)
    merged: Items = []
    i = j = 0
    while i < len(left) and j < len(right):
        if order(left[i], right[j]) <= 0:
            merged.append(left[i])
            i += 1
        else:
            merged.append(right[j])
            j += 1
    return merged + left[i:] + right[j:]


def _in_order(machine: Machine, items: Items, *, descending: bool) -> Items:
    machine.budget.spend(2 * len(items))
    if len(items) < 2:
        return items[:]
    kinds = {type_name(item) for item in items}
    if len(kinds) > 1:
        raise no_function("elements of different types cannot be sorted")
    first = items[0]
    if first is None:
        return items[:]
    if not isinstance(first, str | int | float | Char):
        raise no_function(f"elements of {type_name(first)} cannot be sorted")
    return sorted(items, key=lambda i: i.text if isinstance(i, Char) else i, reverse=descending)


@changing("sort", "array")
def _sort(machine: Machine, slot: Slot) -> None:
    slot.get()[:] = _in_order(machine, slot.get(), descending=False)


@changing("sort_desc", "array")
def _sort_desc(machine: Machine, slot: Slot) -> None:
    slot.get()[:] = _in_order(machine, slot.get(), descending=True)


@changing("order", "array")
def _order(machine: Machine, slot: Slot) -> Items:
    return _in_order(machine, machine.budget.clone(slot.get()), descending=False)


@changing("order_desc", "array")
def _order_desc(machine: Machine, slot: Slot) -> Items:
    return _in_order(machine, machine.budget.clone(slot.get()), descending=True)


@changing("order order_by", "array Fn")
def _order_by(machine: Machine, slot: Slot, comparer: Pointer) -> Items:
    copy = Cell(machine.budget.clone(slot.get()))
    _sort_by(machine, copy, comparer)
    sorted_items: Items = copy.get()
    return sorted_items

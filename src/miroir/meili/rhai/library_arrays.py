"""Functions of arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from miroir.meili.rhai.library import Machine, changing, index_in, native, span_in
from miroir.meili.rhai.limits import ITEMS_MAX
from miroir.meili.rhai.operators import equals
from miroir.meili.rhai.slots import ItemSlot, Slot
from miroir.meili.rhai.values import INT_MAX, Pointer, Range

Items = list[Any]


@native("len get$len", "array")
def _len(_: Machine, items: Items) -> int:
    return len(items)


@native("is_empty get$is_empty", "array")
def _is_empty(_: Machine, items: Items) -> bool:
    return not items


@changing("get", "array i64")
def _get(machine: Machine, slot: Slot, index: int) -> Any:
    at, _ = span_in(len(slot.get()), index, 0)
    return machine.budget.clone(slot.get()[at]) if at < len(slot.get()) else None


@changing("set", "array i64 any")
def _set(_: Machine, slot: Slot, index: int, value: Any) -> None:
    at, _count = span_in(len(slot.get()), index, 0)
    if at < len(slot.get()):
        slot.get()[at] = value


# --- growing and shrinking ----------------------------------------------------------------------


@changing("push", "array any")
def _push(_: Machine, slot: Slot, item: Any) -> None:
    slot.get().append(item)


@changing("append", "array array")
def _append(machine: Machine, slot: Slot, more: Items) -> None:
    machine.budget.spend(len(more))
    slot.get().extend(more)


@changing("insert", "array i64 any")
def _insert(_: Machine, slot: Slot, index: int, item: Any) -> None:
    at, _count = span_in(len(slot.get()), index, 0)
    slot.get().insert(at, item)


@changing("pad", "array i64 any")
def _pad(machine: Machine, slot: Slot, length: int, item: Any) -> None:
    items = slot.get()
    for _count in range(len(items), min(length, ITEMS_MAX + 1)):
        items.append(machine.budget.clone(item))
    machine.budget.check(items)


@changing("pop", "array")
def _pop(_: Machine, slot: Slot) -> Any:
    return slot.get().pop() if slot.get() else None


@changing("shift", "array")
def _shift(_: Machine, slot: Slot) -> Any:
    return slot.get().pop(0) if slot.get() else None


@changing("remove", "array i64")
def _remove(_: Machine, slot: Slot, index: int) -> Any:
    at = index_in(len(slot.get()), index)
    return None if at is None else slot.get().pop(at)


@changing("clear", "array")
def _clear(_: Machine, slot: Slot) -> None:
    slot.get().clear()


@changing("truncate", "array i64")
def _truncate(_: Machine, slot: Slot, count: int) -> None:
    del slot.get()[max(count, 0) :]


@changing("chop", "array i64")
def _chop(_: Machine, slot: Slot, count: int) -> None:
    del slot.get()[: max(len(slot.get()) - max(count, 0), 0)]


@changing("reverse", "array")
def _reverse(machine: Machine, slot: Slot) -> None:
    machine.budget.spend(len(slot.get()) >> 3)
    slot.get().reverse()


# --- parts --------------------------------------------------------------------------------------


@changing("splice", "array i64 i64 array")
def _splice(_: Machine, slot: Slot, start: int, count: int, by: Items) -> None:
    at, length = span_in(len(slot.get()), start, count)
    slot.get()[at : at + length] = by


@changing("splice", "array ranges array")
def _splice_range(machine: Machine, slot: Slot, span: Range, by: Items) -> None:
    _splice(machine, slot, *span.span(), by)


@changing("extract", "array i64 i64")
def _extract(machine: Machine, slot: Slot, start: int, count: int) -> Items:
    at, length = span_in(len(slot.get()), start, count)
    machine.budget.spend(length)
    return [machine.budget.clone(item) for item in slot.get()[at : at + length]]


@changing("extract", "array i64")
def _extract_from(machine: Machine, slot: Slot, start: int) -> Items:
    return _extract(machine, slot, start, INT_MAX)  # type: ignore[no-any-return]


@changing("extract", "array ranges")
def _extract_range(machine: Machine, slot: Slot, span: Range) -> Items:
    return _extract(machine, slot, *span.span())  # type: ignore[no-any-return]


@changing("split", "array i64")
def _split(_: Machine, slot: Slot, index: int) -> Items:
    items = slot.get()
    at, _count = span_in(len(items), index, INT_MAX)
    tail: Items = items[at:]
    del items[at:]
    return tail


@changing("drain", "array i64 i64")
def _drain(_: Machine, slot: Slot, start: int, count: int) -> Items:
    items = slot.get()
    at, length = span_in(len(items), start, count)
    gone: Items = items[at : at + length]
    del items[at : at + length]
    return gone


@changing("drain", "array ranges")
def _drain_range(machine: Machine, slot: Slot, span: Range) -> Items:
    return _drain(machine, slot, *span.span())  # type: ignore[no-any-return]


@changing("retain", "array i64 i64")
def _retain(_: Machine, slot: Slot, start: int, count: int) -> Items:
    items = slot.get()
    at, length = span_in(len(items), start, count)
    if count <= 0 or length == 0:
        return []
    gone: Items = items[:at] + items[at + length :]
    items[:] = items[at : at + length]
    return gone


@changing("retain", "array ranges")
def _retain_range(machine: Machine, slot: Slot, span: Range) -> Items:
    return _retain(machine, slot, *span.span())  # type: ignore[no-any-return]


# --- functions over items -----------------------------------------------------------------------


def _each(machine: Machine, items: Items, function: Pointer, start: int = 0) -> Iterator[tuple[int, Any]]:
    """(index, what the function makes of the item)."""
    index = start
    while index < len(items):
        machine.budget.step()
        slot = ItemSlot(items, index, constant=False)
        yield index, machine.call_back(function, slot, [], [index], 0)
        index += 1


@changing("for_each", "array Fn")
def _for_each(machine: Machine, slot: Slot, function: Pointer) -> None:
    items = slot.get()
    for index in range(len(items)):
        machine.budget.step()
        machine.call_back(function, ItemSlot(items, index, constant=False), [], [index], None)


@native("map", "array Fn")
def _map(machine: Machine, items: Items, function: Pointer) -> Items:
    return [value for _, value in _each(machine, items, function)]


@native("filter", "array Fn")
def _filter(machine: Machine, items: Items, function: Pointer) -> Items:
    return [machine.budget.clone(items[at]) for at, value in _each(machine, items, function) if value is True]


@native("some", "array Fn")
def _some(machine: Machine, items: Items, function: Pointer) -> bool:
    return any(value is True for _, value in _each(machine, items, function))


@native("all", "array Fn")
def _all(machine: Machine, items: Items, function: Pointer) -> bool:
    return all(value is True for _, value in _each(machine, items, function))


@native("contains", "array any")
def _contains(machine: Machine, items: Items, value: Any) -> bool:
    return _index_of(machine, items, value) >= 0  # type: ignore[no-any-return]


@native("index_of", "array any")
def _index_of(machine: Machine, items: Items, value: Any) -> int:
    return _index_of_from(machine, items, value, 0)  # type: ignore[no-any-return]


@native("index_of", "array any i64")
def _index_of_from(machine: Machine, items: Items, value: Any, start: int) -> int:
    at, _ = span_in(len(items), start, 0)
    machine.budget.spend(len(items))
    return next((i for i in range(at, len(items)) if equals(items[i], value, machine.budget)), -1)


@native("index_of", "array Fn")
def _index_where(machine: Machine, items: Items, function: Pointer) -> int:
    return _index_where_from(machine, items, function, 0)  # type: ignore[no-any-return]


@native("index_of", "array Fn i64")
def _index_where_from(machine: Machine, items: Items, function: Pointer, start: int) -> int:
    at, _ = span_in(len(items), start, 0)
    return next((index for index, value in _each(machine, items, function, at) if value is True), -1)


@native("find", "array Fn")
def _find(machine: Machine, items: Items, function: Pointer) -> Any:
    return _find_from(machine, items, function, 0)


@native("find", "array Fn i64")
def _find_from(machine: Machine, items: Items, function: Pointer, start: int) -> Any:
    at = _index_where_from(machine, items, function, start)
    return None if at < 0 else machine.budget.clone(items[at])


@native("find_map", "array Fn")
def _find_map(machine: Machine, items: Items, function: Pointer) -> Any:
    return _find_map_from(machine, items, function, 0)


@native("find_map", "array Fn i64")
def _find_map_from(machine: Machine, items: Items, function: Pointer, start: int) -> Any:
    at, _ = span_in(len(items), start, 0)
    return next((value for _, value in _each(machine, items, function, at) if value is not None), None)


@native("reduce", "array Fn")
def _reduce(machine: Machine, items: Items, function: Pointer) -> Any:
    return _folded(machine, items, function, None, range(len(items)))


@native("reduce", "array Fn any")
def _reduce_from(machine: Machine, items: Items, function: Pointer, initial: Any) -> Any:
    return _folded(machine, items, function, initial, range(len(items)))


@native("reduce_rev", "array Fn")
def _reduce_rev(machine: Machine, items: Items, function: Pointer) -> Any:
    return _folded(machine, items, function, None, range(len(items) - 1, -1, -1))


@native("reduce_rev", "array Fn any")
def _reduce_rev_from(machine: Machine, items: Items, function: Pointer, initial: Any) -> Any:
    return _folded(machine, items, function, initial, range(len(items) - 1, -1, -1))


def _folded(machine: Machine, items: Items, function: Pointer, result: Any, order: range) -> Any:
    for index in order:
        machine.budget.step()
        slot = ItemSlot(items, index, constant=False)
        result = machine.call_back(function, slot, [result], [index], 1)
    return result


@native("zip", "array array Fn")
def _zip(machine: Machine, items: Items, others: Items, function: Pointer) -> Items:
    found = []
    for index, (one, other) in enumerate(zip(items, others, strict=False)):
        pair = [machine.budget.clone(one), machine.budget.clone(other)]
        takes = None if function.function is None else len(function.function.parameters) - len(function.curry)
        found.append(machine.call_pointer(function, [*pair, index] if takes == 3 else pair))
    return found


@changing("drain", "array Fn")
def _drain_where(machine: Machine, slot: Slot, function: Pointer) -> Items:
    return _parted(machine, slot, function, stays=False)


@changing("retain", "array Fn")
def _retain_where(machine: Machine, slot: Slot, function: Pointer) -> Items:
    return _parted(machine, slot, function, stays=True)


def _parted(machine: Machine, slot: Slot, function: Pointer, *, stays: bool) -> Items:
    items = slot.get()
    kept: Items = []
    gone: Items = []
    for index, value in _each(machine, items, function):
        (kept if (value is True) is stays else gone).append(items[index])
    items[:] = kept
    return gone


def _by_name(run: Callable[..., Any]) -> Callable[..., Any]:
    """The same for a function that is given by its name."""
    return lambda machine, items, name, *more: run(machine, items, Pointer(name), *more)


for _name, _run in (("map", _map), ("filter", _filter), ("some", _some), ("all", _all)):
    native(_name, "array string")(_by_name(_run))
for _name, _run, _from in (("reduce", _reduce, _reduce_from), ("reduce_rev", _reduce_rev, _reduce_rev_from)):
    native(_name, "array string")(_by_name(_run))
    native(_name, "array string any")(_by_name(_from))
for _name, _run in (("drain", _drain_where), ("retain", _retain_where)):
    changing(_name, "array string")(_by_name(_run))

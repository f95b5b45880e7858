"""Functions of maps, of any value, and of function pointers."""

from __future__ import annotations

from typing import Any

from miroir.meili.rhai.library import Machine, changing, native
from miroir.meili.rhai.slots import ItemSlot, Slot
from miroir.meili.rhai.values import Char, Pointer, as_json, to_debug

Members = dict[str, Any]


@native("len", "map")
def _len(_: Machine, members: Members) -> int:
    return len(members)


@native("is_empty", "map")
def _is_empty(_: Machine, members: Members) -> bool:
    return not members


@native("contains", "map string")
def _contains(_: Machine, members: Members, name: str) -> bool:
    return name in members


@native("get", "map string")
def _get(machine: Machine, members: Members, name: str) -> Any:
    return machine.budget.clone(members.get(name))


@changing("set", "map string any")
def _set(_: Machine, slot: Slot, name: str, value: Any) -> None:
    slot.get()[name] = value


@changing("clear", "map")
def _clear(_: Machine, slot: Slot) -> None:
    slot.get().clear()


@changing("remove", "map string")
def _remove(_: Machine, slot: Slot, name: str) -> Any:
    return slot.get().pop(name, None)


@changing("mixin", "map map")
def _mixin(machine: Machine, slot: Slot, more: Members) -> None:
    machine.budget.spend(len(more))
    slot.get().update(more)


@changing("fill_with", "map map")
def _fill_with(machine: Machine, slot: Slot, more: Members) -> None:
    machine.budget.spend(len(more))
    for name, value in more.items():
        slot.get().setdefault(name, value)


@native("keys", "map")
def _keys(machine: Machine, members: Members) -> list[str]:
    machine.budget.spend(2 * len(members))
    return sorted(members)


@native("values", "map")
def _values(machine: Machine, members: Members) -> list[Any]:
    machine.budget.spend(2 * len(members))
    return [machine.budget.clone(members[name]) for name in sorted(members)]


def _called(machine: Machine, members: Members, name: str, function: Pointer) -> Any:
    machine.budget.step()
    return machine.call_back(function, ItemSlot(members, name, constant=False), [name], [], 1)


@native("map", "map Fn")
def _map(machine: Machine, members: Members, function: Pointer) -> Members:
    return {name: _called(machine, members, name, function) for name in sorted(members)}


@native("filter", "map Fn")
def _filter(machine: Machine, members: Members, function: Pointer) -> Members:
    names = [name for name in sorted(members) if _called(machine, members, name, function) is True]
    return {name: machine.budget.clone(members[name]) for name in names}


@changing("drain", "map Fn")
def _drain(machine: Machine, slot: Slot, function: Pointer) -> Members:
    members = slot.get()
    names = [name for name in sorted(members) if _called(machine, members, name, function) is True]
    return {name: members.pop(name) for name in names}


@changing("retain", "map Fn")
def _retain(machine: Machine, slot: Slot, function: Pointer) -> Members:
    members = slot.get()
    names = [name for name in sorted(members) if _called(machine, members, name, function) is not True]
    return {name: members.pop(name) for name in names}


@native("to_json", "map")
def _to_json(machine: Machine, members: Members) -> str:
    machine.budget.printed(members)
    return machine.budget.text(as_json(members))


# --- any value ----------------------------------------------------------------------------------


@native("to_string", "any")
def _to_string(machine: Machine, value: Any) -> str:
    return machine.budget.printed(value)


@native("to_debug", "any")
def _to_debug(machine: Machine, value: Any) -> str:
    machine.budget.printed(value)
    return machine.budget.text(to_debug(value))


@native("print debug", "any")
def _print(_: Machine, value: Any) -> None:
    del value


@changing("take", "any")
def _take(_: Machine, slot: Slot) -> Any:
    value = slot.get()
    slot.set(None)
    return value


@native("tag get$tag", "any")
def _tag(_: Machine, value: Any) -> int:
    del value
    return 0


@native("to_int", "char")
def _to_int(_: Machine, char: Char) -> int:
    return ord(char.text)


@native("name get$name", "Fn")
def _name(_: Machine, pointer: Pointer) -> str:
    return pointer.name


@native("is_anonymous get$is_anonymous", "Fn")
def _is_anonymous(_: Machine, pointer: Pointer) -> bool:
    return pointer.is_anonymous

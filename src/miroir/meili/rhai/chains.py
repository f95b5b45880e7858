"""Chains of members, items and methods: `doc.tags[0].name.trim()`, read and assigned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from miroir.meili.rhai import syntax
from miroir.meili.rhai.calls import Calls
from miroir.meili.rhai.errors import RunError, out_of_bounds, wrong_type
from miroir.meili.rhai.library import LIBRARY, index_in
from miroir.meili.rhai.slots import BitSlot, BitsSlot, Cell, CharSlot, ItemSlot, SliceSlot, Slot
from miroir.meili.rhai.syntax import Node, Step
from miroir.meili.rhai.values import INT_MAX, Pointer, Range, bare_type_name, type_name

if TYPE_CHECKING:
    from miroir.meili.rhai.syntax import Assign

_INT_BITS = 64
_NO_INDEXER = "ErrorIndexingType"


class Chains(Calls):
    """The part of the interpreter that follows chains."""

    def assign_slot(self, node: Assign, slot: Slot, new: Any) -> None:
        """Put a value into a slot."""
        raise NotImplementedError

    def chain(self, node: syntax.Chain, assignment: tuple[Assign, Any] | None = None) -> Any:
        """The value at the end of a chain; with an assignment, what is there becomes the value."""
        arguments = [[self.value(item) for item in step.arguments] for step in node.steps]
        slot = self._root(node.root)
        shared = slot.shared if isinstance(slot, Cell) else None
        if shared is None:
            return self._followed(node, slot, arguments, assignment)
        shared.locked = True
        try:
            return self._followed(node, slot, arguments, assignment)
        finally:
            shared.locked = False

    def _followed(
        self,
        node: syntax.Chain,
        slot: Slot,
        arguments: list[list[Any]],
        assignment: tuple[Assign, Any] | None,
    ) -> Any:
        last = node.steps[-1]
        for step, values in zip(node.steps, arguments, strict=True):
            if step.optional and slot.get() is None:
                return None
            if assignment is not None and step is last:
                self._assign(step, slot, values, *assignment)
                return None
            if step.kind == "method":
                slot = Cell(self.call_method(step, slot, values))
            elif step.kind == "property":
                slot = self._property(step, slot)
            else:
                slot = self._item(step, slot, values[0])
        return self.budget.clone(slot.get())

    def _root(self, root: Node) -> Slot:
        self.budget.step(root.place)
        if isinstance(root, syntax.This):
            if self.this is None:
                raise RunError("ErrorUnboundThis", "'this' not bound", root.place)
            return self.this
        if isinstance(root, syntax.Variable):
            cell = self.variable(root)
            return Cell(Pointer(root.name, self.names[root.name])) if cell is None else cell
        return Cell(self.value(root))

    # --- reading

    def _property(self, step: Step, slot: Slot) -> Slot:
        holder = slot.get()
        self.budget.step(step.place)
        if isinstance(holder, dict):
            if step.name in holder:
                return ItemSlot(holder, step.name, constant=slot.constant)
            return Cell(None)
        return Cell(self._getter(step, holder))

    def _getter(self, step: Step, holder: Any) -> Any:
        found = LIBRARY.find(f"get${step.name}", [holder])
        if found is None:
            words = (
                f"Unknown property '{step.name}' - a getter is not registered for type '{type_name(holder)}'"
            )
            raise RunError("ErrorDotExpr", words, step.place, fields={"property": words})
        try:
            return found.run(self, holder)
        except RunError as error:
            raise error.at(step.place) from None

    def _item(self, step: Step, slot: Slot, index: Any, *, adds: bool = False) -> Slot:
        holder = slot.get()
        self.budget.step()
        place = step.place
        match holder:
            case list():
                if type(index) is not int:
                    raise wrong_type("i64", bare_type_name(index), place)
                at = index_in(len(holder), index)
                if at is None:
                    raise out_of_bounds("Array", len(holder), index, place)
                return ItemSlot(holder, at, constant=slot.constant)
            case dict():
                if not isinstance(index, str):
                    raise wrong_type("string", type_name(index), place)
                if index in holder:
                    return ItemSlot(holder, index, constant=slot.constant)
                return ItemSlot(holder, index, constant=False) if adds else Cell(None)
            case str():
                return self._of_text(step, slot, index)
            case int() if type(holder) is int:
                return self._of_number(step, slot, index)
            case _:
                raise _no_indexer(step, f"{type_name(holder)} [{type_name(index)}]")

    def _of_text(self, step: Step, slot: Slot, index: Any) -> Slot:
        length = len(slot.get())
        if type(index) is int:
            at = index_in(length, index)
            if at is None:
                raise out_of_bounds("String", length, index, step.place)
            return CharSlot(slot, at, abs(index))
        if not isinstance(index, Range):
            raise wrong_type("i64", type_name(index), step.place)
        start = index.start if index.start >= 0 else index_in(length, index.start)
        if length == 0:
            return SliceSlot(slot, 0, 0)
        if start is None:
            raise out_of_bounds("String", length, index.start, step.place)
        end = index.end if index.end >= 0 else index_in(length, index.end) or 0
        if index.inclusive:
            end = end + 1 if end > start or (start == 0 and end >= length - 1) else start
        return SliceSlot(slot, min(start, length), max(min(end, length) - start, 0))

    def _of_number(self, step: Step, slot: Slot, index: Any) -> Slot:
        if type(index) is int:
            bit = index_in(_INT_BITS, index)
            if bit is None:
                raise out_of_bounds("BitField", _INT_BITS, index, step.place)
            return BitSlot(slot, bit, 1)
        if not isinstance(index, Range):
            raise wrong_type("i64", type_name(index), step.place)
        end = _INT_BITS if index.end == INT_MAX else index.end + index.inclusive
        for bound, most in ((index.start, _INT_BITS - 1), (end, _INT_BITS)):
            if not 0 <= bound <= most:
                raise out_of_bounds("BitField", _INT_BITS, bound, step.place)
        return BitsSlot(slot, index.start, max(end - index.start, 0))

    # --- assigning

    def _assign(self, step: Step, slot: Slot, values: list[Any], node: Assign, new: Any) -> None:
        holder = slot.get()
        if step.kind == "item":
            try:
                target = self._item(step, slot, values[0], adds=True)
            except RunError as error:
                if error.kind != _NO_INDEXER:
                    raise
                types = f"{type_name(holder)} [{type_name(values[0])}] = {type_name(new)}"
                raise _no_indexer(step, types) from None
        elif isinstance(holder, dict):
            target = ItemSlot(holder, step.name, constant=slot.constant and step.name in holder)
        else:
            if node.sign:
                self._getter(step, holder)
            types = f"'{type_name(holder)}' to handle '{type_name(new)}'"
            words = f"No writable property '{step.name}' - a setter is not registered for type {types}"
            raise RunError("ErrorDotExpr", words, step.place, fields={"property": words})
        if isinstance(target, ItemSlot) and isinstance(holder, dict):
            holder.setdefault(target.key, None)
        self.assign_slot(node, target, new)
        self.budget.check(new if step.kind == "item" else holder, node.place)


def _no_indexer(step: Step, types: str) -> RunError:
    """The holder has no items that could be read, or written, by such an index."""
    return RunError(_NO_INDEXER, f"Indexer unavailable: {types}", step.sign_place, fields={"type": types})

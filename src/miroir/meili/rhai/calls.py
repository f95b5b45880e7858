"""Calls: of functions of the script and of the library, of function pointers, in both styles."""

from __future__ import annotations

import contextlib
from typing import Any

from miroir.meili.rhai import syntax
from miroir.meili.rhai.errors import (
    CompileError,
    ExitScript,
    Leaving,
    Place,
    ReturnValue,
    RunError,
    no_function,
    wrong_type,
)
from miroir.meili.rhai.lexer import KEYWORDS, RESERVED, is_function_name
from miroir.meili.rhai.library import LIBRARY
from miroir.meili.rhai.limits import Budget
from miroir.meili.rhai.operators import MISSING, binary, signature
from miroir.meili.rhai.parser import parse
from miroir.meili.rhai.scope import Scope
from miroir.meili.rhai.slots import Cell, Slot
from miroir.meili.rhai.syntax import Node, Step
from miroir.meili.rhai.values import Pointer, Shared, flat, type_name

#: Called by name alone; as methods, or with another number of arguments, there is no such function.
_BY_NAME_ONLY = frozenset({"Fn", "eval", "is_def_var", "is_def_fn", "call", "curry", "type_of", "is_shared"})


class Calls:
    """The part of the interpreter that calls."""

    def __init__(self, functions: dict[tuple[str | None, str, int], syntax.Function], scope: Scope) -> None:
        self.functions = functions
        self.names = {function.name: function for function in functions.values()}
        self.scope = scope
        self.this: Slot | None = None
        self.level = 0
        self.budget = Budget()

    # --- what the other parts have

    def value(self, node: Node) -> Any:
        """The value of an expression."""
        raise NotImplementedError

    def body(self, statements: list[Node]) -> Any:
        """Statements, with the value of the last."""
        raise NotImplementedError

    def variable(self, node: syntax.Variable) -> Cell | None:
        """The cell of a variable; None when the name is a function's."""
        raise NotImplementedError

    def call_function(
        self,
        function: syntax.Function,
        arguments: list[Any],
        this: Slot | None,
        place: Place,
        scope: Scope | None,
    ) -> Any:
        """Call a function of the script."""
        raise NotImplementedError

    # --- name(...)

    def call(self, node: syntax.Call) -> Any:
        """A call in function style."""
        name, arguments = node.name, node.arguments
        special = _SPECIAL.get((name, len(arguments)))
        if special is not None:
            return special(self, node)
        if name == "call" and arguments:
            pointer = self._pointer(self.value(arguments[0]), arguments[0].start)
            return self._through(pointer, [self.value(item) for item in arguments[1:]], None, node.place)
        if name == "curry" and len(arguments) > 1:
            pointer = self._pointer(self.value(arguments[0]), arguments[0].start)
            more = [self.value(item) for item in arguments[1:]]
            self.budget.spend(len(pointer.curry))
            return Pointer(pointer.name, pointer.function, [*pointer.curry, *more])
        if node.sees_scope and self.scope.size:
            values = [self.value(item) for item in arguments]
            return self.call_named(name, values, node.place, scope=self.scope)
        return self.call_named(name, self._arguments(arguments), node.place)

    def _arguments(self, nodes: list[Node]) -> list[Any]:
        """Values; the first is a slot if it is a variable, so that a function may change it."""
        if not nodes or not isinstance(nodes[0], syntax.Variable | syntax.This):
            return [self.value(item) for item in nodes]
        first, rest = nodes[0], [self.value(item) for item in nodes[1:]]
        self.budget.step(first.place)
        slot: Slot | None
        if isinstance(first, syntax.This):
            slot = self.this
            if slot is None:
                raise RunError("ErrorUnboundThis", "'this' not bound", first.place)
        else:
            slot = self.variable(first)
        if slot is None or slot.constant or (isinstance(slot, Cell) and type(slot.value) is Shared):
            return [self.value(first), *rest]
        return [slot, *rest]

    def call_named(
        self,
        name: str,
        arguments: list[Any],
        place: Place,
        *,
        method: bool = False,
        scope: Scope | None = None,
    ) -> Any:
        """Call what has this name and takes these values, of which the first may be a slot.

        Raises:
            RunError: ErrorFunctionNotFound, nothing does.
        """
        count = len(arguments) - method
        if self.functions:
            function = None
            if method:
                function = self.functions.get((type_name(_value(arguments[0])), name, count))
            function = function or self.functions.get((None, name, count))
            if function is not None:
                if method:
                    this = arguments[0] if isinstance(arguments[0], Slot) else Cell(arguments[0])
                    return self.call_function(function, arguments[1:], this, place, scope)
                values = [self.budget.clone(_value(item)) for item in arguments]
                return self.call_function(function, values, None, place, scope)
        return self._native(name, arguments, place)

    def _native(self, name: str, arguments: list[Any], place: Place) -> Any:
        self.budget.step(place)
        values = [_value(item) for item in arguments]
        found = None if name in _BY_NAME_ONLY else LIBRARY.find(name, values)
        if found is None:
            if len(values) == 2 and not is_function_name(name):
                result = binary(name, values[0], values[1], self.budget)
                if result is not MISSING:
                    return result
            raise no_function(signature(name, *values), place)
        if values and isinstance(values[0], str):
            self.budget.spend(len(values[0]) >> 6)
        self.level += 1
        try:
            if not found.changes:
                if len(values) and isinstance(values[0], list | dict):
                    self.budget.check(values[0], place)
                return found.run(self, *values)
            slot = arguments[0] if isinstance(arguments[0], Slot) else Cell(arguments[0])
            if slot.constant:
                raise RunError(
                    "ErrorNonPureMethodCallOnConstant",
                    f"Non-pure method '{name}' cannot be called on constant",
                    place,
                    fields={"function": name},
                )
            result = found.run(self, slot, *values[1:])
            self.budget.check(slot.get(), place)
            return result
        except RunError as error:
            raise error.at(place) from None
        except ExitScript:
            raise
        finally:
            self.level -= 1

    # --- value.name(...)

    def call_method(self, step: Step, slot: Slot, values: list[Any]) -> Any:
        """A call in method style."""
        name, holder = step.name, slot.get()
        if name == "call":
            return self._method_call(step, slot, values)
        if name == "curry":
            pointer = self._pointer(holder, step.place)
            self.budget.spend(len(pointer.curry))
            return Pointer(pointer.name, pointer.function, [*pointer.curry, *values])
        if name == "is_shared" and not values:
            return isinstance(slot, Cell) and type(slot.value) is Shared
        if name == "type_of" and not values:
            return type_name(holder)
        if isinstance(holder, dict) and isinstance(holder.get(name), Pointer):
            pointer = holder[name]
            return self._through(pointer, values, slot, step.place)
        return self.call_named(name, [slot, *values], step.place, method=True)

    def _method_call(self, step: Step, slot: Slot, values: list[Any]) -> Any:
        holder = slot.get()
        if isinstance(holder, Pointer):
            return self._through(holder, values, None, step.place)
        if not values:
            raise wrong_type("Fn", type_name(holder), step.place)
        pointer = self._pointer(values[0], step.arguments[0].place)
        return self._through(pointer, values[1:], slot, step.place)

    # --- function pointers

    @staticmethod
    def _pointer(value: Any, place: Place) -> Pointer:
        if not isinstance(value, Pointer):
            raise wrong_type("Fn", type_name(value), place)
        return value

    def _through(self, pointer: Pointer, values: list[Any], this: Slot | None, place: Place) -> Any:
        arguments = [*pointer.curry, *values]
        self.budget.spend(len(arguments))
        function = pointer.function
        if function is not None and len(function.parameters) == len(arguments):
            return self.call_function(function, arguments, this, place, None)
        if this is not None:
            return self.call_named(pointer.name, [this, *arguments], place, method=True)
        return self.call_named(pointer.name, arguments, place)

    def call_pointer(self, pointer: Pointer, arguments: list[Any], this: Slot | None = None) -> Any:
        """Call a function that was given as a value; errors of the call itself have no place yet."""
        return self._through(pointer, arguments, this, None)

    def call_back(
        self, pointer: Pointer, item: Slot, arguments: list[Any], extras: list[Any], at: int | None
    ) -> Any:
        """Call with `item` as `this`, or as argument `at`, and with `extras` if it takes that many."""
        function, count = pointer.function, len(arguments) + len(pointer.curry)
        if function is not None:
            arity = len(function.parameters)
            if arity == count:
                return self.call_pointer(pointer, arguments, item)
            if at is not None and arity in (count + 1, count + 1 + len(extras)):
                moved = self._moved(item, arguments, at)
                return self.call_pointer(pointer, moved if arity == count + 1 else [*moved, *extras])
            if arity == count + len(extras):
                return self.call_pointer(pointer, [*arguments, *extras], item)
        ways: list[tuple[list[Any], Slot | None]] = [(arguments, item)]
        if at is not None:
            moved = self._moved(item, arguments, at)
            ways += [(moved, None), ([*moved, *extras], None)]
        ways.append(([*arguments, *extras], item))
        for values, this in ways[:-1]:
            with contextlib.suppress(_NotThere):
                return self._if_there(pointer, values, this)
        return self.call_pointer(pointer, ways[-1][0], ways[-1][1])

    def _moved(self, item: Slot, arguments: list[Any], at: int) -> list[Any]:
        return [*arguments[:at], self.budget.clone(item.get()), *arguments[at:]]

    def _if_there(self, pointer: Pointer, values: list[Any], this: Slot | None) -> Any:
        try:
            return self.call_pointer(pointer, values, this)
        except RunError as error:
            if error.kind == "ErrorFunctionNotFound" and error.fields["function"].startswith(pointer.name):
                raise _NotThere from None
            raise

    # --- the functions that are part of the language

    def _fn(self, node: syntax.Call) -> Any:
        name = self._text(node.arguments[0])
        if is_function_name(name):
            return Pointer(name)
        place = node.arguments[0].start
        if name in RESERVED or name in KEYWORDS:
            raise RunError("ErrorParsing", f"Syntax error: '{name}' is a reserved keyword", place)
        raise no_function(name, place)

    def _text(self, node: Node) -> str:
        value = self.value(node)
        if not isinstance(value, str):
            raise wrong_type("string", type_name(value), node.start)
        return value

    def _is_shared(self, node: syntax.Call) -> Any:
        first = node.arguments[0]
        if isinstance(first, syntax.Variable):
            cell = self.variable(first)
            return cell is not None and type(cell.value) is Shared
        self.value(first)
        return False

    def _is_def_fn(self, node: syntax.Call) -> Any:
        kind = self._text(node.arguments[0]) if len(node.arguments) == 3 else None
        name = self._text(node.arguments[-2])
        count = self.value(node.arguments[-1])
        if type(count) is not int:
            raise wrong_type("i64", type_name(count), node.arguments[-1].start)
        return (kind, name, count) in self.functions

    def _is_def_var(self, node: syntax.Call) -> Any:
        return self.scope.find(self._text(node.arguments[0])) is not None

    def _type_of(self, node: syntax.Call) -> Any:
        return type_name(self.value(node.arguments[0]))

    def _print(self, node: syntax.Call) -> Any:
        for argument in node.arguments:
            self.value(argument)

    def _exit(self, node: syntax.Call) -> Any:
        raise ExitScript(*(self.value(item) for item in node.arguments))

    def _eval(self, node: syntax.Call) -> Any:
        text, place = self._text(node.arguments[0]), node.arguments[0].start
        self.budget.step(place)
        self.budget.spend(len(text) * 10)
        try:
            script = parse(text.strip())
            if script.functions:
                words = "Function definitions must be at global level and cannot be inside a block or another function"
                raise CompileError(words, None)
            return self.body(script.body)
        except CompileError as error:
            failed = RunError("ErrorParsing", f"Syntax error: {error.message}", error.place)
            raise self._in_eval(failed, place) from None
        except RunError as error:
            raise self._in_eval(error, place) from None
        except ReturnValue as left:
            return left.value

    @staticmethod
    def _in_eval(error: RunError, place: Place) -> RunError:
        fields = {"function": "eval", "source": ""}
        return RunError(
            "ErrorInFunctionCall", "in call to function 'eval'", place, fields=fields, inner=error
        )


class _NotThere(Leaving):
    """No function takes what it was offered."""


def _value(argument: Any) -> Any:
    return argument.get() if isinstance(argument, Slot) else flat(argument)


_SPECIAL = {
    ("Fn", 1): Calls._fn,
    ("is_shared", 1): Calls._is_shared,
    ("is_def_fn", 2): Calls._is_def_fn,
    ("is_def_fn", 3): Calls._is_def_fn,
    ("is_def_var", 1): Calls._is_def_var,
    ("type_of", 1): Calls._type_of,
    ("eval", 1): Calls._eval,
    ("print", 0): Calls._print,
    ("print", 1): Calls._print,
    ("debug", 0): Calls._print,
    ("debug", 1): Calls._print,
    ("exit", 0): Calls._exit,
    ("exit", 1): Calls._exit,
}

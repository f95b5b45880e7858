"""Runs a tree: statements, expressions, variables."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from miroir.meili.rhai import syntax
from miroir.meili.rhai.chains import Chains
from miroir.meili.rhai.errors import BreakLoop, Place, ReturnValue, RunError, thrown, wrong_type
from miroir.meili.rhai.limits import CALLS_MAX, VARIABLES_MAX
from miroir.meili.rhai.operators import MISSING, assigned, binary, signature, unary
from miroir.meili.rhai.scope import Scope
from miroir.meili.rhai.slots import Cell, Slot
from miroir.meili.rhai.syntax import Node
from miroir.meili.rhai.values import Char, Pointer, Range, Stream, display, key_of, type_name


class Interpreter(Chains):
    """One run of a script over its variables."""

    def run(self, script: syntax.Script) -> None:
        """All of it; the variables are in the scope afterwards.

        Raises:
            RunError: It failed.
        """
        try:
            self.body(script.body)
        except ReturnValue:
            return

    # --- statements

    def body(self, statements: list[Node]) -> Any:
        """Statements, with the value of the last."""
        result = None
        for statement in statements:
            if type(statement) in _EXPRESSIONS:
                self.budget.step(statement.place)
            result = self.value(statement)
        return result

    def inside(self, statements: list[Node]) -> Any:
        """The statements of a block, whose variables are gone afterwards."""
        size = self.scope.size
        try:
            return self.body(statements)
        finally:
            self.scope.rewind(size)

    def value(self, node: Node) -> Any:
        """The value of an expression or statement, which is the caller's own."""
        self.budget.step(node.place)
        return _VALUES[type(node)](self, node)

    def truth(self, node: Node) -> bool:
        """A value that has to be true or false."""
        value = self.value(node)
        if type(value) is not bool:
            raise wrong_type("bool", type_name(value), node.place)
        return value

    def define(self, node: syntax.Define) -> None:
        if self.scope.size >= VARIABLES_MAX:
            raise RunError("ErrorTooManyVariables", "Too many variables defined", node.place)
        self.scope.push(node.name, self.value(node.value), constant=node.constant)

    def assign(self, node: syntax.Assign) -> None:
        target = node.target
        if isinstance(target, syntax.Chain):
            new = self.value(node.value)
            self.chain(target, (node, new))
            return
        if isinstance(target, syntax.This) and self.this is None:
            raise RunError("ErrorUnboundThis", "'this' not bound", target.place)
        new = self.value(node.value)
        self.budget.step(target.place)
        slot = self.variable(target) if isinstance(target, syntax.Variable) else self.this
        if slot is None:
            assert isinstance(target, syntax.Variable)
            raise self.constant_error(target.name, target.place)
        self.assign_slot(node, slot, new)

    def assign_slot(self, node: syntax.Assign, slot: Slot, new: Any) -> None:
        """Put a value into a slot, or what an operator makes of the old and the new one."""
        if slot.constant:
            target = node.target
            root = target.root if isinstance(target, syntax.Chain) else target
            raise self.constant_error(root.name if isinstance(root, syntax.Variable) else "", root.place)
        try:
            if node.sign:
                new = self._operated(node, slot.get(), new)
            slot.set(new)
        except RunError as error:
            raise error.at(node.place) from None

    def _operated(self, node: syntax.Assign, old: Any, new: Any) -> Any:
        result = assigned(node.sign, old, new, self.budget)
        if result is MISSING:
            raise RunError(
                "ErrorFunctionNotFound",
                f"Function not found: {signature(node.sign, old, new)}",
                node.place,
                fields={"function": signature(node.sign, old, new)},
            )
        return result

    @staticmethod
    def constant_error(name: str, place: Place) -> RunError:
        """What may not be changed was to be."""
        return RunError(
            "ErrorAssignmentToConstant", f"Cannot modify constant {name}", place, fields={"variable": name}
        )

    def condition(self, node: syntax.If) -> Any:
        if not node.body and not node.otherwise:
            self.value(node.test)  # which nobody asks whether it is true
            return None
        body = node.body if self.truth(node.test) else node.otherwise
        return self.inside(body) if body else None

    def switch(self, node: syntax.Switch) -> Any:
        subject = self.value(node.subject)
        self.budget.spend(len(subject) if isinstance(subject, str | list | dict) else 1)
        cases = node.cases.get(key_of(subject))
        if cases is None and type(subject) in (int, float):
            cases = [case for start, end, case in node.ranges if start <= subject < end]
        for case in cases or ():
            if case.guard is None or self.truth(case.guard):
                return self.value(case.action)
        return None if node.default is None else self.value(node.default.action)

    def while_loop(self, node: syntax.While) -> Any:
        while node.test is None or self.truth(node.test):
            if not node.body:
                self.budget.step(node.body_place)
            try:
                self.inside(node.body)
            except BreakLoop as left:
                if left.ends:
                    return left.value
        return None

    def do_loop(self, node: syntax.DoUntil) -> Any:
        while True:
            try:
                self.inside(node.body)
            except BreakLoop as left:
                if left.ends:
                    return left.value
                continue
            if self.truth(node.test) is node.until:
                return None

    def for_loop(self, node: syntax.For) -> Any:
        if self.scope.size >= VARIABLES_MAX - (node.counter is not None):
            raise RunError("ErrorTooManyVariables", "Too many variables defined", node.name_place)
        items = self._iterated(self.value(node.source), node.source.start)
        size = self.scope.size
        counter = None if node.counter is None else self.scope.push(node.counter, 0)
        cell = self.scope.push(node.name, None)
        try:
            for count, item in enumerate(items):
                if not node.body:
                    self.budget.step(node.place)
                if counter is not None:
                    counter.set(count)
                cell.set(item)
                try:
                    self.inside(node.body)
                except BreakLoop as left:
                    if left.ends:
                        return left.value
        finally:
            self.scope.rewind(size)
        return None

    @staticmethod
    def _iterated(value: Any, place: Place) -> Iterable[Any]:
        if isinstance(value, str):
            return map(Char, value)
        if isinstance(value, list | Range | Stream):
            return value
        raise RunError("ErrorFor", "For loop expects iterable type", place)

    def leave_loop(self, node: syntax.Break) -> None:
        raise BreakLoop(None if node.value is None else self.value(node.value), ends=node.ends)

    def leave(self, node: syntax.Return) -> None:
        value = None if node.value is None else self.value(node.value)
        if node.throws:
            raise thrown(value, display(value), node.place)
        raise ReturnValue(value)

    def attempt(self, node: syntax.Try) -> Any:
        try:
            return self.inside(node.body)
        except RunError as caught:
            error = caught
        if error.is_system:
            raise error
        size = self.scope.size
        if node.name is not None:
            if size >= VARIABLES_MAX:
                raise RunError("ErrorTooManyVariables", "Too many variables defined", node.name_place)
            self.scope.push(node.name, self._told(error))
        try:
            self.inside(node.handler)
        except RunError as again:
            if again.kind == "ErrorRuntime" and again.value is None and again.inner is None:
                error.place = again.place
                raise error from None
            raise
        finally:
            self.scope.rewind(size)
        return None

    @staticmethod
    def _told(error: RunError) -> Any:
        """What the variable of a `catch` holds."""
        innermost = error.innermost
        if innermost.kind == "ErrorRuntime":
            return innermost.value
        place, error.place = error.place, None
        told = {"message": str(error), "error": error.kind, **error.fields}
        if place is not None:
            told |= {"line": place[0], "position": place[1]}
        return told

    # --- expressions

    def variable(self, node: syntax.Variable) -> Cell | None:
        """The cell of a variable; None when the name is a function's."""
        if not node.local and self.named_function(node.name) is not None:
            return None
        cell = self.scope.find(node.name)
        if cell is None:
            raise RunError(
                "ErrorVariableNotFound", f"Variable not found: {node.name}", node.place,
                fields={"variable": node.name},
            )  # fmt: skip
        shared = cell.shared
        if shared is not None and shared.locked:
            raise RunError("ErrorDataRace", "Data race detected", fields={"variable": ""})
        return cell

    def named_function(self, name: str) -> syntax.Function | None:
        """A function of the script, whatever it takes."""
        return self.names.get(name)

    def read(self, node: syntax.Variable) -> Any:
        cell = self.variable(node)
        if cell is None:
            return Pointer(node.name, self.named_function(node.name))
        return self.budget.clone(cell.get())

    def read_this(self, node: syntax.This) -> Any:
        if self.this is None:
            raise RunError("ErrorUnboundThis", "'this' not bound", node.place)
        return self.budget.clone(self.this.get())

    def template(self, node: syntax.Template) -> Any:
        text = ""
        for part in node.parts:
            text = self.budget.appended(text, self.budget.printed(self.value(part)))
        return text

    def array(self, node: syntax.ArrayOf) -> Any:
        items = [self.value(item) for item in node.items]
        self.budget.check(items, node.place)
        return items

    def map(self, node: syntax.MapOf) -> Any:
        members = {name: self.value(item) for name, item in node.items}
        self.budget.check(members, node.place)
        return members

    def lazy(self, node: syntax.Lazy) -> Any:
        if node.sign == "??":
            value = None
            for item in node.items:
                value = self.value(item)
                if value is not None:
                    break
            return value
        decides = node.sign == "||"
        if len(node.items) == 1:
            return self.value(node.items[0])
        for item in node.items:
            if self.truth(item) is decides:
                return decides
        return not decides

    def operation(self, node: syntax.Operation) -> Any:
        if node.sign == "in":
            item, holder = node.items
            inside = self.value(holder)
            return self.call_named("contains", [Cell(inside), self.value(item)], node.place)
        values = [self.value(item) for item in node.items]
        try:
            if len(values) == 1:
                result = unary(node.sign, values[0])
            else:
                result = binary(node.sign, values[0], values[1], self.budget)
        except RunError as error:
            if len(values) == 1 or isinstance(values[0], list | dict):
                error.at(node.place)
            raise
        if result is MISSING:
            words = signature(node.sign, *values)
            raise RunError(
                "ErrorFunctionNotFound",
                f"Function not found: {words}",
                node.place,
                fields={"function": words},
            )
        return result

    def closure(self, node: syntax.Closure) -> Any:
        curry = []
        for name, place in node.captures:
            cell = self.scope.find(name)
            if cell is None:
                raise RunError(
                    "ErrorVariableNotFound", f"Variable not found: {name}", place, fields={"variable": name}
                )
            curry.append(cell.share())
        return Pointer(node.function.name, node.function, curry)

    # --- functions of the script

    def call_function(
        self,
        function: syntax.Function,
        arguments: list[Any],
        this: Slot | None,
        place: Place,
        scope: Scope | None,
    ) -> Any:
        """Call a function of the script, in a scope of its own or in this one."""
        self.budget.step(place)
        if self.level > CALLS_MAX:
            raise RunError("ErrorStackOverflow", "Stack overflow", place)
        if not function.body:
            return None
        before = (self.scope, self.this)
        self.scope = Scope() if scope is None else scope
        self.this = this
        self.level += 1
        size = self.scope.size
        if size + len(arguments) > VARIABLES_MAX:
            raise RunError("ErrorTooManyVariables", "Too many variables defined", place)
        try:
            for name, value in zip(function.parameters, arguments, strict=True):
                self.scope.push(name, value)
            return self.body(function.body)
        except ReturnValue as left:
            return left.value
        except RunError as error:
            if error.is_system:
                error.place = place
                raise
            raise self._in_call(function.name, error, place) from None
        finally:
            self.scope.rewind(size)
            self.scope, self.this = before
            self.level -= 1

    @staticmethod
    def _in_call(name: str, error: RunError, place: Place) -> RunError:
        anonymous = name.startswith("anon$")
        words = "in closure call" if anonymous else f"in call to function '{name}'"
        fields = {"function": name, "source": ""}
        return RunError("ErrorInFunctionCall", words, place, fields=fields, inner=error)


_EXPRESSIONS = frozenset(
    {
        syntax.Literal, syntax.Variable, syntax.Chain, syntax.Operation, syntax.Lazy, syntax.Template, syntax.ArrayOf,
        syntax.MapOf, syntax.This, syntax.Closure,
    }
)  # fmt: skip
_VALUES: dict[type[Node], Callable[[Interpreter, Any], Any]] = {
    syntax.Literal: lambda machine, node: node.value,
    syntax.Variable: Interpreter.read,
    syntax.Chain: Interpreter.chain,
    syntax.Operation: Interpreter.operation,
    syntax.Assign: Interpreter.assign,
    syntax.Call: Interpreter.call,
    syntax.If: Interpreter.condition,
    syntax.Define: Interpreter.define,
    syntax.Lazy: Interpreter.lazy,
    syntax.Template: Interpreter.template,
    syntax.ArrayOf: Interpreter.array,
    syntax.MapOf: Interpreter.map,
    syntax.This: Interpreter.read_this,
    syntax.Closure: Interpreter.closure,
    syntax.Block: lambda machine, node: machine.inside(node.body),
    syntax.Switch: Interpreter.switch,
    syntax.While: Interpreter.while_loop,
    syntax.DoUntil: Interpreter.do_loop,
    syntax.For: Interpreter.for_loop,
    syntax.Break: Interpreter.leave_loop,
    syntax.Return: Interpreter.leave,
    syntax.Try: Interpreter.attempt,
    syntax.Nothing: lambda machine, node: None,
}

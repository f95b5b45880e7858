"""`if`, `switch` and the loops, as statements and as values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from miroir.meili.rhai import syntax
from miroir.meili.rhai.errors import CompileError
from miroir.meili.rhai.expressions import Expressions
from miroir.meili.rhai.reader import Settings
from miroir.meili.rhai.syntax import Node
from miroir.meili.rhai.values import INT_MAX, Range, key_of


class Control(Expressions):
    """The part of the parser that reads what decides about the way of a script."""

    def statement(self, settings: Settings) -> Node:
        """One statement."""
        raise NotImplementedError

    def _statement_of_coalesce(self, settings: Settings) -> Node:
        return self.statement(settings)

    def flow(self, settings: Settings) -> Node | None:
        token = self.peek()
        match token.value if token.kind == "symbol" else "":
            case "if":
                return self.condition(settings.up())
            case "switch":
                return self.switch(settings.up())
            case "while" | "loop":
                return self.while_loop(settings.up())
            case "do":
                return self.do_loop(settings.up())
            case "for":
                return self.for_loop(settings.up())
            case _:
                return None

    def _truth(self, settings: Settings) -> Node:
        self._no_block()
        test = self.ensure_truth(self.expression(settings))
        token = self.peek()
        if token.is_symbol("="):
            raise CompileError("Possibly a typo of '=='?", token.place)
        return test

    def _no_block(self) -> None:
        token = self.peek()
        if token.is_symbol("{"):
            raise CompileError("Expecting a boolean expression", token.place)

    def condition(self, settings: Settings) -> Node:
        """`if ... { } else ...`."""
        token = self.take()
        settings = settings.up(token.place)
        test = self._truth(settings)
        body = self.block(settings).body
        otherwise: list[Node] = []
        if self.took("else"):
            if self.peek().is_symbol("if"):
                otherwise = [self.condition(settings)]
            else:
                otherwise = self.block(settings).body
        return syntax.If(token.place, test, body, otherwise)

    def while_loop(self, settings: Settings) -> Node:
        """`while ... { }` or `loop { }`."""
        settings = settings.up()
        token = self.take()
        test = self._truth(settings) if token.value == "while" else None
        block = self.block(replace(settings, place=token.place, breakable=True))
        return syntax.While(token.place, test, block.body, block.place)

    def do_loop(self, settings: Settings) -> Node:
        """`do { } while ...` or `until`."""
        token = self.take()
        settings = settings.up(token.place)
        body = self.block(replace(settings, breakable=True)).body
        word = self.take()
        if not word.is_symbol("while", "until"):
            raise CompileError("Expecting 'while' for the do statement", word.place)
        return syntax.DoUntil(token.place, self._truth(settings), body, word.value == "until")

    def for_loop(self, settings: Settings) -> Node:
        """`for name in ... { }`."""
        token = self.take()
        settings = settings.up(token.place)
        counter = None
        if self.took("("):
            name, place = self.variable_name()
            comma = self.peek()
            if not self.took(","):
                raise CompileError("Expecting ',' after the iteration variable name", comma.place)
            counter, counter_place = self.variable_name()
            if counter == name:
                raise CompileError(f"Duplicated variable name: {counter}", counter_place)
            closing = self.peek()
            if not self.took(")"):
                raise CompileError("Expecting ')' to close the iteration variable", closing.place)
        else:
            name, place = self.variable_name()
        word = self.take()
        if not word.is_symbol("in"):
            raise self.missing(word, "in", "after the iteration variable")
        self._no_block()
        source = self.ensure_iterable(self.expression(settings))
        known = len(self.stack)
        if counter is not None:
            self.stack.append((counter, False))
        self.stack.append((name, False))
        body = self.block(replace(settings, breakable=True)).body
        del self.stack[known:]
        return syntax.For(token.place, name, place, counter, source, body)

    # --- switch

    def switch(self, settings: Settings) -> Node:
        """`switch ... { literal => ..., 1..5 if guard => ..., _ => ... }`."""
        token = self.take()
        settings = settings.up(token.place)
        subject = self.expression(settings)
        opening = self.take()
        if not opening.is_symbol("{"):
            raise self.missing(opening, "{", "to start a switch block")
        found = syntax.Switch(token.place, subject, {}, [], None)
        default_place = None
        while not self.took("}"):
            token = self.peek()
            if token.kind == "end":
                raise CompileError("Expecting '}' to end this switch block", token.place)
            if found.default is not None:
                raise CompileError("Default switch case must be the last", default_place)
            literals: list[Node] = []
            guard = None
            if self.took("_"):
                default_place = token.place
                word = self.peek()
                if word.is_symbol("if"):
                    raise CompileError("This switch case cannot have a condition", word.place)
            else:
                literals = self._case_literals(settings)
                guard = self._truth(settings) if self.took("if") else None
            self._case(found, literals, guard, settings)
        return found

    def _case_literals(self, settings: Settings) -> list[Node]:
        literals = []
        while True:
            before, self.no_pipe = self.no_pipe, True
            try:
                literals.append(self.expression(settings))
            except CompileError as error:
                raise CompileError("Expecting literal expression", error.place) from None
            finally:
                self.no_pipe = before
            if not self.took("|"):
                return literals

    def _case(
        self, found: syntax.Switch, literals: list[Node], guard: Node | None, settings: Settings
    ) -> None:
        arrow = self.take()
        if not arrow.is_symbol("=>"):
            raise self.missing(arrow, "=>", "in this switch case")
        action = self.statement(settings)
        case = syntax.Case(guard, action)
        if not literals:
            found.default = case
        for literal in literals:
            self._add_case(found, literal, case)
        token = self.peek()
        if token.is_symbol("}") or self.took(","):
            return
        if token.kind == "end":
            raise CompileError("Expecting ')' to end this switch block", token.place)
        if token.kind == "error":
            raise CompileError(token.value, token.place)
        complete = isinstance(
            action, syntax.If | syntax.Switch | syntax.While | syntax.For | syntax.Block | syntax.Try
        )
        if not complete:
            raise CompileError("Expecting ',' to separate the items in this switch block", token.place)

    def _add_case(self, found: syntax.Switch, literal: Node, case: syntax.Case) -> None:
        if not self.is_literal(literal):
            raise CompileError("Expecting a literal expression", literal.start)
        value = value_of(literal)
        if isinstance(value, Range):
            if value.start < value.end + value.inclusive:
                found.ranges.append((value.start, value.end + value.inclusive, case))
        elif found.ranges and type(value) in (int, float):
            raise CompileError("Numeric switch case cannot follow a range case", literal.start)
        if not (isinstance(case.guard, syntax.Literal) and case.guard.value is False):
            found.cases.setdefault(key_of(value), []).append(case)


def value_of(literal: Node) -> Any:
    """The value of a literal expression."""
    match literal:
        case syntax.Literal():
            return literal.value
        case syntax.ArrayOf():
            return [value_of(item) for item in literal.items]
        case syntax.MapOf():
            return {name: value_of(item) for name, item in literal.items}
        case syntax.Operation():
            start, end = map(value_of, literal.items)
            return Range(
                0 if start is None else start, INT_MAX if end is None else end, literal.sign == "..="
            )
        case syntax.Template():
            return "".join(str(value_of(part)) for part in literal.parts)
        case _:
            raise AssertionError(literal)

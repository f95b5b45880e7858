"""Statements of a script: from tokens to the tree, refused with the words of the reference."""

from __future__ import annotations

from dataclasses import replace

from miroir.meili.rhai import syntax
from miroir.meili.rhai.control import Control
from miroir.meili.rhai.effects import assignment, effective, is_pure
from miroir.meili.rhai.errors import CompileError
from miroir.meili.rhai.lexer import Lexer, Token, is_function_name
from miroir.meili.rhai.reader import Settings
from miroir.meili.rhai.syntax import Node

#: Nesting of expressions that the reference allows at the top and in functions.
_DEPTH_MAX, _FUNCTION_DEPTH_MAX = 64, 32
_ASSIGNMENTS = {"+=", "-=", "*=", "/=", "%=", "**=", "<<=", ">>=", "&=", "|=", "^="}
_TYPE_NAMES = {"int": "i64", "float": "f64"}


def parse(source: str) -> syntax.Script:
    """The tree of a script.

    Raises:
        CompileError: It is none.
    """
    return Parser(Lexer(source)).script()


class Parser(Control):
    """One script, or one function of it with variables of its own."""

    def script(self) -> syntax.Script:
        """All of it."""
        settings = Settings(0, _DEPTH_MAX, (1, 0), at_top=True)
        body: list[Node] = []
        while self.peek().kind != "end":
            statement = self.statement(settings)
            if isinstance(statement, syntax.Nothing):
                continue
            body.append(statement)
            if self.peek().kind == "end":
                break
            self._end_of_statement(statement, eat_always=False)
        return syntax.Script(effective(body), self.functions)

    def _end_of_statement(self, statement: Node, *, eat_always: bool) -> None:
        complete = isinstance(
            statement, syntax.If | syntax.Switch | syntax.While | syntax.For | syntax.Block | syntax.Try
        )
        token = self.peek()
        if token.is_symbol(";"):
            if eat_always or not complete:
                self.take()
        elif not complete:
            raise self.missing(token, ";", "to terminate this statement")

    def block(self, settings: Settings) -> syntax.Block:
        """`{ ... }`."""
        opening = self.take()
        if not opening.is_symbol("{"):
            raise self.missing(opening, "{", "to start a statement block")
        settings = replace(settings.up(opening.place), at_top=False)
        frame, self.frame = self.frame, len(self.stack)
        body: list[Node] = []
        while not (token := self.peek()).is_symbol("}"):
            if token.kind == "end":
                raise CompileError("Expecting '}' to terminate this block", token.place)
            statement = self.statement(settings)
            if isinstance(statement, syntax.Nothing):
                continue
            body.append(statement)
            if self.peek().is_symbol("}"):
                break
            self._end_of_statement(statement, eat_always=True)
        self.take()
        del self.stack[self.frame :]
        self.frame = frame
        return syntax.Block(opening.place, effective(body))

    def statement(self, settings: Settings) -> Node:
        """One statement."""
        token = self.peek()
        if token.kind == "end":
            return syntax.Nothing(token.place)
        settings = settings.at(token.place)
        if (flow := self.flow(settings)) is not None:
            return flow
        if token.kind == "symbol":
            match token.value:
                case ";":
                    self.take()
                    return syntax.Nothing(token.place)
                case "{":
                    return self.block(settings.up())
                case "fn" | "private":
                    return self._function(settings)
                case "break" | "continue":
                    return self._break(settings)
                case "return" | "throw":
                    self.take()
                    return syntax.Return(token.place, self._value_or_none(settings), token.value == "throw")
                case "try":
                    return self._try(settings.up())
                case "let" | "const":
                    return self._definition(settings.up())
        return self._expression_statement(settings.up())

    def _value_or_none(self, settings: Settings) -> Node | None:
        """An expression, or None where none begins."""
        before = self.peek().place
        try:
            return self.expression(settings.up())
        except CompileError:
            if self.peek().place == before:
                return None
            raise

    def _break(self, settings: Settings) -> Node:
        token = self.peek()
        if not settings.breakable:
            raise CompileError("Break statement should only be used inside a loop", token.place)
        self.take()
        if token.value == "continue":
            return syntax.Break(token.place, None, False)
        return syntax.Break(token.place, self._value_or_none(settings), True)

    def _definition(self, settings: Settings) -> Node:
        token = self.take()
        constant = token.value == "const"
        name, _ = self.variable_name()
        value: Node = syntax.Literal(None, None)
        if self.took("="):
            value = self.expression(settings.at(token.place).up())
        for at in range(len(self.stack) - 1, self.frame - 1, -1):
            if self.stack[at][0] == name:
                self.stack[at] = (name, constant)
                break
        else:
            self.stack.append((name, constant))
        return syntax.Define(token.place, name, value, constant)

    def _expression_statement(self, settings: Settings) -> Node:
        settings = settings.at(self.peek().place)
        target = self.expression(settings)
        token = self.peek()
        if not (token.is_symbol("=") or (token.kind == "symbol" and token.value in _ASSIGNMENTS)):
            return target
        self.take()
        value = self.expression(settings.at(token.place))
        self._check_target(target, token)
        return assignment(token, target, value)

    def _check_target(self, target: Node, sign: Token) -> None:
        match target:
            case syntax.This():
                return
            case syntax.Variable():
                if target.local and self.is_constant(target.name):
                    raise CompileError(f"Cannot assign to constant {target.name}", target.place)
                return
            case syntax.Chain():
                for step in target.steps:
                    if step.kind == "method":
                        raise CompileError("Expression cannot be assigned to", step.place)
                if not isinstance(target.root, syntax.Variable | syntax.This):
                    raise CompileError("Expression cannot be assigned to", target.root.place)
                return
        if self.is_literal(target):
            raise CompileError("Cannot assign to a constant value", target.start)
        if isinstance(target, syntax.Lazy) and sign.value == "=":
            raise CompileError("Possibly a typo of '=='?", sign.place)
        raise CompileError("Expression cannot be assigned to", target.place)

    def _try(self, settings: Settings) -> Node:
        token = self.take()
        settings = settings.up(token.place)
        body = self.block(settings).body
        catch = self.peek()
        if not self.took("catch"):
            raise CompileError("Expecting 'catch' for the 'try' statement", catch.place)
        name, place = None, None
        if self.took("("):
            name, place = self.variable_name()
            closing = self.peek()
            if not self.took(")"):
                raise CompileError("Expecting ')' to enclose the catch variable", closing.place)
            self.stack.append((name, False))
        handler = self.block(settings).body
        if name is not None:
            self.stack.pop()
        if all(map(is_pure, body)):
            return syntax.Block(token.place, [])
        return syntax.Try(token.place, body, name, place, handler)

    # --- functions

    def _function(self, settings: Settings) -> Node:
        first = self.take()
        token = first if first.value == "fn" else self.take()
        if not token.is_symbol("fn"):
            raise CompileError("Expecting 'fn' following 'private'", token.place)
        if not settings.at_top:
            raise CompileError(
                "Function definitions must be at global level and cannot be inside a block or another function",
                first.place,
            )
        inner = self.inside_function()
        function = inner.function(Settings(0, _FUNCTION_DEPTH_MAX, token.place, in_function=True).up())
        key = (function.this_type, function.name, len(function.parameters))
        if key in self.functions:
            count = len(function.parameters)
            words = {0: "no parameters", 1: "1 parameter"}.get(count, f"{count} parameters")
            raise CompileError(f"Function {function.name} with {words} already exists", token.place)
        self.functions[key] = function
        return syntax.Nothing(token.place)

    def function(self, settings: Settings) -> syntax.Function:
        """What follows `fn`."""
        token, this_type = self.take(), None
        if token.kind in ("string", "name") and self.peek().is_symbol("."):
            self.take()
            this_type = _TYPE_NAMES.get(token.value, token.value)
            token = self.take()
        elif token.kind == "string":
            raise CompileError("Expecting '.' after the type name for 'this'", self.peek().place)
        if token.kind == "reserved":
            raise self.reserved(token)
        if token.kind != "name" or not is_function_name(token.value):
            raise CompileError("Expecting function name in function declaration", token.place)
        name = token.value
        parameters = self._parameters(name)
        if not self.peek().is_symbol("{"):
            raise CompileError(f"Expecting body statement block for function {name}", self.peek().place)
        return syntax.Function(name, parameters, self.block(settings).body, this_type)

    def _parameters(self, name: str) -> list[str]:
        token = self.peek()
        if self.took("()"):
            return []
        if not self.took("("):
            raise CompileError(f"Expecting parameters for function {name}", token.place)
        parameters: list[str] = []
        if self.took(")"):
            return parameters
        while not (token := self.take()).is_symbol(")"):
            self.parameter(
                token,
                parameters,
                f" for function {name}",
                f"')' to close the parameters list of function '{name}'",
            )
            token = self.take()
            if token.is_symbol(")"):
                break
            if not token.is_symbol(","):
                raise self.missing(token, ",", f"to separate the parameters of function '{name}'")
        return parameters

    def closure(self, settings: Settings) -> Node:
        """`|a, b| ...` or `|| ...`."""
        token = self.take()
        inner = self.inside_function()
        parameters: list[str] = []
        if token.value == "|" and not inner.took("|"):
            while not (token := inner.take()).is_symbol("|"):
                inner.parameter(
                    token, parameters, " for function ",
                    "'|' to close the parameters list of anonymous function or closure",
                )  # fmt: skip
                token = inner.take()
                if token.is_symbol("|"):
                    break
                if not token.is_symbol(","):
                    raise inner.missing(token, ",", "to separate the parameters of anonymous function")
        body = inner.statement(
            replace(settings, at_top=False, in_function=True, breakable=False, in_closure=True).up()
        )
        captures = inner.captures
        for name, place in captures:
            self.sees(name, place)
        names = [*(name for name, _ in captures), *parameters]
        function = syntax.Function(self.anonymous_name(token.place), names, [body])
        self.functions[(None, function.name, len(names))] = function
        return syntax.Closure(settings.place, function, captures)

    def parameter(self, token: Token, parameters: list[str], of: str, closing: str) -> None:
        """Take the name of one parameter."""
        if token.kind == "name":
            if token.value in parameters:
                raise CompileError(f"Duplicated parameter {token.value}{of}", token.place)
            self.stack.append((token.value, False))
            parameters.append(token.value)
            return
        if token.kind == "error":
            raise CompileError(token.value, token.place)
        if token.kind == "reserved":
            raise self.reserved(token)
        if token.kind == "symbol" and token.value.isalpha() and token.value != "switch":
            raise CompileError("Expecting name of a variable", token.place)
        raise CompileError(f"Expecting {closing}", token.place)

    def inside_function(self) -> Parser:
        """A parser of the same tokens and functions that sees no variables."""
        return Parser(self.lexer, self)

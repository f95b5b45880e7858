"""Expressions of a script: operators by precedence, chains, literals, templates."""

from __future__ import annotations

from miroir.meili.rhai import syntax
from miroir.meili.rhai.effects import decided
from miroir.meili.rhai.errors import CompileError
from miroir.meili.rhai.lexer import CALLABLE, METHODS, Token, is_name
from miroir.meili.rhai.reader import Reader, Settings
from miroir.meili.rhai.syntax import Node
from miroir.meili.rhai.values import INT_MAX, INT_MIN, Char

_PRECEDENCE = {
    "||": 30, "|": 30, "^": 30, "&&": 60, "&": 60, "==": 90, "!=": 90, "in": 110, "!in": 110, "<": 130, "<=": 130,
    ">": 130, ">=": 130, "??": 135, "..": 140, "..=": 140, "+": 150, "-": 150, "*": 180, "/": 180, "%": 180,
    "**": 190, "<<": 210, ">>": 210,
}  # fmt: skip
_AFTER_OPEN_RANGE = ("]", ")", "}", ",", ";", "=>")
_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "a boolean"),
    (int, "a number"),
    (float, "a floating-point number"),
    (Char, "a character"),
    (str, "a string"),
    (type(None), "()"),
)
_INDEX_KINDS = (
    (bool, "boolean"),
    (int, "number"),
    (float, "float"),
    (Char, "character"),
    (str, "string"),
    (type(None), "()"),
)


class Expressions(Reader):
    """The part of the parser that reads expressions."""

    # --- what the statements' part has

    def block(self, settings: Settings) -> syntax.Block:
        """`{ ... }`."""
        raise NotImplementedError

    def closure(self, settings: Settings) -> Node:
        """`|a| ...`."""
        raise NotImplementedError

    def flow(self, settings: Settings) -> Node | None:
        """`if`, `switch` and loops as values; None where none begins."""
        raise NotImplementedError

    # --- operators

    def expression(self, settings: Settings) -> Node:
        """One expression."""
        settings = settings.at(self.peek().place).up()
        return self._binary(settings, 1, self._unary(settings))

    def _precedence(self, token: Token) -> int:
        if token.kind == "reserved" and not is_name(token.value):
            raise CompileError(f"Unknown operator: '{token.value}'", token.place)
        return _PRECEDENCE.get(token.value, 0) if token.kind == "symbol" else 0

    def _binary(self, settings: Settings, parent: int, root: Node) -> Node:
        settings = settings.at(root.place)
        while True:
            token = self.peek()
            if self.no_pipe and token.is_symbol("|"):
                return root
            precedence = self._precedence(token)
            binds_right = token.value == "**"
            if precedence < parent or (precedence == parent and not binds_right):
                return root
            self.take()
            right = self._right_side(settings, token)
            following = self._precedence(self.peek())
            if precedence < following or (precedence == following and binds_right):
                right = self._binary(settings.up(), precedence, right)
            settings = settings.up(token.place)
            root = self._operation(token, root, right)

    def _right_side(self, settings: Settings, sign: Token) -> Node:
        following = self.peek()
        if sign.value == "??" and following.is_symbol("break", "continue", "return", "throw"):
            return syntax.Block(following.place, [self._statement_of_coalesce(settings)])
        if sign.value in ("..", "..=") and following.is_symbol(*_AFTER_OPEN_RANGE):
            return syntax.Literal(following.place, None)
        return self._unary(settings)

    def _statement_of_coalesce(self, settings: Settings) -> Node:
        raise NotImplementedError

    def _operation(self, sign: Token, left: Node, right: Node) -> Node:
        place, text = sign.place, sign.value
        if text in ("&&", "||"):
            for side in (left, right):
                self.ensure_truth(side)
        if text in ("&&", "||", "??"):
            if isinstance(left, syntax.Lazy) and left.sign == text:
                more = right.items if isinstance(right, syntax.Lazy) and right.sign == text else [right]
                return decided(syntax.Lazy(left.place, text, [*left.items, *more]))
            if isinstance(right, syntax.Lazy) and right.sign == text:
                return decided(syntax.Lazy(place, text, [left, *right.items]))
            return decided(syntax.Lazy(place, text, [left, right]))
        if text == "!in":
            return syntax.Operation(place, "!", [syntax.Operation(place, "in", [left, right])])
        return syntax.Operation(place, text, [left, right])

    def ensure_truth(self, node: Node) -> Node:
        """The expression, unless it is plain that it is never true or false."""
        what = self._kind(node)
        if what is not None and what != "a boolean":
            raise CompileError(f"Expecting a boolean expression, not {what}", node.start)
        return node

    def ensure_iterable(self, node: Node) -> Node:
        """The expression, unless it is plain that one cannot iterate over it."""
        what = self._kind(node)
        if what is not None and what not in ("a string", "an array"):
            raise CompileError(f"Expecting an iterable value, not {what}", node.start)
        return node

    @staticmethod
    def _kind(node: Node) -> str | None:
        match node:
            case syntax.Literal():
                return next(words for kind, words in _KINDS if isinstance(node.value, kind))
            case syntax.Template():
                return "a string"
            case syntax.ArrayOf():
                return "an array"
            case syntax.MapOf():
                return "an object map"
            case _:
                return None

    def is_literal(self, node: Node) -> bool:
        """Whether the value of an expression is known."""
        match node:
            case syntax.Literal():
                return True
            case syntax.ArrayOf() | syntax.Template():
                return all(
                    map(self.is_literal, node.items if isinstance(node, syntax.ArrayOf) else node.parts)
                )
            case syntax.MapOf():
                return all(self.is_literal(item) for _, item in node.items)
            case syntax.Operation(sign=".." | "..="):
                return all(map(self.is_literal, node.items))
            case _:
                return False

    def _unary(self, settings: Settings) -> Node:
        token = self.peek()
        settings = settings.at(token.place)
        if token.is_symbol("-", "+"):
            self.take()
            inner = self._unary(settings.up())
            if isinstance(inner, syntax.Literal) and type(inner.value) in (int, float):
                if token.value == "+":
                    return inner
                negated = -inner.value
                fits = type(negated) is float or INT_MIN <= negated <= INT_MAX
                return syntax.Literal(token.place, negated if fits else float(negated))
            return syntax.Operation(token.place, token.value, [inner])
        if token.is_symbol("!"):
            self.take()
            return syntax.Operation(token.place, "!", [self._unary(settings.up())])
        if token.kind == "end":
            raise CompileError("Script is incomplete", token.place)
        return self._primary(settings)

    # --- primaries

    def _primary(self, settings: Settings) -> Node:
        token = self.peek()
        settings = settings.at(token.place)
        if self.no_pipe and token.is_symbol("|"):
            raise CompileError("Unexpected '|'", token.place)
        root = self._root(token, settings)
        if self.no_pipe and self.peek().is_symbol("|"):
            return root
        return self._postfix(settings, root)

    def _root(self, token: Token, settings: Settings) -> Node:
        match token.kind:
            case "int" | "float" | "string":
                self.take()
                return syntax.Literal(token.place, token.value)
            case "char":
                self.take()
                return syntax.Literal(token.place, Char(token.value))
            case "template":
                return self._template(settings.up())
            case "name":
                self.take()
                if self.peek().is_symbol("(", "!", "()"):
                    return self._call(token, settings)
                return syntax.Variable(token.place, token.value, self.sees(token.value, token.place))
            case "reserved":
                return self._reserved_root(self.take(), settings)
            case "error":
                raise CompileError(token.value, token.place)
            case "end":
                raise CompileError("Script is incomplete", token.place)
        return self._symbol_root(token, settings)

    def _symbol_root(self, token: Token, settings: Settings) -> Node:
        match token.value:
            case "true" | "false":
                self.take()
                return syntax.Literal(token.place, token.value == "true")
            case "()":
                self.take()
                return syntax.Literal(token.place, None)
            case ".." | "..=":
                return syntax.Literal(token.place, 0)
            case "{":
                return self.block(settings.up())
            case "(":
                self.take()
                inner = self.expression(settings.up())
                closing = self.take()
                if not closing.is_symbol(")"):
                    raise self.missing(closing, ")", "for a matching ( in this expression")
                return inner
            case "[":
                return self._array(settings.up())
            case "#{":
                return self._map(settings.up())
            case "|" | "||":
                return self.closure(settings)
        flow = self.flow(settings)
        if flow is None:
            raise CompileError(f"Unexpected '{token.value}'", token.place)
        return flow

    def _reserved_root(self, token: Token, settings: Settings) -> Node:
        if self.peek().is_symbol("(", "!", "()") and token.value in CALLABLE:
            return self._call(token, settings)
        if token.value != "this":
            raise self.reserved(token)
        if not settings.in_function:
            raise CompileError("'this' can only be used in functions", token.place)
        return syntax.This(token.place)

    def _template(self, settings: Settings) -> Node:
        token = self.take()
        parts: list[Node] = []
        while True:
            if token.value:
                parts.append(syntax.Literal(token.place, token.value))
            if token.kind == "string":
                break
            parts.append(self.block(settings))
            token = self.lexer.text_of_template()
            if token.kind == "error":
                raise CompileError(token.value, token.place)
        return syntax.Template(settings.place, parts)

    def _array(self, settings: Settings) -> Node:
        opening = self.take()
        items: list[Node] = []
        while not self.took("]"):
            if self.peek().kind != "end":
                items.append(self.expression(settings.up()))
            token = self.peek()
            if token.kind == "end":
                raise CompileError("Expecting ']' to end this array literal", token.place)
            if not token.is_symbol("]") and not self.took(","):
                raise self.missing(token, ",", "to separate the items of this array literal")
        return syntax.ArrayOf(opening.place, items)

    def _map(self, settings: Settings) -> Node:
        opening = self.take()
        items: list[tuple[str, Node]] = []
        incomplete = "Expecting '}' to end this object map literal"
        while not self.took("}"):
            token = self.take()
            if token.kind not in ("name", "string"):
                if token.kind == "reserved" and is_name(token.value):
                    raise self.reserved(token)
                if token.kind == "error":
                    raise CompileError(token.value, token.place)
                bare = token.kind == "end" or (not items and token.kind != "template")
                raise CompileError(incomplete if bare else "Expecting name of a property", token.place)
            name = token.value
            if any(name == known for known, _ in items):
                raise CompileError(f"Duplicated property for object map literal: {name}", token.place)
            colon = self.take()
            if not colon.is_symbol(":"):
                raise self.missing(colon, ":", f"to follow the property '{name}' in this object map literal")
            items.append((name, self.expression(settings.up())))
            token = self.peek()
            if not token.is_symbol("}") and not self.took(","):
                if token.kind == "name":
                    raise self.missing(token, ",", "to separate the items of this object map literal")
                raise CompileError(token.value if token.kind == "error" else incomplete, token.place)
        return syntax.MapOf(opening.place, items)

    # --- calls and chains

    def _call(self, name: Token, settings: Settings) -> Node:
        sees_scope = self.took("!")
        if sees_scope and not self.peek().is_symbol("(", "()"):
            raise CompileError("Expecting '(' to start arguments list of function call", self.peek().place)
        return syntax.Call(name.place, name.value, self._arguments(name.value, settings), sees_scope)

    def _arguments(self, name: str, settings: Settings) -> list[Node]:
        if self.took("()"):
            return []
        self.take()
        arguments: list[Node] = []
        if self.took(")"):
            return arguments
        settings = settings.up()
        closing = f"Expecting ')' to close the arguments list of this function call '{name}'"
        while True:
            if self.peek().kind == "end":
                raise CompileError(closing, self.peek().place)
            if not self.peek().is_symbol(")"):
                arguments.append(self.expression(settings))
            token = self.take()
            if token.is_symbol(")"):
                return arguments
            if token.kind == "end":
                raise CompileError(closing, token.place)
            if not token.is_symbol(","):
                raise self.missing(token, ",", f"to separate the arguments to function call '{name}'")

    def _postfix(self, settings: Settings, root: Node) -> Node:
        while (token := self.peek()).is_symbol(".", "?.", "[", "?["):
            self.take()
            if token.value in (".", "?."):
                settings = settings.at(token.place).up()
                step = self._member(token, settings)
            else:
                step = self._item(token, settings.at(token.place).up())
                _check_index(root, step.arguments[0])
            if isinstance(root, syntax.Chain):
                root.steps.append(step)
            else:
                root = syntax.Chain(token.place, root, [step])
        return root

    def _member(self, sign: Token, settings: Settings) -> syntax.Step:
        token = self.take()
        optional = sign.value == "?."
        if token.kind != "name" and not (token.kind == "reserved" and token.value in METHODS):
            if token.kind == "reserved":
                raise self.reserved(token)
            raise CompileError("Expecting name of a property", token.place)
        if self.peek().is_symbol("("):
            arguments = self._arguments(token.value, settings)
        elif self.took("()"):
            arguments = []
        elif self.peek().is_symbol("!") and token.kind == "name":
            raise CompileError(
                "method-call style does not support running within the caller's scope", token.place
            )
        elif token.kind == "reserved":
            raise self.reserved(token)
        else:
            return syntax.Step("property", token.place, sign.place, token.value, optional=optional)
        return syntax.Step("method", token.place, sign.place, token.value, arguments, optional)

    def _item(self, sign: Token, settings: Settings) -> syntax.Step:
        index = self.expression(settings.up())
        closing = self.take()
        if not closing.is_symbol("]"):
            raise self.missing(closing, "]", "for a matching [ in this index expression")
        return syntax.Step("item", index.start, sign.place, arguments=[index], optional=sign.value == "?[")


def _check_index(holder: Node, index: Node) -> None:
    """Refuse an index that literals of this kind never have."""
    if isinstance(index, syntax.Lazy) and index.sign != "??":
        kind: str | None = "boolean"
    elif isinstance(index, syntax.Literal):
        kind = next(words for type_, words in _INDEX_KINDS if isinstance(index.value, type_))
    else:
        kind = "string" if isinstance(index, syntax.Template) else None
    if isinstance(holder, syntax.MapOf):
        wrong, what = kind not in (None, "string"), "Object map expects string index"
    elif isinstance(holder, syntax.ArrayOf | syntax.Template) or (
        isinstance(holder, syntax.Literal)
        and isinstance(holder.value, int | str)
        and holder.value is not True
    ):
        wrong, integer = kind not in (None, "number"), "numeric" if kind == "string" else "integer"
        what = f"Array, string or bit-field expects {integer} index"
    else:
        return
    if wrong:
        article = "()" if kind == "()" else f"a {kind}"
        raise CompileError(f"{what}, not {article}", index.start)

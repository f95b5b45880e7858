"""Document edition functions: the small part of Rhai that edits need, parsed once and run per document.

Served: `let`, assignments (`=`, `+=`, `-=`, `*=`, `/=`) to variables, members and items, `if`/`else`, literals,
arrays, maps `#{}`, `()`, operators, and the methods of `_METHODS`. Everything else is refused when the function
is compiled. No I/O; the number of operations is bounded.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from miroir.meili.codes import ApiError

_OPERATIONS_MAX = 1_000_000
_TOKEN = re.compile(
    r"""(?P<space>(?:\s|//[^\n]*)+)
      | (?P<number>\d[\d_]*(?:\.\d+)?(?:[eE][+-]?\d+)?)
      | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`)
      | (?P<name>[A-Za-z_]\w*)
      | (?P<sign>\#\{|==|!=|<=|>=|&&|\|\||\+=|-=|\*=|/=|[-+*/%<>=!(){}\[\].,;:])""",
    re.VERBOSE,
)
_LEVELS = (("||",), ("&&",), ("==", "!="), ("<", "<=", ">", ">="), ("+", "-"), ("*", "/", "%"))
_KEYWORDS = frozenset(
    {"for", "while", "loop", "fn", "switch", "return", "const", "import", "do", "try", "throw"}
)

Run = Callable[["Scope"], Any]


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    place: str


class _ScriptError(Exception):
    """Something went wrong at a place of the script."""


class Scope:
    """Variables of one run."""

    def __init__(self, variables: dict[str, Any]) -> None:
        self.variables = variables
        self._left = _OPERATIONS_MAX

    def step(self, place: str) -> None:
        self._left -= 1
        if self._left < 0:
            raise _ScriptError(f"Too many operations {place}")


def compile_script(source: str) -> Callable[[dict[str, Any], dict[str, Any] | None], Any]:
    """A function (document, context) -> what `doc` is afterwards; neither argument is changed.

    Raises:
        ApiError: `bad_request`, the script is wrong or uses what is not served. The returned function raises
            `edit_documents_by_function_error`.
    """
    try:
        body = _Parser(_tokens(source)).program()
    except _ScriptError as error:
        raise ApiError("bad_request", str(error)) from None
    except RecursionError:
        raise ApiError("bad_request", "Expression exceeds maximum complexity") from None

    def run(document: dict[str, Any], context: dict[str, Any] | None) -> Any:
        scope = Scope({"doc": copy.deepcopy(document), "context": copy.deepcopy(context or {})})
        try:
            body(scope)
        except (_ScriptError, RecursionError) as error:
            message = f"Document edition runtime error encountered while running the function: {error}"
            raise ApiError("edit_documents_by_function_error", message) from None
        return scope.variables["doc"]

    return run


def _tokens(source: str) -> list[_Token]:
    found: list[_Token] = []
    at = 0
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None:
            raise _ScriptError(f"Syntax error: unexpected '{source[at]}' {_place(source, at)}")
        assert match.lastgroup is not None
        if match.group().startswith("`") and "${" in match.group():
            place = _place(source, at)
            raise _ScriptError(f"`${{` in a text is not supported in document edition functions {place}")
        if match.lastgroup != "space":
            found.append(_Token(match.lastgroup, match.group(), _place(source, at)))
        at = match.end()
    found.append(_Token("end", "", _place(source, len(source))))
    return found


def _place(source: str, at: int) -> str:
    line = source.count("\n", 0, at)
    return f"(line {line + 1}, position {at - source.rfind(chr(10), 0, at)})"


class _Parser:
    """Recursive descent; every node is a function of the scope."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self, *texts: str) -> _Token | None:
        token = self._next
        if token.kind in ("sign", "name") and token.text in texts:
            self._at += 1
            return token
        return None

    def _expect(self, text: str) -> _Token:
        token = self._take(text)
        if token is None:
            raise self._wrong(f"Expecting '{text}'")
        return token

    def _wrong(self, message: str) -> _ScriptError:
        token = self._next
        if token.kind == "end":
            return _ScriptError(f"Script is incomplete {token.place}")
        return _ScriptError(f"Syntax error: {message} {token.place}")

    def program(self) -> Run:
        statements = []
        while self._next.kind != "end":
            if not self._take(";"):
                statements.append(self._statement())
        return _sequence(statements)

    def _block(self) -> Run:
        self._expect("{")
        statements = []
        while not self._take("}"):
            if self._next.kind == "end":
                raise self._wrong("")
            if not self._take(";"):
                statements.append(self._statement())
        return _sequence(statements)

    def _statement(self) -> Run:
        token = self._next
        if token.kind == "name" and token.text in _KEYWORDS:
            raise _ScriptError(f"`{token.text}` is not supported in document edition functions {token.place}")
        if self._take("if"):
            return self._condition()
        if self._take("let"):
            name = self._name()
            value = self._expression() if self._take("=") else _constant(None)
            self._end_of_statement()
            return lambda scope: _set_variable(scope, name.text, value(scope))
        start = self._at
        value = self._expression()
        operator = self._take("=", "+=", "-=", "*=", "/=")
        if operator is not None:
            target = self._tokens[start]
            value = self._assignment(start, operator, target)
        self._end_of_statement()
        return value

    def _end_of_statement(self) -> None:
        if self._next.kind != "end" and self._next.text != "}":
            self._expect(";")

    def _condition(self) -> Run:
        test, then = self._expression(), self._block()
        otherwise = _constant(None)
        if self._take("else"):
            otherwise = self._condition() if self._take("if") else self._block()
        return lambda scope: then(scope) if test(scope) is True else otherwise(scope)

    def _assignment(self, start: int, operator: _Token, target: _Token) -> Run:
        """The left side is parsed again as a path of members and items."""
        after, self._at = self._at, start
        name = self._name()
        keys: list[Run] = []
        while self._tokens[self._at] is not operator:
            if self._take("."):
                keys.append(_constant(self._name().text))
            else:
                self._expect("[")
                keys.append(self._expression())
                self._expect("]")
        self._at = after
        value = self._expression()
        symbol = operator.text[0]

        def assign(scope: Scope) -> None:
            scope.step(target.place)
            new = value(scope)
            if name.text not in scope.variables:
                raise _ScriptError(f"Variable not found: {name.text} {name.place}")
            if not keys:
                old = scope.variables[name.text]
                scope.variables[name.text] = (
                    new if symbol == "=" else _operate(symbol, old, new, operator.place)
                )
                return
            holder = scope.variables[name.text]
            for key in keys[:-1]:
                holder = _member(holder, key(scope), name.place)
            last = keys[-1](scope)
            if symbol != "=":
                new = _operate(symbol, _member(holder, last, name.place), new, operator.place)
            try:
                holder[last] = new
            except (TypeError, IndexError):
                raise _ScriptError(f"Property not found: {last} {name.place}") from None

        return assign

    def _name(self) -> _Token:
        token = self._next
        if token.kind != "name":
            raise self._wrong("Expecting name of a variable")
        self._at += 1
        return token

    def _expression(self, level: int = 0) -> Run:
        if level == len(_LEVELS):
            return self._unary()
        left = self._expression(level + 1)
        while (token := self._take(*_LEVELS[level])) is not None:
            left = _binary(token, left, self._expression(level + 1))
        return left

    def _unary(self) -> Run:
        if self._take("!"):
            value = self._unary()
            return lambda scope: not value(scope)
        if (minus := self._take("-")) is not None:
            value = self._unary()
            return lambda scope: _operate("-", 0, value(scope), minus.place)
        return self._postfix()

    def _postfix(self) -> Run:
        value = self._primary()
        while True:
            place = self._next.place
            if self._take("."):
                name = self._name()
                value = (
                    self._method(value, name) if self._take("(") else _get(value, _constant(name.text), place)
                )
            elif self._take("["):
                key = self._expression()
                self._expect("]")
                value = _get(value, key, place)
            else:
                return value

    def _list(self, closing: str) -> list[Run]:
        items = []
        while not self._take(closing):
            items.append(self._expression())
            if not self._take(","):
                self._expect(closing)
                break
        return items

    def _method(self, value: Run, name: _Token) -> Run:
        arguments = self._list(")")
        method = _METHODS.get(name.text)
        if method is None:
            raise _ScriptError(f"Function not found: {name.text} {name.place}")

        def call(scope: Scope) -> Any:
            scope.step(name.place)
            try:
                return method(value(scope), *(argument(scope) for argument in arguments))
            except (TypeError, AttributeError, KeyError, IndexError, ValueError):
                raise _ScriptError(f"Function not found: {name.text} {name.place}") from None

        return call

    def _primary(self) -> Run:
        token = self._next
        if token.kind == "end":
            raise self._wrong("")
        self._at += 1
        if token.kind == "number":
            digits = token.text.replace("_", "")
            return _constant(int(digits) if digits.isdigit() else float(digits))
        if token.kind == "text":
            return _constant(_unquoted(token.text))
        if token.text == "(":
            if self._take(")"):
                return _constant(None)
            value = self._expression()
            self._expect(")")
            return value
        if token.text == "[":
            items = self._list("]")
            return lambda scope: [item(scope) for item in items]
        if token.text == "#{":
            return self._map()
        if token.text in ("true", "false"):
            return _constant(token.text == "true")
        if token.text == "if":
            return self._condition()
        if token.kind == "name" and token.text not in _KEYWORDS:
            return _variable(token)
        self._at -= 1
        raise self._wrong(f"unexpected '{token.text}'")

    def _map(self) -> Run:
        members: list[tuple[str, Run]] = []
        while not self._take("}"):
            token = self._next
            self._at += 1
            if token.kind not in ("name", "text"):
                self._at -= 1
                raise self._wrong("Expecting name of a property")
            self._expect(":")
            members.append(
                (_unquoted(token.text) if token.kind == "text" else token.text, self._expression())
            )
            if not self._take(","):
                self._expect("}")
                break
        return lambda scope: {name: value(scope) for name, value in members}


# --- running ------------------------------------------------------------------------------------


def _constant(value: Any) -> Run:
    return lambda _: value


def _sequence(statements: list[Run]) -> Run:
    def run(scope: Scope) -> Any:
        result = None
        for statement in statements:
            result = statement(scope)
        return result

    return run


def _set_variable(scope: Scope, name: str, value: Any) -> None:
    scope.variables[name] = value


def _variable(token: _Token) -> Run:
    def read(scope: Scope) -> Any:
        scope.step(token.place)
        if token.text not in scope.variables:
            raise _ScriptError(f"Variable not found: {token.text} {token.place}")
        return scope.variables[token.text]

    return read


def _get(value: Run, key: Run, place: str) -> Run:
    return lambda scope: _member(value(scope), key(scope), place)


def _member(holder: Any, key: Any, place: str) -> Any:
    if isinstance(holder, dict):
        return holder.get(key)
    try:
        return holder[key]
    except (TypeError, IndexError):
        raise _ScriptError(f"Property not found: {key} {place}") from None


def _binary(token: _Token, left: Run, right: Run) -> Run:
    if token.text == "&&":
        return lambda scope: left(scope) is True and right(scope) is True
    if token.text == "||":
        return lambda scope: left(scope) is True or right(scope) is True

    def run(scope: Scope) -> Any:
        scope.step(token.place)
        return _operate(token.text, left(scope), right(scope), token.place)

    return run


def _operate(sign: str, left: Any, right: Any, place: str) -> Any:
    result = _result(sign, left, right, place)
    if isinstance(result, int) and not -(2**63) <= result < 2**63:
        raise _ScriptError(f"Overflow: {left} {sign} {right} {place}")
    return result


def _result(sign: str, left: Any, right: Any, place: str) -> Any:
    if sign in ("==", "!="):
        return (left == right and isinstance(left, bool) == isinstance(right, bool)) == (sign == "==")
    if sign in "*%" and not (isinstance(left, int | float) and isinstance(right, int | float)):
        raise _ScriptError(f"Function not found: {sign} {place}")
    try:
        match sign:
            case "+":
                return left + (str(right) if isinstance(left, str) else right)
            case "-":
                return left - right
            case "*":
                return left * right
            case "/" if isinstance(left, int) and isinstance(right, int):
                return abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
            case "/":
                return left / right
            case "%":
                return left % right
            case "<":
                return left < right
            case "<=":
                return left <= right
            case ">":
                return left > right
            case _:
                return left >= right
    except ZeroDivisionError:
        raise _ScriptError(f"Division by zero: {left} / {right} {place}") from None
    except TypeError:
        raise _ScriptError(f"Function not found: {sign} {place}") from None


def _unquoted(text: str) -> str:
    if text[0] == "`":
        return text[1:-1]
    return re.sub(
        r"\\(.)", lambda match: {"n": "\n", "t": "\t", "r": "\r"}.get(match[1], match[1]), text[1:-1]
    )


def _push(items: Any, item: Any) -> None:
    items.append(item)


def _remove(holder: Any, key: Any) -> Any:
    return holder.pop(key, None) if isinstance(holder, dict) else holder.pop(key)


_METHODS: dict[str, Callable[..., Any]] = {
    "to_upper": lambda text: text.upper(),
    "to_lower": lambda text: text.lower(),
    "to_string": lambda value: str(value).lower() if isinstance(value, bool) else str(value),
    "to_int": lambda value: int(value),
    "to_float": lambda value: float(value),
    "parse_int": lambda text: int(text),
    "parse_float": lambda text: float(text),
    "len": lambda value: len(value),
    "is_empty": lambda value: len(value) == 0,
    "contains": lambda value, item: item in value,
    "starts_with": lambda text, start: text.startswith(start),
    "ends_with": lambda text, end: text.endswith(end),
    "split": lambda text, separator: text.split(separator),
    "keys": lambda value: list(value.keys()),
    "values": lambda value: list(value.values()),
    "push": _push,
    "remove": _remove,
    "abs": lambda number: abs(number),
    "round": lambda number: float(round(number)),
    "floor": lambda number: float(number // 1),
}

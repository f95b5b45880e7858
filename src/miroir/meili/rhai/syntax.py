"""The tree of a script: what the parser builds and the interpreter walks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from miroir.meili.rhai.errors import Place


@dataclass(slots=True)
class Node:
    """Something of the script, and where it is."""

    place: Place

    @property
    def start(self) -> Place:
        """Where its text begins, as far as messages tell it."""
        return self.place


@dataclass(slots=True)
class Literal(Node):
    """A number, text, character, truth value or `()`."""

    value: Any


@dataclass(slots=True)
class Template(Node):
    """A text with `${}` in it."""

    parts: list[Node]


@dataclass(slots=True)
class ArrayOf(Node):
    """`[ ... ]`."""

    items: list[Node]


@dataclass(slots=True)
class MapOf(Node):
    """`#{ ... }`."""

    items: list[tuple[str, Node]]


@dataclass(slots=True)
class Variable(Node):
    """A name; `local` when the parser saw its definition (else a function of that name comes first)."""

    name: str
    local: bool


@dataclass(slots=True)
class This(Node):
    """`this` in a function."""


@dataclass(slots=True)
class Lazy(Node):
    """`&&`, `||` or `??` over two or more."""

    sign: str
    items: list[Node]

    @property
    def start(self) -> Place:
        return self.items[0].start


@dataclass(slots=True)
class Operation(Node):
    """A unary or binary operator, a range among them."""

    sign: str
    items: list[Node]


@dataclass(slots=True)
class Call(Node):
    """`name(...)`; with `!` it sees the variables of the caller."""

    name: str
    arguments: list[Node]
    sees_scope: bool = False


@dataclass(slots=True)
class Step:
    """One link of a chain: `.name`, `.name(...)` or `[index]`; `optional` for `?.` and `?[`."""

    kind: str  # property, method, item
    place: Place
    sign_place: Place
    name: str = ""
    arguments: list[Node] = field(default_factory=list)
    optional: bool = False


@dataclass(slots=True)
class Chain(Node):
    """`root.a[b].c()`."""

    root: Node
    steps: list[Step]

    @property
    def start(self) -> Place:
        return self.root.start


@dataclass(slots=True)
class Closure(Node):
    """`|a, b| ...` with the variables of around it that it uses."""

    function: Function
    captures: list[tuple[str, Place]]


@dataclass(slots=True)
class Function:
    """A function of the script; `this_type` restricts what it is a method of; anonymous without a name."""

    name: str
    parameters: list[str]
    body: list[Node]
    this_type: str | None = None


@dataclass(slots=True)
class Block(Node):
    """`{ ... }`."""

    body: list[Node]


@dataclass(slots=True)
class If(Node):
    """`if`, with what is done otherwise."""

    test: Node
    body: list[Node]
    otherwise: list[Node]


@dataclass(slots=True)
class Case:
    """One line of a `switch`; a guard of None always holds."""

    guard: Node | None
    action: Node


@dataclass(slots=True)
class Switch(Node):
    """`cases` by the key of a literal, `ranges` as (start, end, case), end not included."""

    subject: Node
    cases: dict[Any, list[Case]]
    ranges: list[tuple[int, int, Case]]
    default: Case | None


@dataclass(slots=True)
class While(Node):
    """`while`, or `loop` without a test."""

    test: Node | None
    body: list[Node]
    body_place: Place


@dataclass(slots=True)
class DoUntil(Node):
    """`do { } while` or `until`."""

    test: Node
    body: list[Node]
    until: bool


@dataclass(slots=True)
class For(Node):
    """`for name in ...` or `for (name, counter) in ...`."""

    name: str
    name_place: Place
    counter: str | None
    source: Node
    body: list[Node]


@dataclass(slots=True)
class Define(Node):
    """`let` or `const`."""

    name: str
    value: Node
    constant: bool


@dataclass(slots=True)
class Assign(Node):
    """`=` or `+=` and such; the target is a variable, `this` or a chain."""

    target: Node
    sign: str  # empty for `=`, else the operator
    value: Node


@dataclass(slots=True)
class Break(Node):
    """`break` with a value, or `continue`."""

    value: Node | None
    ends: bool


@dataclass(slots=True)
class Return(Node):
    """`return` or `throw`."""

    value: Node | None
    throws: bool


@dataclass(slots=True)
class Try(Node):
    """`try { } catch (name) { }`."""

    body: list[Node]
    name: str | None
    name_place: Place
    handler: list[Node]


@dataclass(slots=True)
class Nothing(Node):
    """An empty statement, or a function's definition."""


@dataclass(slots=True)
class Script:
    """A whole script."""

    body: list[Node]
    functions: dict[tuple[str | None, str, int], Function]

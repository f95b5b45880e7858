"""What all parts of the parser share: tokens, what is known of variables, and how deep it is."""

from __future__ import annotations

from dataclasses import dataclass, replace

from miroir.meili.rhai import syntax
from miroir.meili.rhai.errors import CompileError, Place
from miroir.meili.rhai.lexer import Lexer, Token, is_name
from miroir.meili.rhai.values import ANONYMOUS


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the parser is: how deep in expressions, and what may stand here."""

    level: int
    level_max: int
    place: Place
    at_top: bool = False
    in_function: bool = False
    in_closure: bool = False
    breakable: bool = False

    def up(self, place: Place = None) -> Settings:
        """One level deeper.

        Raises:
            CompileError: That is too deep.
        """
        if self.level >= self.level_max:
            raise CompileError("Expression exceeds maximum complexity", self.place)
        return replace(self, level=self.level + 1, place=place or self.place)

    def at(self, place: Place) -> Settings:
        """The same, for another place."""
        return replace(self, place=place)


class Reader:
    """Tokens and variables. `outer` is the parser of what is around a function."""

    def __init__(self, lexer: Lexer, outer: Reader | None = None) -> None:
        self.lexer = lexer
        self.functions: dict[tuple[str | None, str, int], syntax.Function] = outer.functions if outer else {}
        #: (name, constant) of the variables that are known here, and where those of this block begin.
        self.stack: list[tuple[str, bool]] = []
        self.frame = 0
        #: What a closure uses of what is around it.
        self.captures: list[tuple[str, Place]] = []
        self.no_pipe = False

    # --- tokens

    def peek(self) -> Token:
        """The next token, which stays."""
        return self.lexer.peek()

    def take(self) -> Token:
        """The next token."""
        return self.lexer.take()

    def took(self, symbol: str) -> bool:
        """Whether the next token was this symbol, which is gone then."""
        if self.lexer.peek().is_symbol(symbol):
            self.lexer.take()
            return True
        return False

    @staticmethod
    def missing(token: Token, symbol: str, purpose: str) -> CompileError:
        """A token where a symbol should be."""
        if token.kind == "error":
            return CompileError(token.value, token.place)
        return CompileError(f"Expecting '{symbol}' {purpose}", token.place)

    @staticmethod
    def reserved(token: Token) -> CompileError:
        """A word or symbol that is not for scripts."""
        what = "keyword" if is_name(token.value) else "symbol"
        return CompileError(f"'{token.value}' is a reserved {what}", token.place)

    def variable_name(self) -> tuple[str, Place]:
        """The name of a variable, and its place."""
        token = self.take()
        if token.kind == "name":
            return token.value, token.place
        if token.kind == "reserved" and is_name(token.value):
            raise self.reserved(token)
        if token.kind == "error":
            raise CompileError(token.value, token.place)
        raise CompileError("Expecting name of a variable", token.place)

    # --- variables

    def sees(self, name: str, place: Place) -> bool:
        """Whether a variable is known here; one that is not may be captured by the closure this is in."""
        if any(known == name for known, _ in self.stack):
            return True
        is_function = any(function.name == name for function in self.functions.values())
        if not is_function and all(known != name for known, _ in self.captures):
            self.captures.append((name, place))
        return False

    def is_constant(self, name: str) -> bool:
        """Whether the last definition of a name was a `const`."""
        return next((constant for known, constant in reversed(self.stack) if known == name), False)

    @staticmethod
    def anonymous_name(place: Place) -> str:
        """A name for a closure."""
        line, column = place or (0, 0)
        return f"{ANONYMOUS}{line:08x}{column:08x}"

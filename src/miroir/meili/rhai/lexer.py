"""From the text of a script to tokens, one at a time: the parser says when text of a template goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from miroir.meili.rhai.errors import Place


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


KEYWORDS = _words(
    "true false let const if else switch do while until loop for in continue break return throw try catch fn private"
)
#: Reserved words; those of the second and third set may be called as functions, those of the third as methods.
RESERVED = _words(
    "use case async public package super var protected spawn shared is sync curry static default is_shared print "
    "this is_def_var thread is_def_fn yield new call match eval await null debug type_of with void nil module Fn "
    "go goto import export as"
)
CALLABLE = _words("curry is_shared print is_def_var is_def_fn call eval debug type_of Fn")
METHODS = _words("curry is_shared call type_of")

_SYMBOLS = _words(
    "**= <<= >>= ..= () #{ += -= *= ** /= .. == => <= << >= >> != || |= && &= ^= %= ?. ?? ?[ "
    "{ } ( ) [ ] + - * / ; , . = : < > ! | & ^ %"
)
#: Symbols that are no part of the language, and those that are refused with advice.
_RESERVED_SYMBOLS = _words("... ++ -- <| |> !. #! ~ @ $ ? #")
_COMMENT = "'(* .. *)' is not a valid comment format. This is not Pascal! Should it be '/* .. */'?"
_ADVICE = {
    "===": "'===' is not a valid operator. This is not JavaScript! Should it be '=='?",
    "!==": "'!==' is not a valid operator. This is not JavaScript! Should it be '!='?",
    "->": "'->' is not a valid symbol. This is not C or C++!",
    "<-": "'<-' is not a valid symbol. This is not Go! Should it be '<='?",
    ":=": "':=' is not a valid assignment operator. This is not Go or Pascal! Should it be simply '='?",
    ":;": "':;' is not a valid symbol. Should it be '::'?",
    "(*": _COMMENT,
    "*)": _COMMENT,
}
#: After these a `-` belongs to the number that follows.
_BEFORE_NUMBER = _words(
    "; : , ?? .. ..= { ( [ + += - -= * *= / /= % %= ** **= << <<= >> >>= = == != < > ! <= >= | & && &= || |= ^ ^= "
    "if while until in !in return throw"
)
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_DIGITS = frozenset("0123456789")
_WORD = _LETTERS | _DIGITS | {"_"}
_RADIX = {"x": 16, "o": 8, "b": 2}
_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1


@dataclass(frozen=True, slots=True)
class Token:
    """`kind`: int, float, char, string, template (text before `${`), name, reserved, symbol, error or end."""

    kind: str
    value: Any
    place: Place

    def is_symbol(self, *texts: str) -> bool:
        """One of these symbols or keywords."""
        return self.kind == "symbol" and self.value in texts


def is_name(text: str) -> bool:
    """A name: letters, digits and `_`, with a letter before any digit."""
    bare = text.lstrip("_")
    return bool(bare) and bare[0] in _LETTERS and all(char in _WORD for char in bare)


def is_function_name(text: str) -> bool:
    """A name that functions may have."""
    return is_name(text) and text not in RESERVED and text not in KEYWORDS


class Lexer:
    """Tokens of `source`, one after the other."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0
        self._line, self._column = 1, 0
        self._unary = True
        self._end: Token | None = None
        self._seen: Token | None = None

    def peek(self) -> Token:
        """The next token, which stays."""
        if self._seen is None:
            self._seen = self._next()
        return self._seen

    def take(self) -> Token:
        """The next token; the end again and again when there is no more."""
        token = self.peek()
        self._seen = None
        return token

    def text_of_template(self) -> Token:
        """What follows the `}` of a `${}`: more text of the template. Nothing may have been looked at since."""
        assert self._seen is None
        self._unary = False
        return self._text("`", None)

    # --- characters

    def _peek(self, ahead: int = 0) -> str:
        at = self._at + ahead
        return self._source[at] if at < len(self._source) else ""

    def _take(self) -> str:
        char = self._peek()
        self._at += 1
        self._column += 1
        return char

    def _new_line(self) -> None:
        self._line += 1
        self._column = 0

    @property
    def _place(self) -> Place:
        return (self._line, self._column)

    # --- tokens

    def _next(self) -> Token:
        if self._end is not None:
            return self._end
        token = self._token()
        self._unary = token.kind == "symbol" and token.value in _BEFORE_NUMBER
        return token

    def _token(self) -> Token:
        while char := self._peek():
            if char == "\n":
                self._take()
                self._new_line()
            elif char in " \t\r\f":
                self._take()
            elif char == "/" and self._peek(1) in ("/", "*"):
                self._comment()
            else:
                return self._meaningful(char)
        self._column += 1
        self._end = Token("end", "", self._place)
        return self._end

    def _comment(self) -> None:
        self._take()
        if self._take() == "/":
            while (char := self._peek()) and char != "\n":
                self._take()
            return
        level = 1
        while level and self._peek():
            char = self._take()
            if char == "/" and self._peek() == "*":
                self._take()
                level += 1
            elif char == "*" and self._peek() == "/":
                self._take()
                level -= 1
            elif char == "\n":
                self._new_line()

    def _meaningful(self, char: str) -> Token:
        place = (self._line, self._column + 1)
        if char in _DIGITS or (char == "-" and self._unary and self._peek(1) in _DIGITS):
            return self._number(place)
        if char in _LETTERS or char == "_":
            return self._word(place)
        if char in "\"'`":
            return self._quoted(char, place)
        if char == "#" and self._peek(1) in ('"', "#"):
            return self._raw(place)
        if char == "!" and self._source.startswith("!in", self._at) and self._peek(3) not in _WORD:
            return self._symbol("!in", place)
        for length in (3, 2, 1):
            text = self._source[self._at : self._at + length]
            if len(text) == length and (text in _SYMBOLS or text in _RESERVED_SYMBOLS or text in _ADVICE):
                return self._symbol(text, place)
        self._take()
        return Token("error", f"Unexpected '{char}'", place)

    def _symbol(self, text: str, place: Place) -> Token:
        for _ in text:
            self._take()
        if text == "#" and self._peek() == " ":
            self._take()
            if self._peek() == "{":
                self._take()
                return Token("error", "'#' is not a valid symbol. Should it be '#{'?", place)
        if text in _SYMBOLS or text == "!in":
            return Token("symbol", text, place)
        return Token("error", _ADVICE[text], place) if text in _ADVICE else Token("reserved", text, place)

    def _word(self, place: Place) -> Token:
        start = self._at
        while self._peek() in _WORD and self._peek():
            self._take()
        text = self._source[start : self._at]
        if text in KEYWORDS or text == "_":
            return Token("symbol", text, place)
        if text in RESERVED:
            return Token("reserved", text, place)
        if not is_name(text):
            return Token("error", f"Variable name is not proper: '{text}'", place)
        return Token("name", text, place)

    # --- numbers

    def _number(self, place: Place) -> Token:
        sign = self._take() if self._peek() == "-" else ""
        digits = self._take()
        if digits == "0" and self._peek() and self._peek() in "xobXOB":
            return self._radix(sign, place)
        has_period = has_exponent = False
        while char := self._peek():
            after = self._peek(1)
            if char == "_":
                self._take()
            elif char in _DIGITS:
                digits += self._take()
            elif char == "." and not has_period and after not in ("_", "."):
                if after in _DIGITS and after:
                    digits += self._take()
                elif after and after not in _LETTERS:
                    self._take()
                    digits += ".0"
                else:
                    break
                has_period = True
            elif char in "eE" and not has_exponent and after and (after in _DIGITS or after in "+-"):
                self._take()
                digits += "e"
                if after in "+-":
                    digits += self._take()
                has_exponent = has_period = True
            else:
                break
        return self._value(sign + digits, place)

    def _radix(self, sign: str, place: Place) -> Token:
        letter = self._take()
        radix = _RADIX[letter.lower()]
        digits = ""
        while (char := self._peek()) and (char == "_" or char in "0123456789abcdefABCDEF"):
            if char != "_" and int(char, 16) >= radix:
                break
            digits += self._take().replace("_", "")
        text = letter + digits if sign else digits
        if sign or not digits or int(digits, radix) >= 2**64:
            return Token("error", f"Invalid number: '{text}'", place)
        number = int(digits, radix)
        return Token("int", number - 2**64 if number > _INT_MAX else number, place)

    def _value(self, text: str, place: Place) -> Token:
        if text.lstrip("-").isdigit() and len(text) < 25 and _INT_MIN <= int(text) <= _INT_MAX:
            return Token("int", int(text), place)
        try:
            return Token("float", float(text), place)
        except ValueError:
            return Token("error", f"Invalid number: '{text}'", place)

    # --- texts

    def _quoted(self, quote: str, place: Place) -> Token:
        self._take()
        if quote == "'" and self._peek() == "'":
            self._take()
            return Token("error", "Invalid character: ''", place)
        if quote == "`":
            if self._peek() == "\r" and self._peek(1) == "\n":
                self._take()
            if self._peek() == "\n":
                self._take()
                self._new_line()
        token = self._text(quote, place)
        if quote != "'" or token.kind == "error":
            return token
        if len(token.value) != 1:
            return Token("error", f"Invalid character: '{token.value}'", place)
        return Token("char", token.value, place)

    def _text(self, quote: str, place: Place) -> Token:
        """Text up to the quote; `place` is None inside of a template, whose parts begin where they begin."""
        start = self._place
        verbatim, first = quote == "`", None
        found: list[str] = []
        skip_until = 0
        while True:
            char = self._take()
            if not char:
                return Token("error", "Open string is not terminated", place or start)
            if verbatim and char == "$" and self._peek() == "{":
                return Token("template", "".join(found), place or first or start)
            if verbatim and char == "\\" and self._peek() == "$" and self._peek(1) == "{":
                char = self._peek()
                self._at += 1
            elif char == quote:
                if self._peek() != quote:
                    return Token("string", "".join(found), place or first or start)
                self._take()
            first = first or self._place
            if char == "\r" and self._peek() == "\n":
                continue
            if char == "\\" and not verbatim:
                if self._peek() == "\n" and quote == '"':
                    self._take()
                    self._new_line()
                    skip_until = (place or (1, 0))[1] + 1
                    continue
                escaped = self._escape(quote)
                if escaped.kind == "error":
                    return escaped
                char = escaped.value
            elif char == "\n":
                if not verbatim:
                    return Token("error", "Open string is not terminated", place or start)
                self._new_line()
            elif char.isspace() and self._column < skip_until:
                continue
            skip_until = 0
            found.append(char)

    def _escape(self, quote: str) -> Token:
        char = self._take()
        place = self._place
        plain = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", quote: quote}.get(char)
        if plain is not None:
            return Token("char", plain, place)
        sequence = "\\" + char
        for _ in range({"x": 2, "u": 4, "U": 8}.get(char, 0)):
            digit = self._take()
            sequence += digit
            if not digit or digit not in "0123456789abcdefABCDEF":
                return Token("error", f"Invalid escape sequence: '{sequence}'", self._place)
        if len(sequence) == 2:
            if not char:
                return Token("error", "Open string is not terminated", place)
            return Token("error", f"Invalid escape sequence: '{sequence}'", place)
        code = int(sequence[2:], 16)
        if code > 0x10FFFF or 0xD800 <= code < 0xE000:
            return Token("error", f"Invalid escape sequence: '{sequence}'", self._place)
        return Token("char", chr(code), place)

    def _raw(self, place: Place) -> Token:
        hashes = 0
        while self._peek() == "#":
            self._take()
            hashes += 1
        opening = self._take()
        if opening != '"':
            return Token(
                "error", f"Unexpected '{opening}'" if opening else "Open string is not terminated", place
            )
        end = self._source.find('"' + "#" * hashes, self._at)
        if end < 0:
            return Token("error", "Open string is not terminated", place)
        text = self._source[self._at : end]
        while self._at < end + 1 + hashes:
            if self._take() == "\n":
                self._new_line()
        return Token("string", text, place)

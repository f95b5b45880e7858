"""Values of a script, and how they come from JSON, are printed, and become JSON again.

`()` is None, arrays are lists, maps are dicts, integers have 64 bits; characters are no strings.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from miroir.meili.rhai.errors import RunError

if TYPE_CHECKING:
    from miroir.meili.rhai.syntax import Function

INT_MIN, INT_MAX = -(2**63), 2**63 - 1
#: Numbers beyond are printed with an exponent.
_NATURAL_MIN, _NATURAL_MAX = 9.999999824516700e-14, 9_999_999_827_968.0
ANONYMOUS = "anon$"


@dataclass(frozen=True, slots=True)
class Char:
    """One character."""

    text: str


@dataclass(frozen=True, slots=True)
class Range:
    """Integers from `start` to `end`, which belongs to it if `inclusive`."""

    start: int
    end: int
    inclusive: bool

    def __contains__(self, value: float) -> bool:
        return self.start <= value and (value <= self.end if self.inclusive else value < self.end)

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.start, self.end + self.inclusive))

    def span(self) -> tuple[int, int]:
        """(start, length), both at least zero."""
        start = max(self.start, 0)
        return start, max(self.end, start) - start + self.inclusive


@dataclass(slots=True)
class Stream:
    """What `range(a, b, step)`, `chars()` and `bits()` give: something to iterate over once."""

    items: Iterator[Any]

    def __iter__(self) -> Iterator[Any]:
        return self.items


@dataclass(slots=True)
class Pointer:
    """A function as a value, by name or with its definition, and its first arguments."""

    name: str
    function: Function | None = None
    curry: list[Any] = field(default_factory=list)

    @property
    def is_anonymous(self) -> bool:
        """A closure."""
        return self.name.startswith(ANONYMOUS)


@dataclass(slots=True)
class Shared:
    """A variable that a closure uses: one value for both. Nobody else may look while it is being changed."""

    value: Any
    locked: bool = False


def flat(value: Any) -> Any:
    """The value, of a shared one what is in it."""
    return value.value if type(value) is Shared else value


def type_name(value: Any) -> str:
    """As `type_of` tells it."""
    name = _NAMES.get(type(value))
    if name is not None:
        return name
    if isinstance(value, Range):
        return "range=" if value.inclusive else "range"
    return type_name(value.value) if isinstance(value, Shared) else "range"


_NAMES: dict[type, str] = {
    type(None): "()",
    bool: "bool",
    int: "i64",
    float: "f64",
    str: "string",
    Char: "char",
    list: "array",
    dict: "map",
    Pointer: "Fn",
}


def bare_type_name(value: Any) -> str:
    """As some errors tell it, which know ranges by another name."""
    if isinstance(value, Range):
        return f"core::ops::range::{'RangeInclusive' if value.inclusive else 'Range'}<i64>"
    return type_name(value)


def is_number(value: Any) -> bool:
    """An integer or a float."""
    return type(value) is int or type(value) is float


def key_of(value: Any) -> Any:
    """Something to look a value up by among the literals of a `switch`."""
    if isinstance(value, list):
        return ("array", *(key_of(item) for item in value))
    if isinstance(value, dict):
        return ("map", *((name, key_of(value[name])) for name in sorted(value)))
    if isinstance(value, Pointer | Stream):
        return ("never", id(value))
    return (type_name(value), value)


# --- printing -----------------------------------------------------------------------------------


def display(value: Any) -> str:
    """As in messages of errors that were thrown."""
    value = flat(value)
    match value:
        case None:
            return ""
        case str():
            return value
        case Char():
            return value.text
        case float():
            return _natural(value)
        case Pointer():
            return f"Fn({value.name})"
        case _:
            return debug(value)


def debug(value: Any) -> str:
    """As inside of printed arrays and maps."""
    value = flat(value)
    match value:
        case None:
            return "()"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return _exact(value)
        case str():
            return quoted(value)
        case Char():
            return f"'{_escaped(value.text, chr(39))}'"
        case list():
            return f"[{', '.join(map(debug, value))}]"
        case dict():
            return "#{" + ", ".join(f"{quoted(name)}: {debug(value[name])}" for name in sorted(value)) + "}"
        case Range():
            end = "" if value.end == INT_MAX else str(value.end)
            return f"{value.start}..{'=' if value.inclusive else ''}{end}"
        case Pointer():
            curry = "".join(f", {_argument(item)}" for item in value.curry)
            return f"{'Fn*+' if value.function else 'Fn'}({quoted(value.name)}{curry})"
        case _:
            return type_name(value)


def _argument(value: Any) -> str:
    """The argument of a pointer, of which pointers are not followed further: they could be without end."""
    value = flat(value)
    return type_name(value) if isinstance(value, Pointer | list | dict) else debug(value)


def to_string(value: Any) -> str:
    """What `to_string`, templates and `+` with a string make of it."""
    value = flat(value)
    if isinstance(value, list | dict):
        return to_debug(value)
    return display(value)


def to_debug(value: Any) -> str:
    """What `to_debug` makes of it: characters stay bare, unlike in `debug`."""
    value = flat(value)
    match value:
        case Char():
            return value.text
        case list():
            return f"[{', '.join(map(to_debug, value))}]"
        case dict():
            return "#{" + ", ".join(f"{quoted(n)}: {to_debug(value[n])}" for n in sorted(value)) + "}"
        case Pointer():
            return f"Fn({value.name})"
        case _:
            return debug(value)


def _natural(value: float) -> str:
    size = abs(value)
    if size == 0:
        return "0.0"
    if size > _NATURAL_MAX or size < _NATURAL_MIN:
        return _scientific(value)
    if math.isnan(value):
        return "NaN"
    text = plain(value)
    return text if "." in text else text + ".0"


def plain(value: float) -> str:
    """All digits, without an exponent."""
    return (
        format(Decimal(repr(value)), "f").removesuffix(".0") if math.isfinite(value) else _scientific(value)
    )


def _exact(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    size = abs(value)
    if math.isinf(value) or (size and not 1e-4 <= size < 1e16):
        return _scientific(value)
    text = format(Decimal(repr(value)), "f")
    return text if "." in text else text + ".0"


def _scientific(value: float) -> str:
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    assert isinstance(exponent, int)
    text = "".join(map(str, digits)).rstrip("0") or "0"
    power = exponent + len(digits) - 1
    return f"{'-' if sign else ''}{text[0]}{'.' + text[1:] if len(text) > 1 else ''}e{power}"


def quoted(text: str) -> str:
    """A string with quotes and escapes."""
    return f'"{_escaped(text, chr(34))}"'


_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\", "\0": "\\0"}


def _escaped(text: str, quote: str) -> str:
    found = []
    for char in text:
        if char == quote:
            found.append("\\" + char)
        elif char in _ESCAPES:
            found.append(_ESCAPES[char])
        elif char.isprintable() or char == "\u00a0":
            found.append(char)
        else:
            found.append(f"\\u{{{ord(char):x}}}")
    return "".join(found)


def as_json(value: Any) -> str:
    """What `to_json` makes of it: almost JSON, texts and characters as they are printed."""
    value = flat(value)
    match value:
        case None:
            return "null"
        case dict():
            return "{" + ",".join(f"{quoted(name)}:{as_json(value[name])}" for name in sorted(value)) + "}"
        case list():
            return f"[{','.join(map(as_json, value))}]"
        case Pointer():
            return quoted(value.name)
        case _:
            return debug(value)


# --- JSON ---------------------------------------------------------------------------------------


def from_json(value: Any) -> Any:
    """A decoded JSON value as a script sees it; integers that need more than 64 bits are floats."""
    if isinstance(value, dict):
        return {name: from_json(value[name]) for name in value}
    if isinstance(value, list):
        return [from_json(item) for item in value]
    if type(value) is int and not INT_MIN <= value <= INT_MAX:
        return float(value)
    if isinstance(value, Decimal):
        return float(value)
    return value


def to_json(value: Any) -> Any:
    """A value of a script as JSON; members of maps come sorted, what is no number is null."""
    value = flat(value)
    match value:
        case dict():
            return {name: to_json(value[name]) for name in sorted(value)}
        case list():
            return [to_json(item) for item in value]
        case Char():
            return value.text
        case float() if not math.isfinite(value):
            return None
        case Pointer() if value.curry:
            curry = map(flat, value.curry)
            return [value.name, *(i.name if isinstance(i, Pointer) else _plain_json(i) for i in curry)]
        case Pointer():
            return value.name
        case Range():
            return bare_type_name(value)
        case Stream():
            return "range"
        case _:
            return value


def _plain_json(value: Any) -> Any:
    return type_name(value) if isinstance(value, dict | list) else to_json(value)


def same_json(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same, as `1` and `1.0` are not."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_json(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same_json, one, other))
    return bool(one == other)


def fits(value: int, words: str) -> int:
    """The integer, if it has at most 64 bits.

    Raises:
        RunError: ErrorArithmetic with these words.
    """
    if INT_MIN <= value <= INT_MAX:
        return value
    raise RunError("ErrorArithmetic", words)

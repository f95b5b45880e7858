"""Functions of integers, floats, bits and ranges."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

from miroir.meili.rhai.errors import RunError, arithmetic, out_of_bounds
from miroir.meili.rhai.library import LIBRARY, Machine, changing, index_in, native
from miroir.meili.rhai.slots import Slot, bits_of, with_bits
from miroir.meili.rhai.values import INT_MAX, INT_MIN, Range, Stream, fits, plain

_FLOAT = re.compile(r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|inf(?:inity)?|nan)", re.IGNORECASE)
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"

# --- integers -----------------------------------------------------------------------------------


def _parsed(text: str, radix: int) -> int:
    bare = text.strip()
    digits = bare.removeprefix("-") if bare.startswith("-") else bare.removeprefix("+")
    reason = ""
    if not bare:
        reason = "cannot parse integer from empty string"
    elif not digits or any(digit not in _DIGITS[:radix] for digit in digits.lower()):
        reason = "invalid digit found in string"
    elif len(digits.lstrip("0")) > 64:
        number = INT_MAX + 1
        reason = f"number too {'small' if bare.startswith('-') else 'large'} to fit in target type"
    else:
        number = int(digits, radix) * (-1 if bare.startswith("-") else 1)
        if not INT_MIN <= number <= INT_MAX:
            reason = f"number too {'small' if number < 0 else 'large'} to fit in target type"
    if reason:
        raise arithmetic(f"Error parsing integer number '{text}': {reason}")
    return number


@native("parse_int", "string")
def _parse_int(_: Machine, text: str) -> int:
    return _parsed(text, 10)


@native("parse_int", "string i64")
def _parse_int_radix(_: Machine, text: str, radix: int) -> int:
    if not 2 <= radix <= 36:
        raise arithmetic(f"Invalid radix: '{radix}'")
    return _parsed(text, radix)


@native("abs", "i64")
def _abs(_: Machine, x: int) -> int:
    return fits(abs(x), f"Negation overflow: -{x}")


def _based(letter: str) -> Callable[[Machine, int], str]:
    return lambda _, x: format(x % 2**64, letter)


LIBRARY.add("to_hex", "i64", _based("x"))
LIBRARY.add("to_octal", "i64", _based("o"))
LIBRARY.add("to_binary", "i64", _based("b"))
LIBRARY.add("to_int", "i64", lambda _, x: x)
LIBRARY.add("to_float", "i64", lambda _, x: float(x))
LIBRARY.add("to_float", "f64", lambda _, x: x)
LIBRARY.add("is_odd get$is_odd", "i64", lambda _, x: x % 2 == 1)
LIBRARY.add("is_even get$is_even", "i64", lambda _, x: x % 2 == 0)
LIBRARY.add("is_zero get$is_zero", "i64", lambda _, x: x == 0)
LIBRARY.add("is_zero get$is_zero", "f64", lambda _, x: x == 0)
LIBRARY.add("sign", "i64", lambda _, x: (x > 0) - (x < 0))
LIBRARY.add("abs", "f64", lambda _, x: abs(x))
LIBRARY.add("min", "i64 i64", lambda _, x, y: min(x, y))
LIBRARY.add("max", "i64 i64", lambda _, x, y: max(x, y))
for _kinds in ("f64 f64", "i64 f64", "f64 i64"):
    LIBRARY.add("min", _kinds, lambda _, x, y: float(x if x <= y else y))
    LIBRARY.add("max", _kinds, lambda _, x, y: float(x if x >= y else y))

# --- floats -------------------------------------------------------------------------------------


@native("parse_float", "string")
def _parse_float(_: Machine, text: str) -> float:
    bare = text.strip()
    if not _FLOAT.fullmatch(bare):
        reason = "invalid float literal" if bare else "cannot parse float from empty string"
        raise arithmetic(f"Error parsing floating-point number '{text}': {reason}")
    return float(bare)


@native("to_int", "f64")
def _to_int(_: Machine, x: float) -> int:
    if x > float(INT_MAX) or x < float(INT_MIN):
        raise arithmetic(f"Integer overflow: to_int({plain(x)})")
    return 0 if math.isnan(x) else min(math.trunc(x), INT_MAX)


@native("sign", "f64")
def _sign(_: Machine, x: float) -> int:
    if math.isnan(x):
        raise arithmetic("Sign of NaN is undefined")
    return (x > 0) - (x < 0)


def _rounded(x: float) -> float:
    """To the nearest whole number, halves away from zero."""
    if not math.isfinite(x):
        return x
    whole = math.copysign(float(math.trunc(x)), x)
    return whole + math.copysign(1.0, x) if abs(x - whole) >= 0.5 else whole


def _or_not_a_number(run: Callable[..., float]) -> Callable[..., float]:
    """Outside of its domain a function gives NaN, above the greatest float infinity."""

    def checked(_: Machine, *values: float) -> float:
        try:
            return float(run(*values))
        except ValueError:
            return -math.inf if run in _LOGARITHMS and values[0] == 0 else math.nan
        except OverflowError:
            return math.inf if values[0] > 0 or run is not math.sinh else -math.inf
        except ZeroDivisionError:
            return math.nan

    return checked


def _log(x: float, base: float) -> float:
    return math.log(x) / math.log(base) if x else -math.inf / math.log(base)


def _whole(run: Callable[[float], float]) -> Callable[[Machine, float], float]:
    return lambda _, x: math.copysign(float(run(x)), x) if math.isfinite(x) else x


_LOGARITHMS = (math.log, math.log10)
for _name, _run in {
    "sin": math.sin, "cos": math.cos, "tan": math.tan, "sinh": math.sinh, "cosh": math.cosh, "tanh": math.tanh,
    "asin": math.asin, "acos": math.acos, "atan": math.atan, "asinh": math.asinh, "acosh": math.acosh,
    "atanh": math.atanh, "sqrt": math.sqrt, "exp": math.exp, "ln": math.log, "log": math.log10,
    "to_radians": math.radians, "to_degrees": math.degrees,
}.items():  # fmt: skip
    LIBRARY.add(_name, "f64", _or_not_a_number(_run))
LIBRARY.add("atan", "f64 f64", _or_not_a_number(math.atan2))
LIBRARY.add("hypot", "f64 f64", _or_not_a_number(math.hypot))
LIBRARY.add("log", "f64 f64", _or_not_a_number(_log))
LIBRARY.add("PI", "", lambda _: math.pi)
LIBRARY.add("E", "", lambda _: math.e)
LIBRARY.add("floor get$floor", "f64", _whole(math.floor))
LIBRARY.add("ceiling get$ceiling", "f64", _whole(math.ceil))
LIBRARY.add("int get$int", "f64", _whole(math.trunc))
LIBRARY.add("round get$round", "f64", lambda _, x: _rounded(x))
LIBRARY.add("fraction get$fraction", "f64", lambda _, x: math.modf(x)[0] if math.isfinite(x) else math.nan)
LIBRARY.add("is_nan get$is_nan", "f64", lambda _, x: math.isnan(x))
LIBRARY.add("is_finite get$is_finite", "f64", lambda _, x: math.isfinite(x))
LIBRARY.add("is_infinite get$is_infinite", "f64", lambda _, x: math.isinf(x))

# --- bits ---------------------------------------------------------------------------------------


def _bit(index: int) -> int:
    at = index_in(64, index)
    if at is None:
        raise out_of_bounds("BitField", 64, index)
    return at


@native("get_bit", "i64 i64")
def _get_bit(_: Machine, x: int, index: int) -> bool:
    return bool(x >> _bit(index) & 1)


@changing("set_bit", "i64 i64 bool")
def _set_bit(_: Machine, slot: Slot, index: int, value: bool) -> None:
    slot.set(with_bits(slot.get(), _bit(index), 1, int(value)))


@native("get_bits", "i64 i64 i64")
def _get_bits(_: Machine, x: int, start: int, count: int) -> int:
    at = _bit(start) if count > 0 else 0
    return bits_of(x, at, min(count, 64 - at)) if count > 0 else 0


@native("get_bits", "i64 ranges")
def _get_bits_range(machine: Machine, x: int, span: Range) -> int:
    return _get_bits(machine, x, *span.span())  # type: ignore[no-any-return]


@changing("set_bits", "i64 i64 i64 i64")
def _set_bits(_: Machine, slot: Slot, start: int, count: int, value: int) -> None:
    if count > 0:
        at = _bit(start)
        slot.set(with_bits(slot.get(), at, min(count, 64 - at), value))


@changing("set_bits", "i64 ranges i64")
def _set_bits_range(machine: Machine, slot: Slot, span: Range, value: int) -> None:
    _set_bits(machine, slot, *span.span(), value)


@native("bits", "i64 i64 i64")
def _bits(_: Machine, x: int, start: int, count: int) -> Stream:
    at = _bit(start)
    return Stream(bool(x >> bit & 1) for bit in range(at, min(at + max(count, 0), 64)))


@native("bits get$bits", "i64")
def _all_bits(machine: Machine, x: int) -> Stream:
    return _bits(machine, x, 0, 64)  # type: ignore[no-any-return]


@native("bits", "i64 i64")
def _bits_from(machine: Machine, x: int, start: int) -> Stream:
    return _bits(machine, x, start, 64)  # type: ignore[no-any-return]


@native("bits", "i64 ranges")
def _bits_range(machine: Machine, x: int, span: Range) -> Stream:
    return _bits(machine, x, *span.span())  # type: ignore[no-any-return]


# --- ranges -------------------------------------------------------------------------------------

LIBRARY.add("range", "i64 i64", lambda _, start, end: Range(start, end, False))
LIBRARY.add("start get$start", "ranges", lambda _, span: span.start)
LIBRARY.add("end get$end", "ranges", lambda _, span: span.end)
LIBRARY.add("is_inclusive get$is_inclusive", "ranges", lambda _, span: span.inclusive)
LIBRARY.add("is_exclusive get$is_exclusive", "ranges", lambda _, span: not span.inclusive)
LIBRARY.add("is_empty get$is_empty", "ranges", lambda _, span: span.start >= span.end + span.inclusive)


@changing("contains", "ranges i64")
def _contains(_: Machine, slot: Slot, value: int) -> bool:
    return value in slot.get()


def _stepped(start: float, end: float, step: float) -> Stream:
    if start + step == start:
        zero = RunError("ErrorArithmetic", "step value cannot be zero")
        fields = {"function": "range", "source": ""}
        raise RunError("ErrorInFunctionCall", "in call to function 'range'", fields=fields, inner=zero)
    if (start < end) is not (step > 0) or start == end:
        return Stream(iter(()))

    def items() -> Iterator[Any]:
        for value in itertools.count(start, step) if type(start) is int else _sums(start, step):
            if (value >= end) if step > 0 else (value <= end):
                return
            yield value

    return Stream(items())


def _sums(value: float, step: float) -> Iterator[float]:
    while True:
        yield value
        value += step


LIBRARY.add("range", "i64 i64 i64", lambda _, start, end, step: _stepped(start, end, step))
LIBRARY.add("range", "f64 f64 f64", lambda _, start, end, step: _stepped(start, end, step))
LIBRARY.add("range", "range i64", lambda _, span, step: _stepped(span.start, span.end, step))

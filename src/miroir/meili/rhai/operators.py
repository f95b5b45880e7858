"""What the operators make of two values, or of one."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, Final

from miroir.meili.rhai.errors import arithmetic, no_function
from miroir.meili.rhai.limits import Budget
from miroir.meili.rhai.values import INT_MAX, Char, Range, fits, is_number, type_name

_EPSILON = 2.0**-52
_U32_MAX = 2**32 - 1
#: No such operator for these types.
MISSING: Final = object()
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def signature(name: str, *values: Any) -> str:
    """A function and the types it was called with, as errors tell them."""
    types = ("&str | ImmutableString | String" if isinstance(v, str) else type_name(v) for v in values)
    return f"{name} ({', '.join(types)})"


def binary(sign: str, left: Any, right: Any, budget: Budget) -> Any:
    """left sign right, or MISSING.

    Raises:
        RunError: It has no result, without a place.
    """
    kinds = (type(left), type(right))
    if kinds == (int, int):
        return _integers(sign, left, right)
    if kinds[0] in (int, float) and kinds[1] in (int, float):
        return _floats(sign, float(left), float(right))
    if sign in ("..", "..="):
        return _range(sign, left, right)
    if sign in _ORDER:
        return _compared(sign, left, right, budget)
    if kinds == (bool, bool):
        return {"&": left and right, "|": left or right, "^": left != right}.get(sign, MISSING)
    if sign == "+":
        return _sum(left, right, budget)
    if sign == "-" and isinstance(left, str) and isinstance(right, str | Char):
        return left.replace(right if isinstance(right, str) else right.text, "")
    return MISSING


def unary(sign: str, value: Any) -> Any:
    """sign value, or MISSING."""
    if sign == "!":
        return not value if type(value) is bool else MISSING
    if not is_number(value):
        return MISSING
    if sign == "+" or type(value) is float:
        return value if sign == "+" else -value
    return fits(-value, f"Negation overflow: -{value}")


def equals(left: Any, right: Any, budget: Budget) -> bool:
    """Whether two values are equal, as functions of arrays ask: of different types they are not.

    Raises:
        RunError: ErrorFunctionNotFound, values of this type cannot be compared.
    """
    result = binary("==", left, right, budget)
    if result is MISSING:
        if type_name(left) == type_name(right):
            raise no_function(signature("==", left, right))
        return False
    return bool(result)


# --- numbers ------------------------------------------------------------------------------------


def _integers(sign: str, x: int, y: int) -> Any:
    match sign:
        case "+":
            return fits(x + y, f"Addition overflow: {x} + {y}")
        case "-":
            return fits(x - y, f"Subtraction overflow: {x} - {y}")
        case "*":
            return fits(x * y, f"Multiplication overflow: {x} * {y}")
        case "/":
            if y == 0:
                raise arithmetic(f"Division by zero: {x} / {y}")
            return fits(_quotient(x, y), f"Division overflow: {x} / {y}")
        case "%":
            if y == 0 or (y == -1 and x == -(2**63)):
                raise arithmetic(f"Modulo division by zero or overflow: {x} % {y}")
            return x - y * _quotient(x, y)
        case "**":
            return _power(x, y)
        case "<<":
            return shifted_left(x, y)
        case ">>":
            return shifted_left(x, -y)
        case "&":
            return x & y
        case "|":
            return x | y
        case "^":
            return x ^ y
        case ".." | "..=":
            return Range(x, y, sign == "..=")
        case _:
            return _ORDER[sign](x, y) if sign in _ORDER else MISSING


def _quotient(x: int, y: int) -> int:
    result = abs(x) // abs(y)
    return result if (x < 0) == (y < 0) else -result


def _power(x: int, y: int) -> int:
    if y > _U32_MAX:
        raise arithmetic(f"Exponential overflow: {x} ** {y}")
    if y < 0:
        raise arithmetic(f"Integer raised to a negative power: {x} ** {y}")
    if abs(x) > 1 and y > 64:
        raise arithmetic(f"Exponential overflow: {x} ** {y}")
    return fits(int(x ** (y if y <= 64 else y % 2 + 2)), f"Exponential overflow: {x} ** {y}")


def shifted_left(x: int, bits: int) -> int:
    """Shifted by bits, to the right if negative; what leaves the 64 bits is gone."""
    if bits < 0:
        return x >> min(-bits, 63)
    if bits >= 64:
        return 0
    return ((x << bits) + 2**63) % 2**64 - 2**63


def _floats(sign: str, x: float, y: float) -> Any:
    match sign:
        case "+":
            return x + y
        case "-":
            return x - y
        case "*":
            return x * y
        case "/":
            return _divided(x, y)
        case "%":
            return math.fmod(x, y) if y and math.isfinite(x) else math.nan
        case "**":
            return power(x, y)
        case _:
            return _floats_compared(sign, x, y) if sign in _ORDER else MISSING


def _divided(x: float, y: float) -> float:
    if y:
        return x / y
    return math.nan if x == 0 or math.isnan(x) else math.copysign(math.inf, x) * math.copysign(1, y)


def power(x: float, y: float) -> float:
    """x to the power of y as floats have it, without exceptions."""
    try:
        return math.pow(x, y)
    except OverflowError:
        return -math.inf if x < 0 and y % 2 == 1 else math.inf
    except ValueError:
        return math.inf if x == 0 else math.nan


def _floats_compared(sign: str, x: float, y: float) -> bool:
    """Equal within the precision of floats, relative to the greater one."""
    size = 1.0 if x * y == 0 else max(abs(x), abs(y))
    with_difference = x - y if math.isfinite(size) or x != y else math.nan
    distance = with_difference / size if size else 0.0
    match sign:
        case "==":
            return abs(distance) <= _EPSILON
        case "!=":
            return abs(distance) > _EPSILON
        case ">":
            return distance > _EPSILON
        case ">=":
            return distance > -_EPSILON
        case "<":
            return -distance > _EPSILON
        case _:
            return distance > -_EPSILON


# --- others -------------------------------------------------------------------------------------


def _range(sign: str, left: Any, right: Any) -> Any:
    start = 0 if left is None else left
    end = INT_MAX if right is None else right
    if (left is None and right is None) or type(start) is not int or type(end) is not int:
        return MISSING
    return Range(start, end, sign == "..=")


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    return value.text if isinstance(value, Char) else None


def _compared(sign: str, left: Any, right: Any, budget: Budget) -> Any:
    x, y = _text(left), _text(right)
    if x is not None and y is not None:
        return _ORDER[sign](x, y)
    if left is None and right is None:
        return sign == "=="
    if type(left) is bool and type(right) is bool:
        return _ORDER[sign](left, right)
    if type_name(left) != type_name(right):
        return sign == "!="
    if sign not in ("==", "!="):
        return MISSING
    if isinstance(left, Range):
        return (left == right) == (sign == "==")
    if isinstance(left, list | dict):
        return _same(left, right, budget) == (sign == "==")
    return MISSING


def _same(left: Any, right: Any, budget: Budget) -> bool:
    if len(left) != len(right):
        return False
    budget.spend(len(left))
    if isinstance(left, list):
        return all(equals(a, b, budget) for a, b in zip(left, right, strict=True))
    for name in sorted(left):
        if name not in right:
            return False
        result = binary("==", left[name], right[name], budget)
        if result is MISSING:
            raise no_function(signature("==", left[name], right[name]))
        if not result:
            return False
    return True


def _sum(left: Any, right: Any, budget: Budget) -> Any:
    if (
        isinstance(left, str)
        or isinstance(right, str)
        or (isinstance(left, Char) and isinstance(right, Char))
    ):
        return budget.text(budget.printed(left) + budget.printed(right))
    if isinstance(left, list) and isinstance(right, list):
        budget.spend(len(left) + len(right))
        joined: list[Any] = [*left, *right]
        budget.check(joined)
        return joined
    if isinstance(left, dict) and isinstance(right, dict):
        budget.spend(len(left) + len(right))
        merged: dict[str, Any] = {**left, **right}
        budget.check(merged)
        return merged
    return MISSING


def assigned(sign: str, old: Any, new: Any, budget: Budget) -> Any:
    """What `old sign= new` leaves; arrays and maps are changed where they are. MISSING if there is none."""
    if sign == "+" and isinstance(old, list):
        if isinstance(new, list):
            budget.spend(len(new))
            old.extend(new)
        else:
            old.append(new)
        budget.check(old)
        return old
    if sign == "+" and isinstance(old, str):
        return budget.appended(old, budget.printed(new))
    if sign == "+" and isinstance(old, dict) and isinstance(new, dict):
        budget.spend(len(new))
        old.update(new)
        budget.check(old)
        return old
    return binary(sign, old, new, budget)

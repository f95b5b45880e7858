"""The server's words for what is wrong with a value: kinds, suggestions, places, and the refusals made of them.

`path` says where a value stands, as messages print it: `""` is the root, `.queries[0].limit` a member.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import NoReturn

import orjson
from rapidfuzz.distance import DamerauLevenshtein

from miroir.meili.codes import ApiError

BAD_REQUEST = "bad_request"
U32_MAX = 2**32 - 1
U64_MAX = 2**64 - 1

_KIND_ORDER = ("null", "boolean", "integer", "negative", "number", "string", "array", "object")
_KIND_NAMES = {
    "null": "null",
    "boolean": "a boolean",
    "integer": "a positive integer",
    "negative": "a negative integer",
    "number": "a number",
    "string": "a string",
    "array": "an array",
    "object": "an object",
}


# --- words of the messages ----------------------------------------------------------------------


def compact_json(value: object) -> str:
    """JSON as the server echoes it: no spaces, floats with their `.0`."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # integers beyond 64 bits
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def kind_of(value: object) -> str:
    """One of null, boolean, integer, negative, number, string, array, object."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        if value > U64_MAX or value < -(2**63):
            return "number"
        return "integer" if value >= 0 else "negative"
    if isinstance(value, float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list | tuple) else "object"


def describe_kinds(kinds: Iterable[str]) -> str:
    """`a string or an array`, `null, a boolean, or a number`; integers and numbers merge."""
    wanted = set(kinds)
    if "number" in wanted:
        wanted -= {"integer", "negative"}
    names = [_KIND_NAMES[kind] for kind in _KIND_ORDER if kind in wanted]
    if {"integer", "negative"} <= wanted:
        at = names.index(_KIND_NAMES["integer"])
        names[at : at + 2] = ["an integer"]
    if len(names) <= 2:
        return " or ".join(names)
    return ", ".join(names[:-1]) + ", or " + names[-1]


def describe_value(value: object) -> str:
    """``a string: `"10"` ``, or just `null`."""
    kind = kind_of(value)
    return "null" if kind == "null" else f"{_KIND_NAMES[kind]}: `{compact_json(value)}`"


def one_of(names: Iterable[str]) -> str:
    """``expected one of `a`, `b` ``."""
    return "expected one of " + ", ".join(f"`{name}`" for name in names)


def did_you_mean(received: str, accepted: Iterable[str]) -> str:
    """``did you mean `x`? `` for the closest accepted name within the distance its length allows, or nothing."""
    size = len(received.encode())
    allowed = (
        0
        if size <= 3
        else 1
        if size <= 7
        else 2
        if size <= 12
        else 3
        if size <= 17
        else 4
        if size <= 24
        else 5
    )
    if not allowed:
        return ""
    best, name = min(
        ((DamerauLevenshtein.distance(received, name), name) for name in accepted),
        key=lambda pair: pair[0],
        default=(allowed + 1, ""),
    )
    return f"did you mean `{name}`? " if best <= allowed else ""


def at(path: str, article: str = " at") -> str:
    """`` at `.path` ``, nothing at the root."""
    return f"{article} `{path}`" if path else ""


# --- refusals -----------------------------------------------------------------------------------


def wrong_kind(value: object, path: str, code: str, *expected: str) -> NoReturn:
    """``Invalid value type at `.limit`: expected a positive integer, but found a string: `"10"` ``."""
    raise ApiError(
        code,
        f"Invalid value type{at(path)}: expected {describe_kinds(expected)}, but found {describe_value(value)}",
    )


def invalid(message: str, path: str, code: str) -> NoReturn:
    """``Invalid value at `.uid`: <message>``; no path at the root."""
    raise ApiError(code, f"Invalid value{at(path)}: {message}")


def unknown_value(value: str, path: str, code: str, accepted: Sequence[str]) -> NoReturn:
    """``Unknown value `x` at `.proximityPrecision`: expected one of …``."""
    raise ApiError(
        code, f"Unknown value `{value}`{at(path)}: {did_you_mean(value, accepted)}{one_of(accepted)}"
    )


def unknown_field(name: str, path: str, code: str, accepted: Sequence[str]) -> NoReturn:
    """``Unknown field `foo` inside `.typoTolerance`: did you mean `x`? expected one of …``."""
    where = at(path, " inside")
    raise ApiError(code, f"Unknown field `{name}`{where}: {did_you_mean(name, accepted)}{one_of(accepted)}")


def missing_field(name: str, path: str, code: str = BAD_REQUEST) -> NoReturn:
    """``Missing field `uid` inside `.queries[0]` ``."""
    raise ApiError(code, f"Missing field `{name}`{at(path, ' inside')}")

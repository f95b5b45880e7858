"""Turning untyped JSON and query strings into plain values, with Meilisearch's exact refusals.

A decoder is a function `(value, path, code) -> T`: it returns the decoded value or raises `ApiError(code, ...)`.
`path` says where the value stands, as messages print it: `""` is the root, `.queries[0].limit` a member.

Objects and query strings are described by tables of `Field`:

    FIELDS = fields(
        Field("q", string, "invalid_search_q", nullable=True),
        Field("limit", integer, "invalid_search_limit"),
        Field("indexUid", index_uid, "invalid_index_uid", required="missing_index_uid"),
    )
    found = object_fields(body, FIELDS)                       # JSON: {"q": ..., "limit": ...}, only what was sent
    found = param_fields(query_pairs(request.query), PARAMS)  # query string, with the `param_*` decoders

The result holds the fields that were sent, by their JSON name; a nullable field sent as null is None.
Members are checked in the order they were sent, missing fields after that, so the first error is the server's.
Unknown-field lists print in the order of the table. `snake` gives the attribute name of a JSON name.
"""

from __future__ import annotations

import json
import re
import uuid as uuids
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn
from urllib.parse import parse_qsl

import orjson
from rapidfuzz.distance import DamerauLevenshtein

from miroir.meili.codes import ApiError

#: (value, path, code) -> decoded; raises ApiError(code, ...)
Decoder = Callable[[Any, str, str], Any]

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


# --- decoders of JSON values --------------------------------------------------------------------


def anything(value: Any, path: str, code: str) -> Any:
    """Takes any JSON value as it is."""
    return value


def string(value: Any, path: str, code: str) -> str:
    """A string."""
    if not isinstance(value, str):
        wrong_kind(value, path, code, "string")
    return value


def boolean(value: Any, path: str, code: str) -> bool:
    """A boolean."""
    if not isinstance(value, bool):
        wrong_kind(value, path, code, "boolean")
    return value


def integer_up_to(maximum: int, *, nonzero: bool = False) -> Decoder:
    """A decoder of unsigned integers; a float such as 1.0 is none."""

    def decode(value: Any, path: str, code: str) -> int:
        if kind_of(value) != "integer":
            wrong_kind(value, path, code, "integer")
        if nonzero and value == 0:
            invalid(
                f"a non-zero integer value lower than `{maximum}` was expected, but found a zero", path, code
            )
        if value > maximum:
            too_large = (
                f"value: `{value}` is too large to be deserialized, maximum value authorized is `{maximum}`"
            )
            invalid(too_large, path, code)
        return int(value)

    return decode


#: An unsigned 64-bit integer.
integer = integer_up_to(U64_MAX)


def number(value: Any, path: str, code: str) -> float:
    """Any JSON number, as a float."""
    if kind_of(value) not in ("integer", "negative", "number"):
        wrong_kind(value, path, code, "number")
    return float(value)


def raw_object(value: Any, path: str, code: str) -> dict[str, Any]:
    """Any JSON object, as it is."""
    if not isinstance(value, dict):
        wrong_kind(value, path, code, "object")
    return value


def enum(*accepted: str) -> Decoder:
    """A decoder of one of some strings."""

    def decode(value: Any, path: str, code: str) -> str:
        if not isinstance(value, str):
            wrong_kind(value, path, code, "string")
        if value not in accepted:
            unknown_value(value, path, code, accepted)
        return value

    return decode


def array_of(item: Decoder) -> Decoder:
    """A decoder of arrays, to a tuple; items are told apart by `[i]` in their path."""

    def decode(value: Any, path: str, code: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            wrong_kind(value, path, code, "array")
        return tuple(item(member, f"{path}[{i}]", code) for i, member in enumerate(value))

    return decode


def map_of(item: Decoder, *, nullable: bool = False) -> Decoder:
    """A decoder of objects with free keys; with `nullable` a null member stays None."""

    def decode(value: Any, path: str, code: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            wrong_kind(value, path, code, "object")
        return {
            key: None if member is None and nullable else item(member, f"{path}.{key}", code)
            for key, member in value.items()
        }

    return decode


def nullable(item: Decoder) -> Decoder:
    """The same decoder, but null gives None (for array and map items)."""

    def decode(value: Any, path: str, code: str) -> Any:
        return None if value is None else item(value, path, code)

    return decode


#: An array of strings, as a tuple.
strings = array_of(string)


def uuid_problem(text: str) -> str | None:
    """Why a text is no UUID, in the words of the server's parser; None when it is one."""
    body = text
    offset = 0
    if body.startswith("urn:uuid:"):
        body, offset = body[9:], 9
    elif body.startswith("{") and body.endswith("}") and len(body) > 1:
        body, offset = body[1:-1], 1
    for position, character in enumerate(body):
        if character not in "0123456789abcdefABCDEF-":
            return f"invalid character: found `{character}` at {len(body[:position].encode()) + offset}"
    groups = body.split("-")
    if len(groups) == 1:
        return (
            None
            if len(body) == 32
            else f"invalid length: expected length 32 for simple format, found {len(body)}"
        )
    if len(groups) != 5:
        return f"invalid group count: expected 5, found {len(groups)}"
    for i, (group, size) in enumerate(zip(groups, (8, 4, 4, 4, 12), strict=True)):
        if len(group) != size:
            return f"invalid group length in group {i}: expected {size}, found {len(group)}"
    return None


def uuid(value: Any, path: str, code: str) -> str:
    """A UUID, lower-case and hyphenated."""
    text = string(value, path, code)
    if (problem := uuid_problem(text)) is not None:
        invalid(problem, path, code)
    return str(uuids.UUID(text))


# --- objects ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Field:
    """One member of an object or one query parameter.

    `required` is the code of the refusal when it is absent (None: optional). With `nullable`, null means
    "not given" and decodes to None.
    """

    name: str
    decode: Decoder
    code: str = BAD_REQUEST
    required: str | None = None
    nullable: bool = False


Fields = Mapping[str, Field]


def fields(*members: Field) -> dict[str, Field]:
    """A table of fields, in the order that unknown-field messages list them."""
    return {member.name: member for member in members}


def object_fields(
    value: Any,
    accepted: Fields,
    path: str = "",
    code: str = BAD_REQUEST,
    *,
    immutable: Mapping[str, str] | None = None,
    allow_unknown: bool = False,
) -> dict[str, Any]:
    """The sent members of an object, decoded, by JSON name.

    `code` is the code for a value that is no object and for unknown members. `immutable`: name -> code of
    ``Immutable field `x`: expected one of …``.
    """
    if not isinstance(value, dict):
        wrong_kind(value, path, code, "object")
    found: dict[str, Any] = {}
    for name, member in value.items():
        field = accepted.get(name)
        if field is None:
            if immutable and name in immutable:
                raise ApiError(immutable[name], f"Immutable field `{name}`: {one_of(accepted)}")
            if not allow_unknown:
                unknown_field(name, path, code, tuple(accepted))
        elif member is None and field.nullable:
            found[name] = None
        else:
            found[name] = field.decode(member, f"{path}.{name}", field.code)
    for field in accepted.values():
        if field.required is not None and field.name not in found:
            missing_field(field.name, path, field.required)
    return found


def object_of(accepted: Fields, build: Callable[[dict[str, Any]], Any] | None = None) -> Decoder:
    """A decoder of nested objects; unknown members get the container's code. `build` makes the final value."""

    def decode(value: Any, path: str, code: str) -> Any:
        found = object_fields(value, accepted, path, code)
        return found if build is None else build(found)

    return decode


_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")


@lru_cache(maxsize=1024)
def snake(name: str) -> str:
    """`attributesToCrop` -> `attributes_to_crop`."""
    return _CAPITAL.sub("_", name).lower()


def arguments(found: Mapping[str, Any], *, keep_none: bool = False) -> dict[str, Any]:
    """Keyword arguments of a dataclass from found members: snake case, nulls dropped so that defaults apply."""
    return {snake(name): value for name, value in found.items() if keep_none or value is not None}


# --- query strings ------------------------------------------------------------------------------


def query_pairs(query: str) -> list[tuple[str, str]]:
    """Parameters of a raw query string, decoded, in order."""
    return parse_qsl(query, keep_blank_values=True, errors="replace")


def param_fields(
    pairs: Iterable[tuple[str, str]], accepted: Fields, code: str = BAD_REQUEST
) -> dict[str, Any]:
    """The sent parameters, decoded, by name. Of a repeated parameter the last one counts."""
    found: dict[str, Any] = {}
    for name, text in dict(pairs).items():
        field = accepted.get(name)
        if field is None:
            raise ApiError(
                code, f"Unknown parameter `{name}`: {did_you_mean(name, accepted)}{one_of(accepted)}"
            )
        found[name] = field.decode(text, name, field.code)
    for field in accepted.values():
        if field.required is not None and field.name not in found:
            raise ApiError(field.required, f"Missing parameter `{field.name}`")
    return found


def invalid_param(message: str, name: str, code: str) -> NoReturn:
    """``Invalid value in parameter `uids[1]`: <message>``."""
    raise ApiError(code, f"Invalid value{at(name, ' in parameter')}: {message}")


def param_string(text: str, name: str, code: str) -> str:
    """Any text."""
    return text


_DIGITS = re.compile(r"\+?[0-9]+")


def param_integer_up_to(maximum: int) -> Decoder:
    """A decoder of unsigned decimal integers."""

    def decode(text: str, name: str, code: str) -> int:
        if not _DIGITS.fullmatch(text) or int(text) > maximum:
            invalid_param(f"could not parse `{text}` as a positive integer", name, code)
        return int(text)

    return decode


param_integer = param_integer_up_to(U64_MAX)
param_u32 = param_integer_up_to(U32_MAX)


def param_boolean(text: str, name: str, code: str) -> bool:
    """`true` or `false`."""
    if text not in ("true", "false"):
        message = f"could not parse `{text}` as a boolean, expected either `true` or `false`"
        invalid_param(message, name, code)
    return text == "true"


def param_enum(*accepted: str) -> Decoder:
    """A decoder of one of some words."""

    def decode(text: str, name: str, code: str) -> str:
        if text not in accepted:
            where = at(name, " for parameter")
            raise ApiError(
                code, f"Unknown value `{text}`{where}: {did_you_mean(text, accepted)}{one_of(accepted)}"
            )
        return text

    return decode


def param_list(item: Decoder = param_string) -> Decoder:
    """A decoder of comma lists, to a tuple; the empty text is the empty list. The path shows an index only when there is more than one member."""

    def decode(text: str, name: str, code: str) -> tuple[Any, ...]:
        members = text.split(",") if text else []
        many = len(members) > 1
        return tuple(item(member, f"{name}[{i}]" if many else name, code) for i, member in enumerate(members))

    return decode


def param_star_or_list(item: Decoder = param_string) -> Decoder:
    """A decoder of comma lists in which `*` stands for everything: then the result is None (all members are checked)."""

    def decode(text: str, name: str, code: str) -> tuple[Any, ...] | None:
        members = text.split(",") if text else []
        many = len(members) > 1
        found = tuple(
            item(member, f"{name}[{i}]" if many else name, code)
            for i, member in enumerate(members)
            if member != "*"
        )
        return None if "*" in members else found

    return decode

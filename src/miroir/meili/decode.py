"""Turning untyped JSON and query strings into plain values, with Meilisearch's exact refusals.

A decoder is a function `(value, path, code) -> T`: it returns the decoded value or raises `ApiError(code, ...)`.
`path` says where the value stands, as messages print it: `""` is the root, `.queries[0].limit` a member.

Objects are described by tables of `Field`, and so are query strings (`query_params.py`):

    FIELDS = fields(
        Field("q", string, "invalid_search_q", nullable=True),
        Field("limit", integer, "invalid_search_limit"),
        Field("indexUid", index_uid, "invalid_index_uid", required="missing_index_uid"),
    )
    found = object_fields(body, FIELDS)  # {"q": ..., "limit": ...}, only what was sent

The result holds the fields that were sent, by their JSON name; a nullable field sent as null is None.
Members are checked in the order they were sent, missing fields after that, so the first error is the server's.
Unknown-field lists print in the order of the table. `snake` gives the attribute name of a JSON name.
"""

from __future__ import annotations

import re
import uuid as uuids
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from miroir.meili.codes import ApiError
from miroir.meili.refusals import (
    BAD_REQUEST,
    U64_MAX,
    invalid,
    kind_of,
    missing_field,
    one_of,
    unknown_field,
    unknown_value,
    wrong_kind,
)

#: (value, path, code) -> decoded; raises ApiError(code, ...)
Decoder = Callable[[Any, str, str], Any]

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

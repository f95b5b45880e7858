"""Turning query strings into plain values, with Meilisearch's exact refusals.

    found = param_fields(query_pairs(request.query), PARAMS)

Decoders are as in `decode.py`; of a parameter, the path is its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from miroir.meili.codes import ApiError
from miroir.meili.decode import Decoder, Fields
from miroir.meili.refusals import BAD_REQUEST, U32_MAX, U64_MAX, at, did_you_mean, one_of


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

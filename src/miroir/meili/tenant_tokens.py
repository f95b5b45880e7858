"""Tenant tokens: JWTs signed with an API key, read with the server's refusals.

The token is taken apart by hand instead of with a JWT library because the messages name the JSON error and its
column, in the words of the server's JSON reader.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from miroir.meili import json_text
from miroir.meili.codes import ApiError
from miroir.meili.dates import NS
from miroir.meili.decode import uuid_problem
from miroir.meili.refusals import compact_json, kind_of

_HASHES = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}
_ALGORITHMS = (
    "HS256",
    "HS384",
    "HS512",
    "ES256",
    "ES384",
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "EdDSA",
)
_PATTERN_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


@dataclass(frozen=True, slots=True)
class TenantToken:
    """The claims of a verified token. `search_rules`: index pattern -> rule object or None."""

    api_key_uid: str
    search_rules: Mapping[str, dict[str, Any] | None]


def read_tenant_token(token: str, key_of: Callable[[str], str], now_ns: int) -> TenantToken | None:
    """The verified token, or None when the text is no JWT at all (then it may be an API key).

    `key_of` gives the key string of a key uid, whether or not that key exists. Raises `invalid_api_key`.
    """
    parts = token.rsplit(".", 2)
    if len(parts) != 3:
        return None
    header, payload, signature = parts
    algorithm = _algorithm(_json_part(header))
    uid, rules, expiry = _claims(_json_part(payload))
    if algorithm not in _HASHES:
        _refuse("InvalidAlgorithm")
    expected = hmac.digest(key_of(uid).encode(), f"{header}.{payload}".encode(), _HASHES[algorithm])
    if not hmac.compare_digest(expected, _base64(signature)):
        _refuse("InvalidSignature")
    now = now_ns // NS
    if expiry is not None and now > expiry:
        message = f"Tenant token expired. Was valid up to `{expiry}` and we're now `{now}`."
        raise ApiError("invalid_api_key", message)
    return TenantToken(uid, rules)


def _refuse(reason: str) -> NoReturn:
    raise ApiError("invalid_api_key", f"Could not decode tenant token, {reason}.")


def _base64(text: str) -> bytes:
    for offset, character in enumerate(text):
        if character not in _PATTERN_CHARACTERS:
            _refuse(f"Base64 error: Invalid symbol {ord(character)}, offset {offset}")
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        _refuse(f"Base64 error: Invalid input length: {len(text)}")


@dataclass(frozen=True, slots=True)
class _Object:
    """A JSON object with the column at which each member's value ends."""

    text: str
    members: dict[str, tuple[Any, int]]

    def column(self, at: int) -> str:
        return f" at line 1 column {len(self.text[:at].encode())}"

    def missing(self, name: str) -> NoReturn:
        _refuse(f"JSON error: missing field `{name}`{self.column(len(self.text.rstrip()))}")

    def wrong(self, name: str, message: str, *, after_brace: bool = False) -> NoReturn:
        end = self.members[name][1]
        if after_brace:  # the server's reader first tries to close the object
            rest = self.text[end:]
            stripped = rest.lstrip()
            end += len(rest) - len(stripped) + stripped.startswith("}")
        _refuse(f"JSON error: {message}{self.column(end)}")

    def wrong_type(self, name: str, expected: str) -> NoReturn:
        self.wrong(name, f"invalid type: {_describe(self.members[name][0])}, expected {expected}")


def _describe(value: object) -> str:
    kind = kind_of(value)
    if kind == "null":
        return "null"
    if kind in ("array", "object"):
        return {"array": "sequence", "object": "map"}[kind]
    if kind == "string":
        return f"string {compact_json(value)}"
    words = {"boolean": "boolean", "integer": "integer", "negative": "integer", "number": "floating point"}
    return f"{words[kind]} `{compact_json(value)}`"


def _json_part(encoded: str) -> _Object:
    try:
        text = _base64(encoded).decode()
    except UnicodeDecodeError:
        _refuse("Utf8 error: invalid utf-8 sequence")
    decoder = json.JSONDecoder()
    members: dict[str, tuple[Any, int]] = {}
    try:
        whole, _ = decoder.raw_decode(text.lstrip())
        if not isinstance(whole, dict):
            _refuse(f"JSON error: invalid type: {_describe(whole)}, expected a map at line 1 column 0")
        at = text.index("{") + 1
        for _ in whole:
            at = _skip(text, at, ",")
            name, at = decoder.raw_decode(text, at)
            value, at = decoder.raw_decode(text, _skip(text, at, ":"))
            members[name] = (value, at)
    except (ValueError, RecursionError):
        _refuse(f"JSON error: {_syntax_problem(text)}")
    return _Object(text, members)


def _syntax_problem(text: str) -> str:
    try:
        json_text.parse(text.encode())
    except json_text.JsonSyntaxError as error:
        return str(error)
    return "expected value at line 1 column 1"


def _skip(text: str, at: int, separator: str) -> int:
    while at < len(text) and (text[at].isspace() or text[at] == separator):
        at += 1
    return at


def _algorithm(header: _Object) -> str:
    if "alg" not in header.members:
        header.missing("alg")
    algorithm = header.members["alg"][0]
    if not isinstance(algorithm, str):
        header.wrong_type("alg", "variant identifier")
    if algorithm not in _ALGORITHMS:
        known = ", ".join(f"`{name}`" for name in _ALGORITHMS)
        header.wrong("alg", f"unknown variant `{algorithm}`, expected one of {known}")
    return algorithm


def _claims(claims: _Object) -> tuple[str, dict[str, dict[str, Any] | None], int | None]:
    uid, rules, expiry = "", {}, None
    for name, (value, _) in claims.members.items():
        if name == "apiKeyUid":
            uid = _uid(claims, value)
        elif name == "searchRules":
            parsed = _rules(value)
            if parsed is None:
                message = "data did not match any variant of untagged enum SearchRules"
                claims.wrong("searchRules", message, after_brace=True)
            rules = parsed
        elif name == "exp" and value is not None:
            if kind_of(value) not in ("integer", "negative"):
                claims.wrong_type("exp", "i64")
            expiry = value
    for name in ("searchRules", "apiKeyUid"):
        if name not in claims.members:
            claims.missing(name)
    return uid, rules, expiry


def _uid(claims: _Object, value: object) -> str:
    if not isinstance(value, str):
        claims.wrong_type("apiKeyUid", "a formatted UUID string")
    if (problem := uuid_problem(value)) is not None:
        claims.wrong("apiKeyUid", f"UUID parsing failed: {problem}")
    return value.lower()


def _is_pattern(text: object) -> bool:
    return isinstance(text, str) and (
        text == "*" or (bool(text.removesuffix("*")) and set(text.removesuffix("*")) <= _PATTERN_CHARACTERS)
    )


def _rules(value: object) -> dict[str, dict[str, Any] | None] | None:
    """A list of patterns, or a map of pattern to null or an object that may hold a filter; None: neither."""
    if isinstance(value, list):
        return dict.fromkeys(value) if all(map(_is_pattern, value)) else None
    if isinstance(value, dict):
        fine = all(
            _is_pattern(name) and (rule is None or isinstance(rule, dict)) for name, rule in value.items()
        )
        return value if fine else None
    return None

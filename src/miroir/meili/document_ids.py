"""Document identifiers: which JSON values are valid ones, and the text that is their identity."""

from __future__ import annotations

import re
from typing import Any, NoReturn

from miroir.meili.codes import ApiError
from miroir.meili.refusals import U64_MAX, at, compact_json

MAX_ID_BYTES = 511
_VALID = re.compile(r"[A-Za-z0-9_-]{1,511}")


def invalid_id_message(value: object) -> str:
    """Why a JSON value is no document id, in the server's words."""
    return (
        f"Document identifier `{compact_json(value)}` is invalid. A document identifier can be of type integer or "
        "string, only composed of alphanumeric characters (a-z A-Z 0-9), hyphens (-) and underscores (_), and can "
        "not be more than 511 bytes."
    )


def canonical_id(value: object) -> str:
    """The text form of a document id: `1` and `"1"` are one id. Raises ApiError invalid_document_id."""
    if isinstance(value, str):
        if _VALID.fullmatch(value):
            return value
    elif isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value <= U64_MAX:
        return str(value)
    raise ApiError("invalid_document_id", invalid_id_message(value))


def is_valid_id(text: str) -> bool:
    """Whether a text can be a document id."""
    return _VALID.fullmatch(text) is not None


def _refuse(value: object, path: str, code: str) -> NoReturn:
    raise ApiError(code, f"Invalid value{at(path)}: {invalid_id_message(value)}")


def decode_id(value: Any, path: str, code: str) -> str:
    """A decoder of ids in requests (`similar`)."""
    try:
        return canonical_id(value)
    except ApiError:
        _refuse(value, path, code)

"""What a node said, in words that are the client's: no physical uid, no reserved name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from miroir.core.reserved import RESERVED_PREFIX
from miroir.core.topology import IndexView
from miroir.meili.codes import CODES, ApiError

#: place of a filterable attribute rule; ours (two, three with ghosts) stand before the client's
_RULE = re.compile(r"((?:matched|in|before) rule #)(\d+)")
#: one quoted name, or one quoted list of names: `a, _miroir_seq`
_QUOTED = re.compile(r"`([^`\n]*)`")
#: what is left of a quoted list that held nothing else, with its comma
_EMPTY = re.compile(r", ``|``, ")
#: lists that held nothing of the client's
_NOTHING = re.compile(r"Available (filterable|sortable) attributes?(?: patterns)? are: ``\.")


def clean_message(message: str, index: IndexView) -> str:
    """A node's error text with the index's own name and without our names in lists of attributes."""
    text = message.replace(index.physical_uid, index.uid)
    ours = 3 if index.exact else 2
    text = _RULE.sub(lambda match: f"{match.group(1)}{max(1, int(match.group(2)) - ours)}", text)
    if "_miroir_" not in text:
        return text
    text = _EMPTY.sub("", _QUOTED.sub(_without_reserved, text))
    return _NOTHING.sub(r"This index does not have configured \1 attributes.", text)


def _without_reserved(match: re.Match[str]) -> str:
    names = match.group(1).split(", ")
    return "`" + ", ".join(name for name in names if not name.startswith(RESERVED_PREFIX)) + "`"


def as_api_error(body: Mapping[str, Any], index: IndexView) -> ApiError:
    """The error a node answered, as the client's own."""
    code = str(body.get("code", "internal"))
    message = clean_message(str(body.get("message", "")), index)
    return ApiError(code if code in CODES else "internal", message)

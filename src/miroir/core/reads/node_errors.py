"""What a node said, in words that are the client's: no physical uid, no reserved name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from miroir.core.reads.projection import displayed
from miroir.core.reserved import RESERVED_PREFIX, is_reserved
from miroir.core.topology import IndexView
from miroir.meili.codes import CODES, ApiError

#: answers that speak of the node and not of the question: another replica may do better
_NODE_AT_FAULT = frozenset({401, 403, 404, 408, 429})
#: place of a filterable attribute rule; ours (two, three with ghosts) stand before the client's
_RULE = re.compile(r"((?:matched|matches|in|before) rule #)(\d+)")
#: one quoted name, or one quoted list of names: `a, _miroir_seq`
_QUOTED = re.compile(r"`([^`\n]*)`")
#: what is left of a quoted list that held nothing else, with its comma
_EMPTY = re.compile(r", ``|``, ")
_HIDDEN = "<..hidden-attributes>"
#: lists in which a node hides what is not displayed (nodes of ours display everything)
_HIDING = re.compile(
    r"((?:cannot be used as distinct attribute\. Available filterable attributes patterns are"
    r"|Available facet-searchable attributes patterns are"
    r"|Available sortable attributes are|Available searchable attributes are): `)([^`]*)`"
)
#: lists that held nothing of the client's, or nothing that is displayed
_NOTHING = re.compile(
    r"Available (filterable|sortable|facet-searchable) attributes?(?: patterns)? are: `(?:, <\.\.hidden-attributes>)?`\."
)


def speaks_of_the_node(status: int, body: object) -> bool:
    """Whether a refusal shows that the node is not what we made it, so that another replica must answer.

    A node whose disk was swapped a moment ago does not know the index, or knows it without our settings: it
    complains about attributes of ours, which no client can have named.
    """
    code = body.get("code") if isinstance(body, dict) else None
    if code in ("document_not_found", "not_found_similar_id"):
        return False
    if status >= 500 or status in _NODE_AT_FAULT or code == "index_not_found":
        return True
    return isinstance(body, dict) and f"Attribute `{RESERVED_PREFIX}" in str(body.get("message", ""))


def clean_message(message: str, index: IndexView, *, hide: bool = True) -> str:
    """A node's error text with the index's own name and without our names in lists of attributes.

    `hide`: leave out of those lists what is not displayed, as searches do and reads of documents do not.
    """
    text = message.replace(index.physical_uid, index.uid)
    ours = 3 if index.exact else 2
    text = _RULE.sub(lambda match: f"{match.group(1)}{max(0, int(match.group(2)) - ours)}", text)
    if "_miroir_" in text:
        text = _EMPTY.sub("", _QUOTED.sub(_without_reserved, text))
    shown = displayed(index) if hide else None
    if shown is not None:
        text = _HIDING.sub(lambda match: _with_hidden(match, shown), text)
    return _NOTHING.sub(r"This index does not have configured \1 attributes.", text)


def _with_hidden(match: re.Match[str], shown: tuple[str, ...]) -> str:
    """A list of attributes as a node prints it that knows which are not displayed."""
    names = match.group(2).split(", ") if match.group(2) else []
    kept = [name for name in names if name in shown]
    return match.group(1) + ", ".join(kept) + (f", {_HIDDEN}`" if len(kept) < len(names) else "`")


def _without_reserved(match: re.Match[str]) -> str:
    names = match.group(1).split(", ")
    return "`" + ", ".join(name for name in names if not is_reserved(name)) + "`"


def as_api_error(body: Mapping[str, Any], index: IndexView) -> ApiError:
    """The error a node answered, as the client's own."""
    code = str(body.get("code", "internal"))
    hide = not code.startswith("invalid_document_")
    message = clean_message(str(body.get("message", "")), index, hide=hide)
    return ApiError(code if code in CODES else "internal", message)

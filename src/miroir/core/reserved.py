"""The reserved names and values that Miroir keeps in every document on a node.

Values consist only of separator characters (U+0700 to U+070D, base 14), so that they give no searchable
word even with `searchableAttributes: ["*"]`, survive NFKD, and sort bytewise like the number they stand for.
Measured in reference/parity-findings.md, section 3.
"""

from __future__ import annotations

SHARD_FIELD = "_miroir_shard"
SEQ_FIELD = "_miroir_seq"
#: On documents that exist only to make shards agree (schema and vocabulary); never shown or counted.
GHOST_FIELD = "_miroir_ghost"
#: Its value: a separator, since `true` would be a word.
GHOST_MARK = "\u0700"
#: A stop word on every node, and a word nobody types: takes the place of a word that is left out of a query.
STAND_IN = "\ue0f0"
#: A word that no document has: what stands behind it in a query finds nothing.
NOWHERE = "\ue0f2"
RESERVED_PREFIX = "_miroir_"

_BASE = 14
_FIRST = 0x0700
_SHARD_WIDTH = 3
_SEQ_WIDTH = 9
#: what a marker of a shard can tell apart
SHARDS_MAX = _BASE**_SHARD_WIDTH


def is_reserved(path: str) -> bool:
    """Whether an attribute path is ours, or below or under one of ours."""
    return path.startswith(RESERVED_PREFIX) or f".{RESERVED_PREFIX}" in path


def _encode(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, _BASE)
        digits.append(chr(_FIRST + digit))
    assert number == 0, "number too large for its width"
    return "".join(reversed(digits))


def _decode(text: str) -> int:
    number = 0
    for character in text:
        number = number * _BASE + ord(character) - _FIRST
    return number


def encode_shard(shard: int) -> str:
    """Marker of a shard, 0 <= shard < SHARDS_MAX."""
    return _encode(shard, _SHARD_WIDTH)


def decode_shard(text: str) -> int:
    """Inverse of `encode_shard`."""
    return _decode(text)


def encode_seq(seq: int) -> str:
    """Marker of a sequence number, 0 <= seq < 14**9."""
    return _encode(seq, _SEQ_WIDTH)


def decode_seq(text: str) -> int:
    """Inverse of `encode_seq`."""
    return _decode(text)

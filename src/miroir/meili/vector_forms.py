"""Entries of `_vectors` that are objects of a wrong form: where the server stops reading them, and in which words.

It reads an entry as it stands in the payload, so the refusal names a column of that text. Documents are kept as values
and know it no longer: a wrong entry is therefore exchanged for its text as soon as a payload is read. Nothing of such a
document is ever stored.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from miroir.meili.document_payload import Format, invalid_type
from miroir.meili.json_text import JsonSyntaxError, Scanner
from miroir.meili.refusals import compact_json

VECTORS_FIELD = "_vectors"
#: The one member of what stands for a wrong entry.
_SENT = "_sent"
_MEMBERS = ("regenerate", "embeddings")

Entries = dict[str, msgspec.Raw]


class _Document(msgspec.Struct):
    vectors: msgspec.Raw = msgspec.field(name=VECTORS_FIELD, default=msgspec.Raw(b"{}"))


def keep_wrong_entries(documents: Sequence[dict[str, Any]], body: bytes, form: Format) -> None:
    """Exchange entries of a wrong form for their texts, in place; a list of documents that a body was decoded to."""
    if form == "csv" or not isinstance(documents, list) or VECTORS_FIELD.encode() not in body:
        return
    texts: Sequence[_Document] | None = None
    for number, document in enumerate(documents):
        entries = document.get(VECTORS_FIELD)
        if not isinstance(entries, dict) or not any(map(_is_wrong, entries.values())):
            continue
        texts = _texts(body, form) if texts is None else texts
        for name, text in _entries(texts, number, entries).items():
            if _is_wrong(entries[name]):
                entries[name] = {_SENT: text}


def _is_wrong(value: object) -> bool:
    """Whether it is refused at a column."""
    if not isinstance(value, dict):
        return False
    return any(name not in _MEMBERS for name in value) or not isinstance(value.get("regenerate", True), bool)


def _texts(body: bytes, form: Format) -> Sequence[_Document]:
    """The documents of a body as texts; none for what the server itself writes anew: an object that is no list's."""
    try:
        if form == "json":
            return msgspec.json.decode(body, type=list[_Document])
        return msgspec.json.Decoder(_Document).decode_lines(body)
    except msgspec.MsgspecError:
        return ()


def _entries(texts: Sequence[_Document], number: int, entries: dict[str, Any]) -> dict[str, str]:
    if number < len(texts):
        found: Entries = msgspec.json.decode(texts[number].vectors, type=Entries)
        if found.keys() == entries.keys():
            return {name: bytes(text).decode() for name, text in found.items()}
    return {name: compact_json(value) for name, value in entries.items()}


def fault(value: dict[str, Any]) -> tuple[str, str] | None:
    """What is wrong with the members that an entry has: (member or nothing, the reader's words)."""
    text = value.get(_SENT)
    if not (len(value) == 1 and isinstance(text, str) and text.startswith("{")):
        if not _is_wrong(value):
            return None
        text = compact_json(value)
    scanner = Scanner(text.encode())
    while True:
        scanner.at += 1  # a brace or a comma
        scanner.space()
        name = _scalar(scanner)
        if name not in _MEMBERS:
            return "", _rest(scanner)
        scanner.space()
        scanner.at += 1  # the colon
        first = scanner.space()
        if name == "embeddings":
            scanner.raw_value()
        elif first in (b"[", b"{"):
            return "", _rest(scanner)
        else:
            start = scanner.at
            if not isinstance(_scalar(scanner), bool):
                rest = _rest(scanner)
                return ("", rest) if rest else (".regenerate", _no_boolean(scanner, start))
        if scanner.space() != b",":
            return None


def _scalar(scanner: Scanner) -> Any:
    start, end = scanner.raw_value()
    return json.loads(scanner.text[start:end])


def _no_boolean(scanner: Scanner, start: int) -> str:
    words = invalid_type(scanner.text[start : scanner.at], "a boolean").rpartition(" at line ")[0]
    return _placed(scanner.fail, words)


def _rest(scanner: Scanner) -> str:
    """What the reader says when it leaves an object here; empty where the object ends."""
    end = scanner.at
    byte = scanner.space()
    if byte == b"}":
        scanner.at = end
        return ""
    return _placed(scanner.fail_peek, "trailing comma" if byte == b"," else "trailing characters")


def _placed(fail: Any, words: str) -> str:
    try:
        fail(words)
    except JsonSyntaxError as error:
        return str(error)
    raise AssertionError

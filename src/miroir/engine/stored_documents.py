"""The stored form of a document: its JSON text."""

from __future__ import annotations

import json

import orjson

from miroir.engine.index import Document


def dump_document(document: Document) -> bytes:
    """JSON text; keys and number types as they are."""
    try:
        return orjson.dumps(document)
    except TypeError:  # integers beyond 64 bits, lone surrogates
        return json.dumps(document, separators=(",", ":")).encode()


def load_document(body: bytes) -> Document:
    """Inverse of `dump_document`."""
    try:
        document: Document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = json.loads(body)
    return document

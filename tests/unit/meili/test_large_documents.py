"""Documents of large bodies: the same as if the body were small, whatever stands in it."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miroir.meili import document_payload, large_documents
from miroir.meili.codes import ApiError
from miroir.meili.document_payload import Format, read_documents
from miroir.meili.large_documents import LARGE_BYTES, SentDocuments
from miroir.meili.primary_keys import document_ids

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
DOCUMENTS = st.lists(st.dictionaries(st.text(max_size=4), VALUES, max_size=4) | VALUES, max_size=4)
DAMAGE = st.sampled_from(["", ",", "]", "}", " ", "\n", "[", "x", '{"a":1}', "\ufeff", "1"])
LAYOUTS = st.sampled_from([None, 1])


def outcome(body: bytes, kind: Format, large_bytes: int) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(document_payload, "LARGE_BYTES", large_bytes)
        try:
            # as written again: what is not a number is written as null
            return orjson.dumps(list(read_documents(body, kind)))
        except ApiError as error:
            return error.code, error.message
        except TypeError:  # cannot be written at all: refused by whoever tries
            return "unwritable"


@given(DOCUMENTS, DAMAGE, st.integers(0, 200), LAYOUTS)
def test_a_json_array_reads_the_same(
    documents: list[Any], damage: str, place: int, indent: int | None
) -> None:
    text = json.dumps(documents, indent=indent)
    body = (text[:place] + damage + text[place:]).encode()
    assert outcome(body, "json", 1) == outcome(body, "json", LARGE_BYTES)


@given(DOCUMENTS, DAMAGE, st.integers(0, 200), LAYOUTS)
def test_lines_read_the_same(documents: list[Any], damage: str, place: int, indent: int | None) -> None:
    text = "\n".join(json.dumps(document, indent=indent) for document in documents)
    body = (text[:place] + damage + text[place:]).encode()
    assert outcome(body, "ndjson", 1) == outcome(body, "ndjson", LARGE_BYTES)


@given(st.text(alphabet='a1,"\n:\r ', max_size=40))
def test_cells_read_the_same(text: str) -> None:
    body = f"id,a:number,b\n{text}".encode()
    assert outcome(body, "csv", 1) == outcome(body, "csv", LARGE_BYTES)


def sent(count: int) -> SentDocuments:
    lines = b"\n".join(orjson.dumps({"id": number, "text": "x" * (number % 90)}) for number in range(count))
    found = large_documents.sent_documents(lines, document_payload._line_spans(lines))
    assert found is not None
    return found


def test_pages_hold_every_line_once_and_sizes_are_those_of_lines() -> None:
    documents = sent(5_000)
    pages = list(documents.pages())
    lines = [line for _, page in pages for line in page.split(b"\n")]
    assert lines == list(documents.lines())
    assert [len(line) for line in lines] == list(documents.sizes)
    assert len(pages) > 2
    assert all(lines[first] == page.split(b"\n")[0] for first, page in pages)


def test_they_are_a_sequence_whose_ids_are_read_once() -> None:
    documents = sent(100)
    plain = list(documents)
    assert [documents[0], documents[-1], documents[3:6]] == [plain[0], plain[-1], plain[3:6]]
    ids = document_ids(documents, "id")
    assert ids == document_ids(plain, "id")
    assert document_ids(documents, "id") is ids

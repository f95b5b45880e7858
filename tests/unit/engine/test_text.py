"""Versions of the word index."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from miroir.engine.packed import adjacent, documents_of
from miroir.engine.text import TextIndex

WORDS = ["a", "b", "c", "aa", "ab", "12", "the"]
SENTENCES = st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join)
#: Always in this order of keys, so that field numbers do not depend on history.
DOCUMENTS = st.tuples(SENTENCES, SENTENCES).map(lambda texts: {"t": texts[0], "e": texts[1]})
SETTINGS: dict[str, Any] = {
    "searchableAttributes": ["t", "e"],
    "stopWords": ["the"],
    "typoTolerance": {"disableOnAttributes": ["e"], "disableOnNumbers": True},
}


def content(text: TextIndex) -> tuple[Any, ...]:
    return (
        {word: packed.tolist() for word, packed in text.postings.items()},
        list(text.words),
        list(text.tolerant_words),
        {key: list(found) for key, found in text.counts.items()},
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(st.integers(0, 5), st.none() | DOCUMENTS, max_size=4), max_size=5))
def test_updates_equal_a_rebuild(batches: list[dict[int, Any]]) -> None:
    """Any sequence of insertions, replacements and deletions ends as if made at once; old versions stay."""
    text = TextIndex.empty(SETTINGS)
    live: dict[int, Any] = {}
    versions = []
    for batch in batches:
        changes = [(docid, live.get(docid), new) for docid, new in batch.items()]
        changes = [change for change in changes if change[1] is not None or change[2] is not None]
        versions.append((text, content(text)))
        text = text.updated(SETTINGS, changes)
        live = {docid: doc for docid, doc in (live | batch).items() if doc is not None}
    at_once = TextIndex.empty(SETTINGS).updated(SETTINGS, [(d, None, live[d]) for d in sorted(live)])
    assert content(text) == content(at_once) or not live
    if not live:
        assert content(text) == ({}, [], [], {})
    assert all(content(version) == before for version, before in versions)


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1), st.integers(0, 9)), max_size=12),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1), st.integers(0, 9)), max_size=12),
    st.integers(1, 3),
)
def test_adjacency(
    left: list[tuple[int, int, int]], right: list[tuple[int, int, int]], distance: int
) -> None:
    """Adjacent means: same document, same field, exactly that many positions later."""

    def packed(places: list[tuple[int, int, int]]) -> Any:
        return np.array(sorted({d << 32 | f << 16 | p for d, f, p in places}), dtype=np.uint64)

    expected = {d for d, f, p in left if (d, f, p + distance) in set(right)}
    assert set(adjacent(packed(left), packed(right), distance)) == expected
    assert set(documents_of(packed(left))) == {d for d, _, _ in left}


def test_dictionary_holds_tolerant_words_only() -> None:
    text = TextIndex.empty(SETTINGS).updated(SETTINGS, [(0, None, {"t": "a 12", "e": "b"})])
    assert list(text.words) == ["12", "a", "b"]
    assert list(text.tolerant_words) == ["a"]


def test_stored_prefixes() -> None:
    """From a hundred words on, and never longer than four bytes."""
    words = [f"éa{i:02}" for i in range(100)]
    text = TextIndex.empty({}).updated({}, [(0, None, {"t": " ".join(words).replace("é", "ё")})])
    first = text.words[0][0]
    assert text.is_stored_prefix(first)
    assert not text.is_stored_prefix(text.words[0])
    assert not text.is_stored_prefix("")

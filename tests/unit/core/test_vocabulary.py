"""Vocabularies: whatever documents come and go, the ghosts hold exactly the words of those that are there."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from miroir.core.reserved import GHOST_FIELD, GHOST_MARK
from miroir.core.writes import vocabulary
from miroir.core.writes.text_pieces import Splitter, leaves, reads_words_alike
from miroir.core.writes.vocabulary import Vocabulary, ghost_id, is_ghost_id
from miroir.engine.tokens import Tokenizer

WORDS = st.text(alphabet="aBcé7ж東", min_size=1, max_size=3)
TEXTS = st.lists(WORDS, max_size=4).map(" ".join)
VALUES = st.recursive(
    st.one_of(TEXTS, st.integers(-20, 20), st.floats(-4, 4), st.booleans(), st.none()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("xyz"), inner, max_size=2)
    ),
    max_leaves=6,
)
DOCUMENTS = st.dictionaries(st.sampled_from(["t", "u", "v.w"]), VALUES, max_size=3)
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 5), DOCUMENTS),
        st.tuples(st.just("merge"), st.integers(0, 5), DOCUMENTS),
        st.tuples(st.just("remove"), st.integers(0, 5), st.none()),
        st.tuples(st.just("clear"), st.none(), st.none()),
    ),
    max_size=12,
)
PLAIN = Splitter({})


def take(held: dict[str, Any], ghosts: bytes) -> None:
    """What a node makes of written ghosts."""
    for line in ghosts.splitlines():
        ghost = orjson.loads(line)
        assert ghost.pop(GHOST_FIELD) == GHOST_MARK
        assert is_ghost_id(ghost["id"])
        held[ghost.pop("id")] = ghost


def words(document: dict[str, Any]) -> set[tuple[str, str]]:
    """(dotted path, piece) of a document; ids stand below the primary key."""
    found = set()
    for name, value in document.items():
        for path, leaf in leaves(value, (name,)):
            if leaf is not None:
                text = leaf if isinstance(leaf, str) else orjson.dumps(leaf).decode()
                dotted = "id._miroir_id" if name == "id" else ".".join(path)
                found.update((dotted, piece) for piece in PLAIN.pieces(text) if piece[-1] != GHOST_MARK)
    return found


def shown(held: dict[str, Any]) -> set[tuple[str, str]]:
    marks = {("id", piece) for ghost in held for piece in PLAIN.pieces(ghost)}
    return {
        (path, piece) for ghost in held.values() for path, piece in words(ghost) if (path, piece) not in marks
    }


@given(CHANGES)
def test_ghosts_hold_the_words_of_the_documents(changes: list[tuple[str, int, dict[str, Any]]]) -> None:
    found = Vocabulary("id", PLAIN)
    live: dict[int, dict[str, Any]] = {}
    held: dict[str, Any] = {}
    rows: dict[tuple[str, int], Any] = {}
    for kind, seq, members in changes:
        if kind == "clear":
            found.clear()
            live.clear()
            held.clear()
        elif kind == "remove":
            found.remove([seq])
            live.pop(seq, None)
        else:
            document = {"id": f"doc-{seq}", **members}
            found.put(seq, document, merge=kind == "merge")
            live[seq] = {**live.get(seq, {}), **document} if kind == "merge" else document
        take(held, found.take_stale())
        assert shown(held) == set().union(*map(words, live.values()))
        changed = found.take_rows()
        if changed.anew:
            rows.clear()
        rows.update(changed.rows)
        rows = {key: row for key, row in rows.items() if row is not None}
    again = Vocabulary.of_rows(((*key, row) for key, row in rows.items()), PLAIN)
    if again is not None:
        again.mark_all()
        found.mark_all()
        assert sorted(again.take_stale().splitlines()) == sorted(found.take_stale().splitlines())


def test_known_attributes_stay_and_have_no_words() -> None:
    found = Vocabulary("id", PLAIN)
    found.put(0, {"id": 1, "a": {"b": ["x", {"c": 2}]}, "e": {}}, merge=False)
    found.remove([0])
    held: dict[str, Any] = {}
    take(held, found.take_stale())
    mark = GHOST_MARK
    assert held[ghost_id(0)] == {"a": [mark, {"b": [mark, {"c": mark}]}], "e": mark, "id._miroir_id": mark}
    assert shown(held) == set()


def test_a_ghost_is_bounded_and_room_is_used_again(monkeypatch: Any) -> None:
    monkeypatch.setattr(vocabulary, "GHOST_WORDS", 10)
    found = Vocabulary("id", PLAIN)
    for round_ in range(20):
        for seq in range(10):
            found.put(seq, {"id": seq, "t": f"w{round_}x{seq} both"}, merge=False)
    assert found.ghost_count <= 8  # 21 words at a time
    for line in found.take_stale().splitlines():
        assert len(orjson.loads(line).get("t", "").split("; ")) <= 10


def test_embedders_are_told_that_ghosts_have_no_vector() -> None:
    found = Vocabulary("id", PLAIN)
    found.put(0, {"id": 1, "_vectors": {"e": [1.0]}, "_geo": {"lat": 1, "lng": 2}}, merge=False)
    ghosts = [orjson.loads(line) for line in found.take_stale(["e"]).splitlines()]
    assert all(ghost["_vectors"] == {"e": None} and "_geo" not in ghost for ghost in ghosts)


SETTINGS = st.fixed_dictionaries(
    {
        "nonSeparatorTokens": st.lists(st.sampled_from([".", "-", "_", ";"]), max_size=2),
        "dictionary": st.lists(st.sampled_from(["a.b.", "c-c", "b a"]), max_size=2),
    }
)


@given(SETTINGS, st.lists(st.text(alphabet="abc .-;_,'é7жαال東", max_size=14), max_size=4))
def test_a_node_finds_the_same_words_in_the_pieces(settings: dict[str, Any], texts: list[str]) -> None:
    """As the embedded engine cuts them; what joins the pieces adds no word."""
    splitter, tokenizer = Splitter(settings), Tokenizer.of(settings)
    found = Vocabulary("id", splitter)
    found.put(0, {"t": texts}, merge=False)
    ghosts = [orjson.loads(line).get("t", []) for line in found.take_stale().splitlines()]
    values = [value for ghost in ghosts for value in (ghost if isinstance(ghost, list) else [ghost])]
    whole = {word for text in texts for word in tokenizer.words(text)}
    assert {word for value in values for word in tokenizer.words(value)} == whole


def test_settings_that_cut_text_differently() -> None:
    assert reads_words_alike({"stopWords": ["a"]}, {"dictionary": []})
    assert not reads_words_alike({}, {"dictionary": ["a.b"]})

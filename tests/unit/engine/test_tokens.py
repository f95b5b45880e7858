"""Words and separators of texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miroir.engine.tokens import Kind, Tokenizer, is_numeric
from miroir.meili.folding import fold, normalize_whole
from miroir.meili.scripts import script_groups

PLAIN = Tokenizer()


@given(st.text())
def test_parts_add_up(text: str) -> None:
    """Tokens cover the text without gap or overlap, at the places they say."""
    tokens = PLAIN.tokenize(text)
    assert "".join(token.text for token in tokens) == text
    assert all(text[token.start :].startswith(token.text) for token in tokens)


@given(st.text(alphabet=st.characters(max_codepoint=0x24F)))
def test_normalisation_is_idempotent_on_latin_words(text: str) -> None:
    """A lemma is its own lemma."""
    for word in PLAIN.words(text):
        assert fold(word, "latin") == word


@given(st.text())
def test_groups_add_up(text: str) -> None:
    """Script groups cover the text."""
    assert "".join(part for _, part in script_groups(text)) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("can't", ["can", "t"]),
        ("32.3 10,000", ["32", "3", "10", "000"]),
        ("c++", ["c"]),
        ("foo@bar.com", ["foo", "bar", "com"]),
        ("3°F", ["3°f"]),
        ("camelCase snake_case", ["camelcase", "snake", "case"]),
        ("naïve Œuvre İstanbul straße", ["naive", "oeuvre", "istanbul", "straße"]),
        ("$ 5$ a|b ~x", ["$", "5$", "a|b", "~x"]),
        ("й", ["\u0438\u0306"]),
        ("abcдеф", ["abc", "деф"]),
        ("السلام", ["ال", "سلام"]),
        ("no\u00a0break", ["no break"]),
        ("  ", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    """What is a word and how it is normalised."""
    assert PLAIN.words(text) == words


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (". ", Kind.HARD),
        (".", Kind.SOFT),
        (", ", Kind.HARD),
        ("-", Kind.SOFT),
        ("!", Kind.HARD),
        ("¿", Kind.HARD),
    ],
)
def test_hard_and_soft(text: str, kind: Kind) -> None:
    """A full stop separates thoughts only before a space."""
    assert [token.kind for token in PLAIN.tokenize(text)] == [kind]


def test_stop_words_are_compared_before_lower_casing() -> None:
    tokens = Tokenizer(stop_words=["the", "é"]).tokenize("the The é")
    kinds = [token.kind for token in tokens if not token.is_separator]
    assert kinds == [Kind.STOP_WORD, Kind.WORD, Kind.STOP_WORD]


def test_own_separators_and_dictionary() -> None:
    """The longest pattern wins; a dictionary word is one token even with separators in it."""
    tokenizer = Tokenizer(separator_tokens=["&sep"], non_separator_tokens=["#"], dictionary=["J. R. R."])
    assert tokenizer.words("a&sepb") == ["a", "b"]
    assert tokenizer.words("c#") == ["c#"]
    assert tokenizer.words("J. R. R. Tolkien") == ["j. r. r.", "tolkien"]


@pytest.mark.parametrize(("word", "expected"), [("12", True), ("1.5-", True), ("½", True), ("1a", False)])
def test_numeric_words(word: str, expected: bool) -> None:
    assert is_numeric(word) is expected


def test_normal_form_of_a_whole_text() -> None:
    assert normalize_whole("Éa B.") == "ea b."

"""Typos against a brute-force definition."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import OSA

from miroir.engine.derivations import ONE_TYPO_WORDS_MAX, TWO_TYPO_WORDS_MAX, typo_words
from miroir.engine.text import TextIndex

WORD = st.text(alphabet="abc", min_size=1, max_size=7)


def index(words: set[str]) -> TextIndex:
    return TextIndex(words=sorted(words), tolerant_words=sorted(words))


def distance(word: str, candidate: str, is_prefix: bool, typos: int = 1) -> int:
    """For a prefix search, the first prefix within the allowance that no continuation brings nearer."""
    if is_prefix:
        for end in range(1, len(candidate) + 1):
            now = OSA.distance(word, candidate[:end])
            if now <= typos and all(OSA.distance(word[:j], candidate[:end]) >= now for j in range(len(word))):
                return now
    return OSA.distance(word, candidate)


@settings(max_examples=300, deadline=None)
@given(WORD.filter(lambda w: len(w) >= 3), st.sets(WORD, max_size=40), st.sampled_from([1, 2]), st.booleans())
def test_typos(word: str, words: set[str], typos: int, is_prefix: bool) -> None:
    """Same first letter at that distance, or another first letter one edit away at two typos."""
    found = typo_words(index(words), word, typos, is_prefix=is_prefix)
    same = [w for w in sorted(words) if w[0] == word[0]]
    other = [w for w in words if w[0] != word[0] and distance(word, w, is_prefix) == 1]
    assert list(found.one) == [w for w in same if distance(word, w, is_prefix, typos) == 1]
    expected = sorted([w for w in same if distance(word, w, is_prefix, typos) == 2] + other)
    assert list(found.two) == (expected if typos == 2 else [])


def test_caps_keep_the_first_in_byte_order() -> None:
    """At most 150 words with one typo and 50 with two."""
    one = {f"abcdefgh{chr(0x100 + i)}" for i in range(200)}
    two = {f"abcdefg{chr(0x100 + i)}{chr(0x100 + i)}" for i in range(80)}
    found = typo_words(index(one | two), "abcdefghi", 2, is_prefix=False)
    assert list(found.one) == sorted(one)[:ONE_TYPO_WORDS_MAX]
    assert list(found.two) == sorted(two)[:TWO_TYPO_WORDS_MAX]


def test_without_allowance_nothing() -> None:
    assert typo_words(index({"ab"}), "abc", 0, is_prefix=False).one == ()


def test_a_prefix_that_still_gets_nearer_is_passed_over() -> None:
    """`gili` is two deletions from `gigili`, but `giliju` is further: not found, as on the server."""
    assert typo_words(index({"gili", "giliju"}), "gigili", 2, is_prefix=True).two == ("gili",)

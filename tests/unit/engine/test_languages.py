"""The article of words in Arabic letters is split off where the text is taken for Arabic or Persian."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miroir.engine.languages import guess, splits_article
from miroir.engine.tokens import Tokenizer
from miroir.engine.trigrams import TRIGRAMS

_ARABIC = "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق"
_URDU = "تمام انسان آزاد اور حقوق و عزت کے اعتبار سے برابر پیدا ہوئے ہیں"


@given(st.text(alphabet="ابتثجحخدذرزسشصضطظعغفقكلمنهوي ", max_size=60))
def test_a_guess_is_one_of_the_languages_allowed(text: str) -> None:
    assert guess(text, TRIGRAMS) in TRIGRAMS
    assert guess(text, {"urd"}) == "urd"
    assert guess(text, {"fra", "deu"}) is None


@pytest.mark.parametrize(("text", "language"), [(_ARABIC, "ara"), (_URDU, "urd")])
def test_texts_are_recognised(text: str, language: str) -> None:
    assert guess(text, TRIGRAMS) == language


@pytest.mark.parametrize(
    ("languages", "splits"),
    [(["ara"], True), (["pes"], True), (["urd"], False), (["fra"], False), ([], False)],
)
def test_a_single_language_is_taken_at_its_word(languages: list[str], splits: bool) -> None:
    assert splits_article("الكتاب", languages) is splits
    assert Tokenizer().words("x") == ["x"]
    found = [lemma for _, lemma, _ in Tokenizer().classified("الكتاب", languages)]
    assert found == (["ال", "كتاب"] if splits else ["الكتاب"])


def test_every_profile_holds_three_hundred_trigrams() -> None:
    assert {len(letters) for letters in TRIGRAMS.values()} == {900}

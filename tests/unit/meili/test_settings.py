"""Settings: decoding, applying, showing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miroir.meili import settings
from miroir.meili.codes import ApiError
from miroir.meili.commands import SettingsWrite
from miroir.meili.settings_embedders import mask_secret

names = st.text(alphabet="ab._", min_size=1, max_size=4)
name_lists = st.lists(names, max_size=3)
patches = st.fixed_dictionaries(
    {},
    optional={
        "displayedAttributes": st.none() | name_lists,
        "sortableAttributes": st.none() | name_lists,
        "filterableAttributes": st.none()
        | st.lists(names | st.fixed_dictionaries({"attributePatterns": name_lists}), max_size=3),
        "synonyms": st.none() | st.dictionaries(names, name_lists, max_size=2),
        "typoTolerance": st.none()
        | st.fixed_dictionaries({}, optional={"enabled": st.none() | st.booleans(), "disableOnWords": name_lists}),
        "faceting": st.none()
        | st.fixed_dictionaries(
            {}, optional={"sortFacetValuesBy": st.dictionaries(names, st.sampled_from(["alpha", "count"]))}
        ),
        "searchCutoffMs": st.none() | st.integers(0, 2**64 - 1),
    },
)  # fmt: skip


@given(st.lists(patches, max_size=3))
def test_settings_shown_can_be_sent_again_and_change_nothing(sent: list[dict[str, Any]]) -> None:
    current = settings.defaults()
    for patch in sent:
        current = settings.apply(current, settings.decode_settings(patch).patch)
    shown = settings.view(current)
    again = settings.apply(current, settings.decode_settings(shown).patch)
    assert again == current
    assert list(again) == list(settings.KEYS)


@given(patches)
def test_resetting_everything_gives_the_defaults(patch: dict[str, Any]) -> None:
    current = settings.apply(settings.defaults(), settings.decode_settings(patch).patch)
    assert settings.apply(current, dict.fromkeys(settings.KEYS)) == settings.defaults()
    assert settings.apply_write(current, SettingsWrite(reset_all=True)) == settings.defaults()


@pytest.mark.parametrize(
    ("key", "body", "code", "message"),
    [
        (
            "stopWords",
            ["the", None],
            "invalid_settings_stop_words",
            "Invalid value type at `[1]`: expected a string, but found null",
        ),
        (
            "filterableAttributes",
            [{"attributePatterns": ["a"], "features": {"sort": True}}],
            "invalid_settings_filterable_attributes",
            "Unknown field `sort` inside `[0].features`: expected one of `facetSearch`, `filter`",
        ),
        (
            "rankingRules",
            ["words", "popularity"],
            "invalid_settings_ranking_rules",
            "Invalid value at `[1]`: `popularity` ranking rule is invalid. Valid ranking rules are words, typo, sort, "
            "proximity, attribute, exactness and custom ranking rules.",
        ),
        (
            "typoTolerance",
            {"minWordSizeForTypos": {"oneTypo": 9, "twoTypos": 5}},
            "invalid_settings_typo_tolerance",
            "Invalid value at `.minWordSizeForTypos`: `minWordSizeForTypos` setting is invalid. `oneTypo` and "
            "`twoTypos` fields should be between `0` and `255`, and `twoTypos` should be greater or equals to "
            "`oneTypo` but found `oneTypo: 9` and twoTypos: 5`.",
        ),
        (
            "pagination",
            {"maxTotalHits": 0},
            "invalid_settings_pagination",
            "Invalid value at `.maxTotalHits`: a non-zero integer value lower than `18446744073709551615` was "
            "expected, but found a zero",
        ),
        (
            "embedders",
            {"e": {"source": "userProvided", "dimensions": 2, "model": "m"}},
            "invalid_settings_embedders",
            "`.embedders.e`: Field `model` unavailable for source `userProvided`.\n"
            "  - note: `model` is available for sources: `openAi`, `huggingFace`, `ollama`\n"
            "  - note: available fields for source `userProvided`: `source`, `dimensions`, `distribution`, "
            "`binaryQuantized`",
        ),
        (
            "embedders",
            {"e": {"source": "userProvided"}},
            "invalid_settings_embedders",
            "`.embedders.e`: Missing field `dimensions` (note: this field is mandatory for source `userProvided`)",
        ),
    ],
)
def test_invalid_values_are_refused_in_the_servers_words(
    key: str, body: Any, code: str, message: str
) -> None:
    with pytest.raises(ApiError) as caught:
        settings.check_write(settings.decode_setting(key, body))
    assert (caught.value.code, caught.value.message) == (code, message)


def test_what_clashes_with_stored_settings_shows_when_applied() -> None:
    patch = settings.decode_settings({"typoTolerance": {"minWordSizeForTypos": {"oneTypo": 20}}}).patch
    with pytest.raises(ApiError, match="found `oneTypo: 20` and twoTypos: 9`"):
        settings.apply(settings.defaults(), patch)
    quantized = {"e": {"source": "userProvided", "dimensions": 2, "binaryQuantized": True}}
    current = settings.apply(settings.defaults(), {"embedders": quantized})
    with pytest.raises(ApiError, match="Cannot disable the binary quantization"):
        settings.apply(current, {"embedders": {"e": {"binaryQuantized": False}}})
    assert settings.apply(current, {"embedders": {"e": None}})["embedders"] == {}


def test_details_are_what_was_sent() -> None:
    write = settings.decode_settings({"stopWords": ["b", "B"], "displayedAttributes": None, "faceting": None})
    assert settings.details(write) == {
        "displayedAttributes": ["*"],
        "stopWords": ["B", "b"],
        "faceting": None,
    }


def test_locales_are_kept_in_three_letters() -> None:
    rule = {"attributePatterns": ["a"], "locales": ["fr", "eng", "fa"]}
    current = settings.apply(settings.defaults(), {"localizedAttributes": [rule]})
    assert current["localizedAttributes"] == [{"attributePatterns": ["a"], "locales": ["fra", "eng", "pes"]}]
    assert rule["locales"] == ["fr", "eng", "fa"]


@pytest.mark.parametrize(
    ("size", "shown"), [(3, "XXX..."), (15, "abXXXX..."), (25, "abcXXXXX..."), (40, "abcdeXXXXXX...")]
)
def test_secrets_are_masked(size: int, shown: str) -> None:
    secret = ("abcdefghij" * 4)[:size]
    assert mask_secret(secret) == shown
    config = {"o": {"source": "openAi", "apiKey": secret}}
    current = settings.apply(settings.defaults(), {"embedders": config})
    assert current["embedders"]["o"]["apiKey"] == secret
    assert settings.view(current)["embedders"]["o"]["apiKey"] == shown


def test_rules_of_attributes() -> None:
    patch = settings.decode_settings(
        {
            "filterableAttributes": ["a", {"attributePatterns": ["b_*"]}],
            "searchableAttributes": ["t", "u"],
            "displayedAttributes": ["a"],
            "sortableAttributes": ["s"],
        }
    ).patch
    rules = settings.AttributeRules(settings.apply(settings.defaults(), patch))
    assert rules.is_filterable("a.b")
    assert not rules.is_filterable("ab")
    matched = rules.match_rule("b_x")
    assert matched is not None
    assert matched.index == 1
    assert matched.features.operators == (
        "OR",
        "AND",
        "NOT",
        "=",
        "!=",
        "IN",
        "IS EMPTY",
        "IS NULL",
        "EXISTS",
    )
    assert rules.is_facet_searchable("a")
    assert not rules.is_facet_searchable("b_x")
    assert [rules.searchable_weight(path) for path in ("t", "u.v", "x")] == [0, 1, None]
    assert (rules.is_sortable("s.x"), rules.is_displayed("s")) == (True, False)
    assert rules.filterable_patterns() == ("a", "b_*")
    assert rules.facet_searchable_patterns() == ("a",)

"""Decoding of settings: one table of keys, in the order that GET prints them, with the server's refusals.

A decoded value is normalised as the server keeps it: sets sorted, granular rules with their defaults.
"""

from __future__ import annotations

from typing import Any

from miroir.meili import decode, refusals
from miroir.meili.codes import ApiError
from miroir.meili.commands import SettingsWrite
from miroir.meili.decode import Decoder, Field
from miroir.meili.locales import LOCALES
from miroir.meili.settings_embedders import EMBEDDER_FIELDS, check_embedders
from miroir.meili.settings_ranking import ranking_rules


def _code(name: str) -> str:
    return f"invalid_settings_{name}"


def _sorted_set(value: Any, path: str, code: str) -> list[str]:
    return sorted(set(decode.strings(value, path, code)), key=str.encode)


def _list(item: Decoder) -> Decoder:
    read = decode.array_of(item)
    return lambda value, path, code: list(read(value, path, code))


_STRINGS = _list(decode.string)


def _object(*members: Field) -> Decoder:
    return decode.object_of(decode.fields(*members))


def _rule(value: Any, path: str, code: str) -> Any:
    if not isinstance(value, dict):
        return decode.string(value, path, code)
    found = decode.object_fields(value, _rule_fields(code), path, code)
    features = found.get("features", {})
    allowed = features.get("filter", {})
    return {
        "attributePatterns": found["attributePatterns"],
        "features": {
            "facetSearch": features.get("facetSearch", False),
            "filter": {
                "equality": allowed.get("equality", True),
                "comparison": allowed.get("comparison", False),
            },
        },
    }


def _rule_fields(code: str) -> dict[str, Field]:
    allowed = _object(Field("equality", decode.boolean, code), Field("comparison", decode.boolean, code))
    features = _object(Field("facetSearch", decode.boolean, code), Field("filter", allowed, code))
    return decode.fields(
        Field("attributePatterns", _STRINGS, code, required=code), Field("features", features, code)
    )


def _synonyms(value: Any, path: str, code: str) -> dict[str, list[str]]:
    found = decode.map_of(_STRINGS)(value, path, code)
    return {word: found[word] for word in sorted(found, key=str.encode)}


_TYPO = _code("typo_tolerance")
_BYTE = decode.integer_up_to(255)
_WORD_SIZES = decode.fields(
    Field("oneTypo", _BYTE, _TYPO, nullable=True), Field("twoTypos", _BYTE, _TYPO, nullable=True)
)


def word_sizes_message(one: int, two: int) -> str:
    """Why these two word sizes do not go together; the stray backtick is the server's."""
    return (
        "`minWordSizeForTypos` setting is invalid. `oneTypo` and `twoTypos` fields should be between `0` and `255`, "
        f"and `twoTypos` should be greater or equals to `oneTypo` but found `oneTypo: {one}` and twoTypos: {two}`."
    )


def _word_sizes(value: Any, path: str, code: str) -> dict[str, Any]:
    found = decode.object_fields(value, _WORD_SIZES, path, code)
    one, two = found.get("oneTypo"), found.get("twoTypos")
    if one is not None and two is not None and one > two:
        refusals.invalid(word_sizes_message(one, two), path, code)
    return {name: found[name] for name in _WORD_SIZES if name in found}


_TYPO_TOLERANCE = _object(
    Field("enabled", decode.boolean, _TYPO, nullable=True),
    Field("minWordSizeForTypos", _word_sizes, _TYPO, nullable=True),
    Field("disableOnWords", _sorted_set, _TYPO, nullable=True),
    Field("disableOnAttributes", _sorted_set, _TYPO, nullable=True),
    Field("disableOnNumbers", decode.boolean, _TYPO, nullable=True),
)


def _facet_orders(value: Any, path: str, code: str) -> dict[str, str]:
    found = decode.map_of(decode.enum("alpha", "count"))(value, path, code)
    return {name: found[name] for name in sorted(found, key=str.encode)}


_FACETING = _object(
    Field("maxValuesPerFacet", decode.integer, _code("faceting"), nullable=True),
    Field("sortFacetValuesBy", _facet_orders, _code("faceting"), nullable=True),
)
_PAGINATION = _object(
    Field(
        "maxTotalHits",
        decode.integer_up_to(refusals.U64_MAX, nonzero=True),
        _code("pagination"),
        nullable=True,
    ),
)
_LOCALIZED = _code("localized_attributes")
_LOCALIZED_RULE = _object(
    Field("attributePatterns", _STRINGS, _LOCALIZED, required=_LOCALIZED),
    Field("locales", _list(decode.enum(*LOCALES)), _LOCALIZED, required=_LOCALIZED),
)
_FOREIGN = _code("foreign_keys")
_FOREIGN_KEY = _object(
    Field("foreignIndexUid", decode.string, _FOREIGN, required=_FOREIGN),
    Field("fieldName", decode.string, _FOREIGN, required=_FOREIGN),
)
_CHAT = _code("index_chat")
_CHAT_SETTINGS = _object(
    Field("description", decode.string, _CHAT, nullable=True),
    Field("documentTemplate", decode.string, _CHAT, nullable=True),
    Field("documentTemplateMaxBytes", decode.integer, _CHAT, nullable=True),
    Field("searchParameters", decode.raw_object, _CHAT, nullable=True),
)


def _embedders(value: Any, path: str, code: str) -> dict[str, Any]:
    read = decode.map_of(decode.object_of(EMBEDDER_FIELDS), nullable=True)
    found = read(value, path, code)
    return {
        name: None
        if found[name] is None
        else {key: found[name][key] for key in EMBEDDER_FIELDS if key in found[name]}
        for name in sorted(found, key=str.encode)
    }


#: Every key in the order of GET /settings (`foreignKeys` and `chat` are behind experimental features).
SETTINGS_FIELDS = decode.fields(
    *(
        Field(name, read, _code(code), nullable=True)
        for name, read, code in (
            ("displayedAttributes", _STRINGS, "displayed_attributes"),
            ("searchableAttributes", _STRINGS, "searchable_attributes"),
            ("filterableAttributes", _list(_rule), "filterable_attributes"),
            ("sortableAttributes", _sorted_set, "sortable_attributes"),
            ("foreignKeys", _list(_FOREIGN_KEY), "foreign_keys"),
            ("rankingRules", ranking_rules, "ranking_rules"),
            ("stopWords", _sorted_set, "stop_words"),
            ("nonSeparatorTokens", _sorted_set, "non_separator_tokens"),
            ("separatorTokens", _sorted_set, "separator_tokens"),
            ("dictionary", _sorted_set, "dictionary"),
            ("synonyms", _synonyms, "synonyms"),
            ("distinctAttribute", decode.string, "distinct_attribute"),
            ("proximityPrecision", decode.enum("byWord", "byAttribute"), "proximity_precision"),
            ("typoTolerance", _TYPO_TOLERANCE, "typo_tolerance"),
            ("faceting", _FACETING, "faceting"),
            ("pagination", _PAGINATION, "pagination"),
            ("embedders", _embedders, "embedders"),
            ("searchCutoffMs", decode.integer, "search_cutoff_ms"),
            ("localizedAttributes", _list(_LOCALIZED_RULE), "localized_attributes"),
            ("facetSearch", decode.boolean, "facet_search"),
            ("prefixSearch", decode.enum("indexingTime", "disabled"), "prefix_search"),
            ("chat", _CHAT_SETTINGS, "index_chat"),
        )
    )
)


def decode_settings(body: object) -> SettingsWrite:
    """PATCH /indexes/{uid}/settings. Raises ApiError."""
    found = decode.object_fields(body, SETTINGS_FIELDS)
    return SettingsWrite({key: found[key] for key in SETTINGS_FIELDS if key in found})


def decode_setting(key: str, body: object) -> SettingsWrite:
    """The bare value of one setting; null resets it. Raises ApiError."""
    field = SETTINGS_FIELDS[key]
    return SettingsWrite({key: None if body is None else field.decode(body, "", field.code)})


def check_write(write: SettingsWrite) -> SettingsWrite:
    """The write, once its embedders are known to be whole. Raises ApiError."""
    if write.patch.get("embedders") is not None:
        check_embedders(write.patch["embedders"])
    return write


_FEATURES = {
    "foreignKeys": ("foreignKeys", "foreign_keys", 873),
    "chat": ("chatCompletions", "chat completions", 835),
}


def check_features(write: SettingsWrite, enabled: frozenset[str] | set[str]) -> None:
    """Settings behind experimental features; `enabled` holds the JSON names of those that are on."""
    for key, (feature, label, discussion) in _FEATURES.items():
        if write.patch.get(key) is not None and feature not in enabled:
            raise ApiError(
                "feature_not_enabled",
                f"setting `{key}` in the index settings requires enabling the `{label}` experimental feature. "
                f"See https://github.com/orgs/meilisearch/discussions/{discussion}",
            )

"""The settings of an index: keys, defaults, how a patch changes them, how they are shown.

A full settings object holds every key of `KEYS` in that order. Decoding is in `settings_decode`, what the
settings say about one attribute in `settings_rules`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from miroir.meili.codes import ApiError
from miroir.meili.commands import SettingsWrite
from miroir.meili.folding import decompose, normalize_whole
from miroir.meili.locales import THREE_LETTERS
from miroir.meili.settings_decode import (
    SETTINGS_FIELDS,
    check_features,
    check_write,
    decode_setting,
    decode_settings,
    word_sizes_message,
)
from miroir.meili.settings_embedders import DEFAULT_TEMPLATE, apply_embedders, masked
from miroir.meili.settings_ranking import RankingRule, parse_ranking_rule
from miroir.meili.settings_rules import AttributeRules, FilterFeatures, MatchedRule

__all__ = [
    "DEFAULTS",
    "KEYS",
    "AttributeRules",
    "FilterFeatures",
    "MatchedRule",
    "RankingRule",
    "apply",
    "apply_write",
    "check_features",
    "check_write",
    "decode_setting",
    "decode_settings",
    "defaults",
    "details",
    "parse_ranking_rule",
    "view",
    "view_one",
]

Settings = dict[str, Any]

#: Every key in printed order.
KEYS: tuple[str, ...] = tuple(SETTINGS_FIELDS)
_WILDCARD = ("displayedAttributes", "searchableAttributes")
_MERGED = ("typoTolerance", "faceting", "pagination", "chat")

DEFAULTS: Mapping[str, Any] = {
    "displayedAttributes": ["*"],
    "searchableAttributes": ["*"],
    "filterableAttributes": [],
    "sortableAttributes": [],
    "foreignKeys": [],
    "rankingRules": [
        "words",
        "typo",
        "proximity",
        "attributeRank",
        "sort",
        "wordPosition",
        "exactness",
    ],
    "stopWords": [],
    "nonSeparatorTokens": [],
    "separatorTokens": [],
    "dictionary": [],
    "synonyms": {},
    "distinctAttribute": None,
    "proximityPrecision": "byWord",
    "typoTolerance": {
        "enabled": True,
        "minWordSizeForTypos": {"oneTypo": 5, "twoTypos": 9},
        "disableOnWords": [],
        "disableOnAttributes": [],
        "disableOnNumbers": False,
    },
    "faceting": {"maxValuesPerFacet": 100, "sortFacetValuesBy": {"*": "alpha"}},
    "pagination": {"maxTotalHits": 1000},
    "embedders": {},
    "searchCutoffMs": None,
    "localizedAttributes": None,
    "facetSearch": True,
    "prefixSearch": "indexingTime",
    "chat": {
        "description": "",
        "documentTemplate": DEFAULT_TEMPLATE,
        "documentTemplateMaxBytes": 400,
        "searchParameters": {},
    },
}


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_copy(member) for member in value]
    return value


def defaults() -> Settings:
    """A full settings object of an index that was never configured."""
    return {key: _copy(DEFAULTS[key]) for key in KEYS}


def apply(current: Mapping[str, Any], patch: Mapping[str, Any]) -> Settings:
    """The full settings after a decoded patch; `current` may lack keys, `patch` None resets.

    Raises ApiError for what only shows against the stored settings (the caller adds the index's name).
    """
    full: Settings = defaults() | {key: _copy(current[key]) for key in KEYS if key in current}
    for key in KEYS:
        if key in patch:
            value = patch[key]
            full[key] = _copy(DEFAULTS[key]) if value is None else _changed(key, full[key], _copy(value))
    return full


def apply_write(current: Mapping[str, Any], write: SettingsWrite) -> Settings:
    """The full settings after a write, deletions included. Raises ApiError as `apply`."""
    return defaults() if write.reset_all else apply(current, write.patch)


def _changed(key: str, old: Any, new: Any) -> Any:
    if key in _WILDCARD:
        return ["*"] if "*" in new else list(dict.fromkeys(new))
    if key == "stopWords":
        return sorted({decompose(word) for word in new}, key=str.encode)
    if key == "embedders":
        return apply_embedders(old, new)
    if key == "localizedAttributes":
        for rule in new:
            rule["locales"] = [THREE_LETTERS.get(code, code) for code in rule["locales"]]
        return new
    if key not in _MERGED:
        return new
    merged = old | {
        name: _copy(DEFAULTS[key][name]) if member is None else member for name, member in new.items()
    }
    if key == "typoTolerance":
        _merge_typo(old, new, merged)
    if key == "faceting":
        orders = {"*": "alpha"} | merged["sortFacetValuesBy"]
        merged["sortFacetValuesBy"] = {name: orders[name] for name in sorted(orders, key=str.encode)}
    return {name: merged[name] for name in DEFAULTS[key]}


def _merge_typo(old: Mapping[str, Any], new: Mapping[str, Any], merged: dict[str, Any]) -> None:
    name = "minWordSizeForTypos"
    if new.get(name) is not None:
        default = DEFAULTS["typoTolerance"][name]
        sizes = old[name] | {
            size: default[size] if value is None else value for size, value in new[name].items()
        }
        if sizes["oneTypo"] > sizes["twoTypos"]:
            raise ApiError(
                "invalid_settings_typo_tolerance",
                word_sizes_message(sizes["oneTypo"], sizes["twoTypos"]),
            )
        merged[name] = sizes
    merged["disableOnWords"] = sorted(
        {normalize_whole(word) for word in merged["disableOnWords"]}, key=str.encode
    )


def view(settings: Mapping[str, Any], enabled: frozenset[str] | set[str] = frozenset()) -> Settings:
    """GET /settings: keys in order, secrets masked; `foreignKeys` and `chat` only with their features."""
    hidden = set()
    if "foreignKeys" not in enabled:
        hidden.add("foreignKeys")
    if "chatCompletions" not in enabled:
        hidden.add("chat")
    return {key: view_one(settings, key) for key in KEYS if key not in hidden}


def view_one(settings: Mapping[str, Any], key: str) -> Any:
    """GET of one setting."""
    value = settings.get(key, DEFAULTS[key])
    return masked(value) if key == "embedders" else value


def details(write: SettingsWrite) -> Settings:
    """What the task tells: the keys that were sent, resets as null, secrets masked."""
    patch = dict.fromkeys(KEYS) if write.reset_all else write.patch
    shown: Settings = {}
    for key in KEYS:
        if key in patch:
            value = patch[key]
            if value is None and key in _WILDCARD:
                value = ["*"]
            shown[key] = masked(value) if key == "embedders" and value is not None else value
    return shown

"""Whether a node still has the settings it was given: what it shows against what it should. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from miroir.meili import settings

#: Lists whose order means something.
_ORDERED = frozenset({"rankingRules", "searchableAttributes"})


def drifted(shown: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Keys that differ.

    Args:
        shown: the node's GET /settings: secrets are masked in it.
        wanted: the settings it was sent.
    """
    expected = settings.view({**settings.defaults(), **wanted})
    return [
        key
        for key, value in expected.items()
        if key in wanted and key in shown and _form(key, shown[key]) != _form(key, value)
    ]


def _form(key: str, value: Any) -> Any:
    """A value in one spelling: numbers by value, lists without an order of their own sorted."""
    if key == "embedders":
        return {name: _embedder(config) for name, config in (value or {}).items()}
    if isinstance(value, list) and key not in _ORDERED:
        return sorted(orjson.dumps(item, option=orjson.OPT_SORT_KEYS) for item in value)
    return value


def _embedder(config: Mapping[str, Any]) -> dict[str, Any]:
    """Members that say something: what a node adds or leaves out as a default is no difference."""
    return {name: value for name, value in config.items() if value not in (None, {}, [])}

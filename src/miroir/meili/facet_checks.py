"""Which facets of a search are refused: those that meet no filterable rule. Source: api 7.2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from miroir.meili.codes import ApiError
from miroir.meili.settings_rules import (
    AttributeRules,
    features_of,
    is_inside,
    matches_pattern,
    matches_rule,
    patterns_of,
)


def check_facets(settings: Mapping[str, Any], facets: Sequence[str]) -> None:
    """Refuse facet patterns that meet no filterable rule of full settings.

    Raises:
        ApiError: `invalid_search_facets`, for the first one.
    """
    for pattern in facets:
        _check_facet(settings, pattern)


def _check_facet(settings: Mapping[str, Any], pattern: str) -> None:
    for position, rule in enumerate(settings.get("filterableAttributes") or ()):
        if features_of(rule).is_filterable:
            if _meets(rule, pattern):
                return
        elif matches_rule(rule, pattern):
            raise ApiError(
                "invalid_search_facets",
                f"Invalid facet distribution: Attribute `{pattern}` matched rule #{position} in filterableAttributes, "
                f"but this rule does not enable filtering.\nHint: enable filtering in rule #{position} by modifying "
                f"the features.filter object\nHint: prepend another rule matching `{pattern}` with appropriate filter "
                f"features before rule #{position}",
            )
    listed = AttributeRules(settings).filterable_patterns()
    rest = (
        f"Available filterable attributes patterns are: `{', '.join(listed)}`."
        if listed
        else "This index does not have configured filterable attributes."
    )
    raise ApiError(
        "invalid_search_facets", f"Invalid facet distribution: Pattern `{pattern}` is not filterable. {rest}"
    )


def _meets(rule: Any, pattern: str) -> bool:
    """Whether a rule and a pattern have paths in common, or one is a parent of the other.

    A rule that is a plain string names an attribute, be it `*`.
    """
    return any(
        matches_pattern(pattern, shown)
        or (not isinstance(rule, str) and matches_pattern(shown, pattern))
        or is_inside(pattern, shown)
        or is_inside(shown, pattern)
        for shown in patterns_of(rule)
    )

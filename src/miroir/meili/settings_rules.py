"""What the settings say about one attribute: filterable, sortable, facet-searchable, displayed, searchable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class FilterFeatures:
    """What a filterable-attributes rule switches on."""

    facet_search: bool = True
    equality: bool = True
    comparison: bool = True

    @property
    def is_filterable(self) -> bool:
        return self.equality or self.comparison

    @property
    def operators(self) -> tuple[str, ...]:
        """The allowed operators, as refusals list them."""
        if not self.is_filterable:
            return ()
        equality = ("=", "!=", "IN") if self.equality else ()
        comparison = ("<", ">", "<=", ">=", "TO") if self.comparison else ()
        return ("OR", "AND", "NOT", *equality, *comparison, "IS EMPTY", "IS NULL", "EXISTS")


@dataclass(frozen=True, slots=True)
class MatchedRule:
    """The first rule that matches a field, and its place in the list."""

    index: int
    features: FilterFeatures


_ALL = FilterFeatures()


def is_inside(path: str, parent: str) -> bool:
    """Whether `path` is the attribute `parent` or one of its dotted children."""
    return path == parent or path.startswith(f"{parent}.")


def matches_pattern(pattern: str, path: str) -> bool:
    """A pattern with `*` at its start, its end, or both; without one the names must be equal."""
    if pattern == "*":
        return True
    if pattern.startswith("*") and pattern.endswith("*"):
        return pattern[1:-1] in path
    if pattern.startswith("*"):
        return path.endswith(pattern[1:])
    if pattern.endswith("*"):
        return path.startswith(pattern[:-1])
    return path == pattern


def features_of(rule: Any) -> FilterFeatures:
    """What one entry of `filterableAttributes` switches on."""
    if isinstance(rule, str):
        return _ALL
    features = rule.get("features") or {}
    allowed = features.get("filter") or {}
    return FilterFeatures(
        features.get("facetSearch", False), allowed.get("equality", True), allowed.get("comparison", False)
    )


def patterns_of(rule: Any) -> tuple[str, ...]:
    """The name, or the patterns, of one entry of `filterableAttributes`."""
    return (rule,) if isinstance(rule, str) else tuple(rule["attributePatterns"])


def matches_rule(rule: Any, path: str) -> bool:
    """Whether one entry of `filterableAttributes` is about a field."""
    if isinstance(rule, str):
        return is_inside(path, rule)
    return any(matches_pattern(pattern, path) for pattern in rule["attributePatterns"])


def attribute_list(settings: Mapping[str, Any], key: str) -> Sequence[str]:
    """`displayedAttributes` or `searchableAttributes`: all where nothing is said, none where `[]` is."""
    names: Sequence[str] | None = settings.get(key)
    return ("*",) if names is None else names


@dataclass(frozen=True, slots=True)
class AttributeRules:
    """Look-ups over a full settings object."""

    settings: Mapping[str, Any]

    def match_rule(self, path: str) -> MatchedRule | None:
        """The first filterable-attributes rule about a field."""
        for i, rule in enumerate(self.settings["filterableAttributes"]):
            if matches_rule(rule, path):
                return MatchedRule(i, features_of(rule))
        return None

    def is_filterable(self, path: str) -> bool:
        rule = self.match_rule(path)
        return rule is not None and rule.features.is_filterable

    def is_facet_searchable(self, path: str) -> bool:
        rule = self.match_rule(path)
        return rule is not None and rule.features.facet_search

    def is_sortable(self, path: str) -> bool:
        return any(is_inside(path, name) for name in self.settings["sortableAttributes"])

    def is_displayed(self, path: str) -> bool:
        displayed = self.settings["displayedAttributes"]
        return "*" in displayed or any(is_inside(path, name) for name in displayed)

    def searchable_weight(self, path: str) -> int | None:
        """0 is the heaviest; with `["*"]` every field weighs 0; None: not searchable."""
        searchable = self.settings["searchableAttributes"]
        if "*" in searchable:
            return 0
        for weight, name in enumerate(searchable):
            if is_inside(path, name):
                return weight
        return None

    def filterable_patterns(self) -> tuple[str, ...]:
        """The patterns that refusals list as filterable, sorted."""
        return self._sorted_patterns(lambda features: features.is_filterable)

    def facet_searchable_patterns(self) -> tuple[str, ...]:
        """The patterns that refusals list as facet-searchable, sorted."""
        return self._sorted_patterns(lambda features: features.facet_search)

    def _sorted_patterns(self, keep: Any) -> tuple[str, ...]:
        found = {
            pattern
            for rule in self.settings["filterableAttributes"]
            if keep(features_of(rule))
            for pattern in patterns_of(rule)
        }
        return tuple(sorted(found, key=str.encode))


def value_order(settings: Mapping[str, Any], path: str) -> str:
    """`alpha` or `count`, as `sortFacetValuesBy` says for a path."""
    orders = (settings.get("faceting") or {}).get("sortFacetValuesBy") or {}
    return str(orders.get(path, orders.get("*", "alpha")))

"""Which attributes the settings make filterable, sortable, faceted; matching of names and patterns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from miroir.meili.geojson import GEOJSON_FIELD
from miroir.meili.settings_rules import is_inside, matches_pattern

GEO_FIELD = "_geo"


@dataclass(frozen=True, slots=True)
class FilterableRule:
    """One entry of `filterableAttributes`. `patterns` empty and `name` set: the string form."""

    name: str | None
    patterns: tuple[str, ...] = ()
    facet_search: bool = True
    equality: bool = True
    comparison: bool = True

    def matches(self, path: str) -> bool:
        """Whether the rule is about `path`."""
        if self.name is not None:
            return is_inside(path, self.name)
        return any(matches_pattern(p, path) for p in self.patterns)

    @property
    def is_filterable(self) -> bool:
        """Whether any filter operator is allowed."""
        return self.equality or self.comparison

    @property
    def shown_patterns(self) -> tuple[str, ...]:
        """What error messages list for the rule."""
        return (self.name,) if self.name is not None else self.patterns


@dataclass(frozen=True)
class AttributeRules:
    """What the settings say about attributes, parsed once per version of the settings."""

    filterable: tuple[FilterableRule, ...] = ()
    sortable: tuple[str, ...] = ()
    distinct: str | None = None
    custom: tuple[str, ...] = ()
    _faceted: dict[str, bool] = field(default_factory=dict, compare=False, repr=False)

    @staticmethod
    def of(settings: Mapping[str, Any]) -> AttributeRules:
        """Read `filterableAttributes`, `sortableAttributes`, `distinctAttribute` and custom ranking rules."""
        return AttributeRules(
            filterable=tuple(_rule(entry) for entry in settings.get("filterableAttributes") or ()),
            sortable=tuple(settings.get("sortableAttributes") or ()),
            distinct=settings.get("distinctAttribute"),
            custom=tuple(
                rule.rpartition(":")[0]
                for rule in settings.get("rankingRules") or ()
                if rule.endswith((":asc", ":desc"))
            ),
        )

    def rule_of(self, path: str) -> tuple[int, FilterableRule] | None:
        """The first rule about `path` with its position, or None."""
        for position, rule in enumerate(self.filterable):
            if rule.matches(path):
                return position, rule
        return None

    def is_filterable(self, path: str) -> bool:
        """Whether filters may use `path`."""
        found = self.rule_of(path)
        return found is not None and found[1].is_filterable

    def is_facet_searchable(self, path: str) -> bool:
        """Whether facet search may use `path`."""
        found = self.rule_of(path)
        return found is not None and found[1].facet_search

    def is_sortable(self, path: str) -> bool:
        """Whether `path` or a parent of it is listed in `sortableAttributes`."""
        return any(is_inside(path, name) for name in self.sortable)

    def is_faceted(self, path: str) -> bool:
        """Whether values of `path` belong into the facet tables."""
        known = self._faceted.get(path)
        if known is None:
            found = self.rule_of(path)
            known = (
                (found is not None and (found[1].is_filterable or found[1].facet_search))
                or self.is_sortable(path)
                or path == self.distinct
                or path in self.custom
            )
            if len(self._faceted) < 100_000:
                self._faceted[path] = known
        return known

    @cached_property
    def patterns(self) -> tuple[str, ...]:
        """Names and patterns that some filter may use, sorted, as error messages list them."""
        return tuple(
            sorted({p for rule in self.filterable if rule.is_filterable for p in rule.shown_patterns})
        )

    @cached_property
    def has_geo(self) -> bool:
        """Whether `_geo` is filterable or sortable, so that points are validated and kept."""
        return self.is_geo_filterable or GEO_FIELD in self.sortable

    @cached_property
    def is_geo_filterable(self) -> bool:
        """Whether geo filters on points are allowed."""
        return any(GEO_FIELD in rule.shown_patterns for rule in self.filterable)

    @cached_property
    def has_shapes(self) -> bool:
        """Whether geo filters find `_geojson` shapes, so that these are validated and kept."""
        return any(GEOJSON_FIELD in rule.shown_patterns for rule in self.filterable)


def _rule(entry: str | Mapping[str, Any]) -> FilterableRule:
    if isinstance(entry, str):
        return FilterableRule(entry)
    features = entry.get("features") or {}
    filters = features.get("filter") or {}
    return FilterableRule(
        None,
        tuple(entry.get("attributePatterns") or ()),
        facet_search=bool(features.get("facetSearch", False)),
        equality=bool(filters.get("equality", True)),
        comparison=bool(filters.get("comparison", False)),
    )

"""POST /indexes/{uid}/fields: every path of an index and what the settings make of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from miroir.engine.attribute_rules import AttributeRules
from miroir.engine.index import Index
from miroir.meili.commands import FieldsQuery
from miroir.meili.settings_rules import is_inside, matches_pattern

_NEVER_SEARCHABLE = ("_geo", "_geo.lat", "_geo.lng", "_vectors")


def field_views(index: Index, query: FieldsQuery) -> list[dict[str, Any]]:
    """The views the query wants, by name."""
    paths = set(index.field_ids)
    for document in index.documents.values():
        paths.update(_paths("", document))
    views = (_view(path, index.settings, index.facets.rules) for path in sorted(paths))
    return [view for view in views if _wanted(view, query)]


def _paths(prefix: str, value: object) -> Iterator[str]:
    """Dotted paths of every object member below; arrays are looked into."""
    if isinstance(value, list):
        for item in value:
            yield from _paths(prefix, item)
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            if not prefix and name == "_vectors":
                yield name  # embedders have what is below
                continue
            path = f"{prefix}.{name}" if prefix else name
            yield path
            yield from _paths(path, inner)


def _covered(names: Any, path: str) -> bool:
    return names == ["*"] or any(name == "*" or is_inside(path, name) for name in names or ())


def _view(path: str, settings: Mapping[str, Any], rules: AttributeRules) -> dict[str, Any]:
    found = rules.rule_of(path)
    rule = found[1] if found is not None else None
    order = next(
        (r for r in settings.get("rankingRules") or () if r in (f"{path}:asc", f"{path}:desc")), None
    )
    ranking: dict[str, Any] = {"enabled": order is not None}
    if order is not None:
        ranking["order"] = order.rpartition(":")[2]
    sort_by = (settings.get("faceting") or {}).get("sortFacetValuesBy") or {}
    locales = [
        locale
        for entry in settings.get("localizedAttributes") or ()
        if any(matches_pattern(pattern, path) for pattern in entry["attributePatterns"])
        for locale in entry["locales"]
    ]
    return {
        "name": path,
        "displayed": {"enabled": _covered(settings.get("displayedAttributes"), path)},
        "searchable": {
            "enabled": _covered(settings.get("searchableAttributes"), path) and path not in _NEVER_SEARCHABLE
        },
        "sortable": {"enabled": rules.is_sortable(path)},
        "distinct": {"enabled": settings.get("distinctAttribute") == path},
        "rankingRule": ranking,
        "filterable": {
            "enabled": rule is not None and (rule.is_filterable or rule.facet_search),
            "sortBy": sort_by.get(path, sort_by.get("*", "alpha")),
            "facetSearch": rule is not None and rule.facet_search,
            "equality": rule is not None and rule.equality,
            "comparison": rule is not None and rule.comparison,
        },
        "localized": {"locales": locales},
    }


def _wanted(view: dict[str, Any], query: FieldsQuery) -> bool:
    if query.attribute_patterns is not None and not any(
        matches_pattern(pattern, view["name"]) for pattern in query.attribute_patterns
    ):
        return False
    wanted = {
        "displayed": query.displayed,
        "searchable": query.searchable,
        "sortable": query.sortable,
        "distinct": query.distinct,
        "rankingRule": query.ranking_rule,
        "filterable": query.filterable,
    }
    return all(value is None or view[name]["enabled"] is value for name, value in wanted.items())

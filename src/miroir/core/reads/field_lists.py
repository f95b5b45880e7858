"""POST /indexes/{uid}/fields over shards: each node knows the paths of its own documents. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from miroir.core.reads.projection import displayed
from miroir.core.reserved import is_reserved
from miroir.core.topology import IndexView
from miroir.meili.commands import FieldsQuery

#: every field of a node in one answer
_ALL = 2**31 - 1


def fields_body(query: FieldsQuery) -> dict[str, Any]:
    """What a node is asked: all that the query wants but its page, and what only we know (who is displayed)."""
    wanted = {
        "attributePatterns": None if query.attribute_patterns is None else list(query.attribute_patterns),
        "searchable": query.searchable,
        "sortable": query.sortable,
        "distinct": query.distinct,
        "rankingRule": query.ranking_rule,
        "filterable": query.filterable,
    }
    asked = {name: value for name, value in wanted.items() if value is not None}
    return {"offset": 0, "limit": _ALL, **({"filter": asked} if asked else {})}


def merge_fields(
    answers: Sequence[Sequence[Mapping[str, Any]]], index: IndexView, query: FieldsQuery
) -> list[dict[str, Any]]:
    """Every view the query wants, once, by name. Nodes have the same settings, so views of one name are equal."""
    shown = displayed(index)
    merged: dict[str, dict[str, Any]] = {}
    for views in answers:
        for view in views:
            name = view["name"]
            if name in merged or is_reserved(name):
                continue
            enabled = shown is None or any(name == item or name.startswith(item + ".") for item in shown)
            if query.displayed is None or query.displayed is enabled:
                merged[name] = {**view, "displayed": {"enabled": enabled}}
    return [merged[name] for name in sorted(merged)]

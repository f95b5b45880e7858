"""The distinct rule: of documents that share a value, only the best-ranked one stays (search-semantics C.13)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pyroaring import BitMap

from miroir.engine.attribute_rules import AttributeRules
from miroir.engine.facets import FacetIndex, FieldFacets
from miroir.meili.codes import ApiError
from miroir.meili.federation_merge import HitValue, hit_values


def check_distinct(rules: AttributeRules, name: str, displayed: Sequence[str] = ("*",)) -> None:
    """Refuse a requested distinct attribute that is not filterable; lists only what is `displayed`.

    Raises:
        ApiError: `invalid_search_distinct`.
    """
    found = rules.rule_of(name)
    if found is not None and found[1].is_filterable:
        return
    start = f"Attribute `{name}` is not filterable and thus, cannot be used as distinct attribute."
    listed = sorted({p for r in rules.filterable if r.is_filterable for p in r.shown_patterns})
    patterns = listed if "*" in displayed else [p for p in listed if p in displayed]
    hidden = ", <..hidden-attributes>" if len(patterns) < len(listed) else ""
    if found is not None:
        rest = (
            f"Note: this attribute matches rule #{found[0]} in filterableAttributes, but this rule does not enable "
            f"filtering.\nHint: enable filtering in rule #{found[0]} by adding appropriate filter features.\n"
            f"Hint: prepend another rule matching {name} with filter features before rule #{found[0]}"
        )
    elif patterns:
        rest = f"Available filterable attributes patterns are: `{', '.join(patterns)}{hidden}`."
    else:
        rest = "This index does not have configured filterable attributes."
    raise ApiError("invalid_search_distinct", f"{start} {rest}")


def distinct_table(index: FacetIndex, name: str | None) -> FieldFacets | None:
    """The table of the distinct attribute; None when there is none or no document ever had it."""
    return None if name is None else index.table(name)


def sharing_values(table: FieldFacets, docid: int) -> BitMap:
    """All documents that share a value with `docid`, itself included; empty when it has no value."""
    values = table.values.get(docid)
    if values is None:
        return BitMap()
    sets = [table.strings[key] for key in values.strings]
    sets += [table.numbers[number] for number in values.numbers]
    return BitMap.union(*sets) if sets else BitMap()


def apply_distinct(table: FieldFacets, candidates: BitMap) -> tuple[BitMap, BitMap]:
    """(remaining, excluded): one candidate per value, lowest docid first, and all that share their values."""
    remaining, excluded = BitMap(), BitMap()
    for docid in candidates:
        if docid not in excluded:
            excluded |= sharing_values(table, docid)
            remaining.add(docid)
    return remaining, excluded


def shown_again(hits: Sequence[Mapping[str, Any]], name: str) -> list[int]:
    """Places of hits that share a value with one before them, as a search that names the attribute compares them.

    That is after the distinct rule, and by what documents show: an empty string is a value here, as no facet is.
    """
    seen: set[HitValue] = set()
    places = []
    for place, hit in enumerate(hits):
        values = hit_values(hit, name)
        if seen.isdisjoint(values):
            seen.update(values)
        else:
            places.append(place)
    return places

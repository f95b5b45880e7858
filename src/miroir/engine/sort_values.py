"""The sort keys of listed documents, for proxies that merge listings of several nodes (`Meili-Proxy-Search`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from miroir.engine.facets import FacetIndex
from miroir.engine.geo import distance_m
from miroir.meili.sorting import Sort


def sort_values(index: FacetIndex, criteria: Sequence[Sort], docid: int) -> list[dict[str, Any]]:
    """One entry per criterion: the value that places the document, null without one."""
    return [_sort_value(index, criterion, docid) for criterion in criteria]


def _sort_value(index: FacetIndex, criterion: Sort, docid: int) -> dict[str, Any]:
    ascending = criterion.direction == "asc"
    if criterion.point is not None:
        point = index.points.get(docid)
        distance = None if point is None else distance_m(criterion.point, point)
        return {"geoSort": {"asc": ascending, "distance": distance}}
    table = index.table(criterion.name)
    values = None if table is None else table.values.get(docid)
    choose = min if ascending else max
    chosen: float | str | None = None
    if values is not None and values.numbers:
        chosen = choose(values.numbers)
    elif values is not None and values.strings:
        chosen = choose(values.strings)
    return {"sort": {"asc": ascending, "value": chosen}}

"""Statistics: parameters, sizes for people, the views."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from miroir.meili.commands import StatsQuery
from miroir.meili.dates import format_optional_date
from miroir.meili.decode import Field, fields
from miroir.meili.query_params import param_boolean, param_enum, param_fields

_PARAMS = fields(
    Field("showInternalDatabaseSizes", param_boolean, "invalid_stats_show_internal_database_sizes"),
    Field("sizeFormat", param_enum("human", "raw"), "invalid_stats_size_format"),
)


def decode_params(params: list[tuple[str, str]]) -> StatsQuery:
    """GET /stats and GET /indexes/{uid}/stats."""
    found = param_fields(params, _PARAMS)
    return StatsQuery(found.get("showInternalDatabaseSizes", False), found.get("sizeFormat") == "human")


PAGE_BYTES = 4096  #: a database grows by whole pages
_KEY_BYTES = 8  #: of a document, as its server reckons
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def human_size(size: int) -> str:
    """Bytes in binary units with at most two decimals: `674 B`, `4 KiB`, `1.5 MiB`."""
    amount, unit = float(size), 0
    while amount >= 1024 and unit < len(_UNITS) - 1:
        amount /= 1024
        unit += 1
    text = f"{amount:.2f}".rstrip("0").rstrip(".")
    return f"{text} {_UNITS[unit]}"


def parse_size(text: str) -> int:
    """Bytes of a size as `human_size` prints it. Raises ValueError."""
    amount, _, unit = text.partition(" ")
    return round(float(amount) * float(1024 ** _UNITS.index(unit)))


def size_view(size: int, query: StatsQuery) -> int | str:
    """A size as the request wants it."""
    return human_size(size) if query.human_sizes else size


def in_pages(size: float) -> int:
    """Bytes of the pages that hold so many bytes."""
    return PAGE_BYTES * math.ceil(size / PAGE_BYTES)


@dataclass(frozen=True, slots=True)
class IndexStats:
    """Numbers of one index; `field_distribution`: top-level field -> documents holding it."""

    documents: int = 0
    raw_size: int = 0
    is_indexing: bool = False
    embeddings: int = 0
    embedded_documents: int = 0
    field_distribution: Mapping[str, int] = field(default_factory=dict)
    internal_sizes: Mapping[str, int] = field(default_factory=dict)


def index_stats_view(stats: IndexStats, query: StatsQuery) -> dict[str, Any]:
    """IndexStats as printed."""
    values = stats.raw_size - _KEY_BYTES * stats.documents
    view: dict[str, Any] = {
        "numberOfDocuments": stats.documents,
        "rawDocumentDbSize": size_view(stats.raw_size, query),
        "avgDocumentSize": size_view(max(values, 0) // (stats.documents or 1), query),
        "isIndexing": stats.is_indexing,
    }
    if query.show_internal_database_sizes:
        sizes = sorted(stats.internal_sizes.items())
        view["internalDatabaseSizes"] = {name: size_view(size, query) for name, size in sizes}
    view["numberOfEmbeddings"] = stats.embeddings
    view["numberOfEmbeddedDocuments"] = stats.embedded_documents
    view["fieldDistribution"] = dict(sorted(stats.field_distribution.items()))
    return view


def stats_view(
    indexes: Mapping[str, IndexStats],
    query: StatsQuery,
    *,
    database_size: int,
    used_database_size: int,
    last_update: int | None,
) -> dict[str, Any]:
    """Body of GET /stats; `indexes` and `last_update` cover the indexes the credential may see."""
    return {
        "databaseSize": size_view(database_size, query),
        "usedDatabaseSize": size_view(used_database_size, query),
        "lastUpdate": format_optional_date(last_update),
        "indexes": {uid: index_stats_view(stats, query) for uid, stats in sorted(indexes.items())},
    }

"""GET /metrics: the gauges of one server in Prometheus' text format, with Meilisearch's names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from miroir.meili.tasks import Task

CONTENT_TYPE = "text/plain; version=0.0.4"


def exposition(
    *,
    documents: Mapping[str, int],
    database_size: int,
    used_database_size: int,
    last_update_s: int,
    tasks: Iterable[Task],
) -> bytes:
    """The page. `documents`: index -> number of documents; sizes in bytes."""
    statuses, types = Counter[str](), Counter[str]()
    for task in tasks:
        statuses[task.status] += 1
        types[task.kind] += 1
    lines: list[str] = []

    def gauge(name: str, about: str, samples: Iterable[tuple[str, int]]) -> None:
        lines.append(f"# HELP {name} {about}")
        lines.append(f"# TYPE {name} gauge")
        lines.extend(f"{name}{labels} {value}" for labels, value in samples)

    gauge("meilisearch_db_size_bytes", "Meilisearch DB Size In Bytes", [("", database_size)])
    gauge("meilisearch_index_count", "Meilisearch Index Count", [("", len(documents))])
    gauge(
        "meilisearch_index_docs_count",
        "Meilisearch Index Docs Count",
        ((f'{{index="{uid}"}}', count) for uid, count in sorted(documents.items())),
    )
    gauge("meilisearch_is_indexing", "Meilisearch Is Indexing", [("", int(statuses["processing"] > 0))])
    gauge("meilisearch_last_update", "Meilisearch Last Update", [("", last_update_s)])
    gauge(
        "meilisearch_nb_tasks",
        "Meilisearch Number of tasks",
        (
            (f'{{kind="{kind}",value="{value}"}}', count)
            for kind, counts in (("statuses", statuses), ("types", types))
            for value, count in sorted(counts.items())
        ),
    )
    gauge("meilisearch_used_db_size_bytes", "Meilisearch Used DB Size In Bytes", [("", used_database_size)])
    return ("\n".join(lines) + "\n").encode()

"""Loads the bundled sample data through the cluster's own API, showing how far it is."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from miroir.cli.client import Client

BATCH_DOCUMENTS = 500
Report = Callable[[int], None]


def indexes() -> dict[str, dict[str, Any]]:
    """uid -> {primaryKey, settings} of the sample's indexes."""
    found = json.loads((files("miroir.sample") / "settings.json").read_text("utf-8"))
    assert isinstance(found, dict)
    return found


def lines(uid: str) -> list[bytes]:
    """The documents of one index, one JSON text each."""
    return gzip.decompress((files("miroir.sample") / f"{uid}.ndjson.gz").read_bytes()).splitlines()


def load(client: Client) -> dict[str, int]:
    """Create the indexes, set them up, add every document, and wait; returns documents by index.

    Loading again changes nothing: documents replace themselves. Raises CallError.
    """
    loaded: dict[str, int] = {}
    for uid, index in indexes().items():
        documents = lines(uid)
        if client.call("GET", f"/indexes/{uid}")[0] == 404:
            created = client.ask("POST", "/indexes", {"uid": uid, "primaryKey": index["primaryKey"]})
            client.wait_task(created["taskUid"])
        client.ask("PATCH", f"/indexes/{uid}/settings", index["settings"])
        with _progress(uid, len(documents)) as report:
            _add(client, uid, documents, report)
        loaded[uid] = len(documents)
    return loaded


def _add(client: Client, uid: str, documents: list[bytes], report: Report) -> None:
    tasks: list[tuple[int, int]] = []
    for start in range(0, len(documents), BATCH_DOCUMENTS):
        batch = documents[start : start + BATCH_DOCUMENTS]
        path = f"/indexes/{uid}/documents"
        accepted = client.ask("POST", path, b"\n".join(batch), content_type="application/x-ndjson")
        tasks.append((accepted["taskUid"], len(batch)))
    for task, count in tasks:
        client.wait_task(task)
        report(count)


@contextmanager
def _progress(uid: str, total: int) -> Iterator[Report]:
    """A bar on a terminal, one line when done elsewhere."""
    if not sys.stdout.isatty():
        yield lambda _: None
        print(f"loaded {total} documents into {uid}", flush=True)  # noqa: T201
        return
    columns = (
        TextColumn("loading {task.description:<9}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console()) as bar:
        task = bar.add_task(uid, total=total)
        yield lambda count: bar.advance(task, count)

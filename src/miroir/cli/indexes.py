"""`miroir reshard` and `miroir exact`: what one index has beyond Meilisearch's settings."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click
from rich.console import Console

from miroir.cli.admin import Connection, reaching
from miroir.cli.nodes import DRY_RUN, WAIT, query
from miroir.cli.operations import begun


@click.command()
@click.argument("index")
@click.argument("shards", type=int)
@click.option("--retention", type=float, help="Seconds to keep the old layout, to go back to.")
@DRY_RUN
@WAIT
@reaching
def reshard(
    connection: Connection, index: str, shards: int, retention: float | None, dry_run: bool, wait: bool
) -> None:
    """Give INDEX another number of SHARDS, while it is read and written.

    Until the old layout goes (--retention), `miroir operations cancel` goes back to it and loses nothing.
    """
    path = f"/_miroir/indexes/{quote(index, safe='')}/reshard{query(dry_run)}"
    body = {"shards": shards} | ({} if retention is None else {"retention_s": retention})
    begun(connection, connection.ask("POST", path, body), wait=wait)


@click.command()
@click.argument("index")
@click.argument("wish", type=click.Choice(["on", "off"]), required=False)
@reaching
def exact(connection: Connection, index: str, wish: str | None) -> None:
    """Keep all words of INDEX on every node, or no longer; say which without `on` or `off` (docs/exact.md)."""
    path = f"/_miroir/indexes/{quote(index, safe='')}"
    if wish is None:
        connection.show(connection.ask("GET", path), _show_index)
    else:
        connection.show(connection.ask("PATCH", path, {"exact": wish == "on"}), _show_task)


def _show_index(found: dict[str, Any], console: Console) -> None:
    state = "exact" if found["exact"] else "not exact"
    console.print(f"{found['uid']}: {state}, {found['shards']} shards", markup=False, highlight=False)


def _show_task(task: dict[str, Any], console: Console) -> None:
    console.print(
        f"task {task['taskUid']} {task['status']}; it has effect when it has ended", highlight=False
    )

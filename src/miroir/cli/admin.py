"""What the admin commands share: where the orchestrator is, which key, and how answers and refusals are shown."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from miroir.cli.client import CallError, Client
from miroir.cli.cluster_dir import ClusterDir, ClusterDirError

_FOLDER = click.Path(file_okay=False, path_type=Path)


class Connection:
    """The orchestrator and how to print: JSON for programs or words for people."""

    def __init__(self, url: str | None, admin_key: str | None, data: Path, *, as_json: bool) -> None:
        self.as_json = as_json
        self.console = Console(width=None if sys.stdout.isatty() else 140)
        self._client = Client(*target(url, admin_key, data))

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The answer; CallError with the server's words otherwise."""
        return self._client.ask(method, path, body)

    def show(self, value: Any, shown: Callable[[Any, Console], None]) -> None:
        """Print `value` as JSON, or by `shown`."""
        if self.as_json:
            click.echo(json.dumps(value, indent=2))
        else:
            shown(value, self.console)


def reaching(command: Callable[..., None]) -> Callable[..., None]:
    """Options --url, --admin-key, --data, --json; failures as one line and exit status 2."""

    @click.option("--url", help="The orchestrator.  [default: that of --data]")
    @click.option("--admin-key", envvar="MIROIR_ADMIN_API_KEY", help="Admin key.  [default: that of --data]")
    @click.option(
        "--data", type=_FOLDER, default=Path(".miroir"), show_default=True, help="Folder of a local cluster."
    )
    @click.option("--json", "as_json", is_flag=True, help="For programs: JSON.")
    @functools.wraps(command)
    def wrapped(url: str | None, admin_key: str | None, data: Path, as_json: bool, **rest: Any) -> None:
        try:
            command(Connection(url, admin_key, data, as_json=as_json), **rest)
        except (CallError, ClusterDirError) as error:
            click.echo(str(error), err=True)
            sys.exit(2)

    return wrapped


def table(*columns: str) -> Table:
    """An empty table in the house style."""
    found = Table(box=box.SIMPLE, pad_edge=False)
    for column in columns:
        found.add_column(column)
    return found


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def target(url: str | None, admin_key: str | None, data: Path) -> tuple[str, str | None]:
    """URL and admin key: those given, else those of the local cluster. Raises ClusterDirError."""
    if url:
        return url, admin_key
    cluster = ClusterDir(data).cluster()
    if cluster is None:
        raise ClusterDirError(f"no cluster in {data}: give --url, or the folder with --data")
    return cluster["orchestrator"]["url"], admin_key or cluster["admin_key"]

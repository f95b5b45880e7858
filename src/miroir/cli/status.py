"""`miroir status`: what an operator asks first, as a table for people or JSON for programs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from miroir.cli.admin import target
from miroir.cli.client import CallError, Client
from miroir.cli.cluster_dir import ClusterDirError

_COLOURS = {"live": "green", "down": "red"}


def run(url: str | None, admin_key: str | None, data: Path, *, as_json: bool) -> int:
    """Exit status: 0 every shard can be read, 1 not, 2 the orchestrator cannot be asked."""
    try:
        where, key = target(url, admin_key, data)
        topology = Client(where, key, timeout_s=10.0).ask("GET", "/_miroir/topology")
    except (CallError, ClusterDirError) as error:
        click.echo(str(error), err=True)
        return 2
    if as_json:
        click.echo(json.dumps(topology, indent=2))
    else:
        show(topology, Console(width=None if sys.stdout.isatty() else 140))
    return 0 if topology["fully_covered"] else 1


def show(topology: dict[str, Any], console: Console) -> None:
    """Print nodes, lanes, shards and tasks."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    for column in ("node", "group", "state", "shards", "lag (ops)", "last seen", "address"):
        table.add_column(column, justify="right" if column in ("group", "shards", "lag (ops)") else "left")
    for node in topology["nodes"]:
        colour = _COLOURS.get(node["health"], "white")
        table.add_row(
            node["id"],
            str(node["group"]),
            f"[{colour}]{node['lifecycle']}, {node['health']}[/]",
            _replicas(node),
            str(node["lag_ops"]),
            _ago(node["last_seen_ms"]),
            node["address"],
        )
    console.print(table)
    coverage = "all shards can be read" if topology["fully_covered"] else "[red]some shards cannot be read[/]"
    console.print(
        f"{len(topology['indexes'])} indexes, {topology['shards']} shards each for new ones, "
        f"replication factor {topology['replication_factor']}, epoch {topology['epoch']}: {coverage}"
    )
    tasks = ", ".join(f"{count} {status}" for status, count in topology["tasks"].items() if count)
    console.print(f"tasks: {tasks or 'none'}")
    if not sys.stdout.isatty():
        return
    for index in topology["indexes"]:
        console.print(f"  {index['uid']}: {index['readable_shards']} of {index['shards']} shards readable")


def _replicas(node: dict[str, Any]) -> str:
    extra = [f"{node[state]} {state}" for state in ("copying", "stale") if node[state]]
    return ", ".join([str(node["shard_count"]), *extra])


def _ago(last_seen_ms: int | None) -> str:
    return "never" if last_seen_ms is None else f"{last_seen_ms / 1000:.1f} s ago"

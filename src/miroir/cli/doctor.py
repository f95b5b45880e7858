"""`miroir doctor` and `miroir explain`: what is wrong and what helps, why a copy is where it is."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any
from urllib.parse import quote

import click
from rich.console import Console

from miroir.cli.admin import Connection, reaching
from miroir.core.diagnosis import diagnose, explain_placement

_COLOURS = {"critical": "red", "warning": "yellow", "notice": "cyan"}


@click.command()
@reaching
def doctor(connection: Connection) -> None:
    """What is wrong, what it means for data and searches, and the command that helps. Exit status 1 if critical."""
    found = diagnose(
        connection.ask("GET", "/_miroir/topology"),
        connection.ask("GET", "/_miroir/shards"),
        connection.ask("GET", "/_miroir/operations")["results"],
    )
    connection.show([asdict(finding) for finding in found], _show_findings)
    sys.exit(1 if any(finding.level == "critical" for finding in found) else 0)


@click.group()
def explain() -> None:
    """Why things are as they are."""


@explain.command()
@click.argument("index")
@click.argument("shard", type=int)
@reaching
def placement(connection: Connection, index: str, shard: int) -> None:
    """Why the copies of shard SHARD of INDEX are where they are, and why they stay."""
    shards = connection.ask("GET", f"/_miroir/shards?index={quote(index, safe='')}")
    rows = [row for one in shards["indexes"] for row in one["shards"] if row["shard"] == shard]
    if not rows:
        click.echo(f"index {index} has no shard {shard}", err=True)
        sys.exit(2)
    lines = explain_placement(rows[0], connection.ask("GET", "/_miroir/topology"), index)
    connection.show({"index": index, "shard": shard, "lines": lines}, _show_lines)


def _show_findings(found: list[dict[str, Any]], console: Console) -> None:
    if not found:
        console.print("[green]nothing is wrong[/]")
    for finding in found:
        console.print(f"[{_COLOURS[finding['level']]}]{finding['level']}[/]: {finding['what']}")
        console.print(f"  {finding['meaning']}")
        console.print(f"  -> {finding['command']}", markup=False)


def _show_lines(shown: dict[str, Any], console: Console) -> None:
    for line in shown["lines"]:
        console.print(line, markup=False, highlight=False)

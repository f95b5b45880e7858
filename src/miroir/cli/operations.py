"""`miroir operations`: list, show, watch, pause, resume, cancel, throttle."""

from __future__ import annotations

import time
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from miroir.cli.admin import Connection, reaching, size, table

_OPEN = frozenset({"running", "paused", "cancelling"})
_POLL_S = 0.5


@click.group()
def operations() -> None:
    """Moves of data: what runs, what ran, and how to stop it."""


@operations.command("list")
@reaching
def list_operations(connection: Connection) -> None:
    """All operations, newest first."""
    connection.show(connection.ask("GET", "/_miroir/operations")["results"], show_list)


@operations.command("show")
@click.argument("number", type=int)
@reaching
def show_operation(connection: Connection, number: int) -> None:
    """One operation: plan and actual."""
    connection.show(connection.ask("GET", f"/_miroir/operations/{number}"), show_one)


@operations.command()
@click.argument("number", type=int, required=False)
@reaching
def watch(connection: Connection, number: int | None) -> None:
    """Follow an operation (the newest) to its end."""
    if number is None:
        found = connection.ask("GET", "/_miroir/operations")["results"]
        if not found:
            click.echo("no operation yet")
            return
        number = found[0]["id"]
    follow(connection, int(number or 0))


@operations.command()
@click.argument("number", type=int)
@reaching
def pause(connection: Connection, number: int) -> None:
    """Stop after the page that is being copied; everything stays as it is."""
    _control(connection, number, "pause")


@operations.command()
@click.argument("number", type=int)
@reaching
def resume(connection: Connection, number: int) -> None:
    """Go on."""
    _control(connection, number, "resume")


@operations.command()
@click.argument("number", type=int)
@reaching
def cancel(connection: Connection, number: int) -> None:
    """Take back what is under way; shards that have moved stay where they are, a reshard goes back."""
    _control(connection, number, "cancel")


@operations.command()
@click.option("--copies", type=int, help="At once.")
@click.option("--documents-per-s", type=float, help="Of each copy; 0: no bound.")
@click.option("--bytes-per-s", type=float, help="Of each copy; 0: no bound.")
@reaching
def throttle(
    connection: Connection, copies: int | None, documents_per_s: float | None, bytes_per_s: float | None
) -> None:
    """Bound copying from now until the next start; without options, say what the bounds are."""
    bounds = {
        "max_concurrent_copies": copies,
        "documents_per_s": documents_per_s,
        "bytes_per_s": bytes_per_s,
    }
    wanted = {name: bound for name, bound in bounds.items() if bound is not None}
    connection.show(connection.ask("PATCH", "/_miroir/rebalance", wanted), _show_bounds)


def _control(connection: Connection, number: int, verb: str) -> None:
    connection.show(connection.ask("POST", f"/_miroir/operations/{number}/{verb}"), show_one)


def begun(connection: Connection, answer: dict[str, Any], *, wait: bool) -> None:
    """After a command that begins an operation: its plan, or its progress to the end."""
    if wait and not answer.get("dry_run") and not connection.as_json:
        follow(connection, answer["id"])
    else:
        connection.show(answer, show_one)


def follow(connection: Connection, number: int) -> None:
    """Progress with rate and time left until the operation ends."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f} of {task.total:.0f} documents, {task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    began, first = time.monotonic(), None
    with Progress(*columns, console=connection.console, disable=connection.as_json) as progress:
        bar = progress.add_task(f"operation {number}", total=1.0, rate="")
        while True:
            operation = connection.ask("GET", f"/_miroir/operations/{number}")
            done = operation["actual"]["documents"]
            first = done if first is None else first
            rate = (done - first) / max(0.001, time.monotonic() - began)
            total = max(operation["planned"].get("documents", 0), done, 1)
            progress.update(bar, total=total, completed=done, rate=f"{rate:.0f}/s")
            kept = operation["state"] == "running" and operation.get("old_layout_kept_until_ns")
            if operation["state"] not in _OPEN or kept:  # what follows is only waiting
                progress.update(bar, completed=total)
                break
            time.sleep(_POLL_S)
    connection.show(operation, show_one)


def show_list(found: list[dict[str, Any]], console: Console) -> None:
    """One line each."""
    rows = table("id", "kind", "state", "moves", "documents", "size", "waits for")
    for one in found:
        rows.add_row(
            str(one["id"]),
            one["kind"],
            one["state"],
            f"{one['moves_done']} of {one['moves_total']}",
            f"{one['actual']['documents']} of {one['planned'].get('documents', 0)}",
            size(one["actual"]["size_bytes"]),
            one["reason"] or "",
        )
    console.print(rows if found else "no operation yet")


def show_one(one: dict[str, Any], console: Console) -> None:
    """Plan and actual of one operation, or of a dry run."""
    planned = one["planned"]
    title = "plan (nothing was begun)" if one.get("dry_run") else f"operation {one['id']}: {one['state']}"
    console.print(f"{one['kind']}, {title}" + (f": {one['reason']}" if one["reason"] else ""))
    about = "" if planned.get("exact") else "about "
    console.print(
        f"  planned: {planned.get('replicas', 0)} replicas, {about}{planned.get('documents', 0)} documents, "
        f"{size(planned.get('size_bytes', 0))}, {planned.get('seconds', 0.0):.0f} s"
    )
    disks = planned.get("peak_disk_bytes", {})
    for node, peak in sorted(planned.get("peak_bytes", {}).items()):
        disk = f", its disk to about {size(disks[node])}" if node in disks else ""
        console.print(f"    {node} grows by at most {size(peak)} of documents{disk}")
    if not one.get("dry_run"):
        actual = one["actual"]
        console.print(
            f"  actual: {one['moves_done']} of {one['moves_total']} moves, {actual['documents']} documents, "
            f"{size(actual['size_bytes'])}" + (f", {actual['seconds']:.0f} s" if actual["seconds"] else "")
        )
    for move in one.get("moves", [])[:50]:
        console.print(
            f"    {move['index']} shard {move['shard']}: {move['from'] or '-'} -> {move['to'] or '-'}"
        )


def _show_bounds(bounds: dict[str, float], console: Console) -> None:
    rates = (
        f"{bounds[name]:g} {name.partition('_')[0]} a second"
        for name in ("documents_per_s", "bytes_per_s")
        if bounds[name]
    )
    console.print(
        f"{bounds['max_concurrent_copies']} copies at once, each {' and '.join(rates) or 'as fast as it can'}",
        highlight=False,
    )

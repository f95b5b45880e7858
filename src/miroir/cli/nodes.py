"""`miroir nodes`, `groups`, `rebalance`, `replication-factor`, `verify`: change the cluster."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click
from rich.console import Console

from miroir.cli.admin import Connection, reaching, table
from miroir.cli.operations import begun

DRY_RUN = click.option("--dry-run", is_flag=True, help="Only show what would be done.")
WAIT = click.option("--wait", is_flag=True, help="Follow it to its end.")


@click.group()
def nodes() -> None:
    """Nodes: add, list, weigh, drain, remove."""


@nodes.command("list")
@reaching
def list_nodes(connection: Connection) -> None:
    """All nodes and how many replicas each holds."""
    connection.show(connection.ask("GET", "/_miroir/nodes")["results"], _show_nodes)


@nodes.command("add")
@click.argument("name")
@click.argument("address")
@click.option("--group", type=int, default=0, show_default=True, help="Replica group.")
@click.option(
    "--weight", type=float, default=1.0, show_default=True, help="Shards it takes, relative to others."
)
@DRY_RUN
@WAIT
@reaching
def add_node(
    connection: Connection, name: str, address: str, group: int, weight: float, dry_run: bool, wait: bool
) -> None:
    """Add the node NAME at the base URL ADDRESS; its share of the shards moves to it."""
    body = {"id": name, "address": address, "replica_group": group, "weight": weight}
    begun(connection, connection.ask("POST", f"/_miroir/nodes{query(dry_run)}", body), wait=wait)


@nodes.command()
@click.argument("name")
@click.argument("weight", type=float)
@DRY_RUN
@WAIT
@reaching
def weigh(connection: Connection, name: str, weight: float, dry_run: bool, wait: bool) -> None:
    """Let the node NAME hold WEIGHT times as many shards as a node of weight 1."""
    path = f"/_miroir/nodes/{quote(name, safe='')}{query(dry_run)}"
    begun(connection, connection.ask("PATCH", path, {"weight": weight}), wait=wait)


@nodes.command()
@click.argument("name")
@DRY_RUN
@WAIT
@reaching
def drain(connection: Connection, name: str, dry_run: bool, wait: bool) -> None:
    """Move everything off the node NAME."""
    path = f"/_miroir/nodes/{quote(name, safe='')}/drain{query(dry_run)}"
    begun(connection, connection.ask("POST", path), wait=wait)


@nodes.command()
@click.argument("name")
@DRY_RUN
@WAIT
@reaching
def undrain(connection: Connection, name: str, dry_run: bool, wait: bool) -> None:
    """Let the node NAME take shards again."""
    path = f"/_miroir/nodes/{quote(name, safe='')}/undrain{query(dry_run)}"
    begun(connection, connection.ask("POST", path), wait=wait)


@nodes.command("remove")
@click.argument("name")
@click.option("--force", is_flag=True, help="Also when it holds replicas; never the last in-sync copy.")
@DRY_RUN
@WAIT
@reaching
def remove_node(connection: Connection, name: str, force: bool, dry_run: bool, wait: bool) -> None:
    """Let the node NAME go; drain it first."""
    path = f"/_miroir/nodes/{quote(name, safe='')}{query(dry_run, force=force)}"
    begun(connection, connection.ask("DELETE", path), wait=wait)


@click.group()
def groups() -> None:
    """Replica groups: independent sets of nodes, each holding everything."""


@groups.command("add")
@click.argument("number", type=int)
@click.argument("members", nargs=-1, required=True)
@DRY_RUN
@WAIT
@reaching
def add_group(
    connection: Connection, number: int, members: tuple[str, ...], dry_run: bool, wait: bool
) -> None:
    """Add the group NUMBER with nodes given as ID=ADDRESS."""
    listed = []
    for member in members:
        name, separator, address = member.partition("=")
        if not separator:
            raise click.BadParameter(f"{member}: expected ID=ADDRESS")
        listed.append({"id": name, "address": address})
    body = {"id": number, "nodes": listed}
    begun(connection, connection.ask("POST", f"/_miroir/replica_groups{query(dry_run)}", body), wait=wait)


@groups.command("remove")
@click.argument("number", type=int)
@DRY_RUN
@WAIT
@reaching
def remove_group(connection: Connection, number: int, dry_run: bool, wait: bool) -> None:
    """Remove the group NUMBER and its nodes."""
    path = f"/_miroir/replica_groups/{number}{query(dry_run)}"
    begun(connection, connection.ask("DELETE", path), wait=wait)


@click.command()
@DRY_RUN
@WAIT
@reaching
def rebalance(connection: Connection, dry_run: bool, wait: bool) -> None:
    """Bring every index to where it should stand."""
    begun(connection, connection.ask("POST", f"/_miroir/rebalance{query(dry_run)}"), wait=wait)


@click.command("replication-factor")
@click.argument("copies", type=int)
@DRY_RUN
@WAIT
@reaching
def replication_factor(connection: Connection, copies: int, dry_run: bool, wait: bool) -> None:
    """Keep COPIES of every shard in each group."""
    path = f"/_miroir/replication_factor{query(dry_run)}"
    begun(connection, connection.ask("PUT", path, {"replication_factor": copies}), wait=wait)


@click.command()
@WAIT
@reaching
def verify(connection: Connection, wait: bool) -> None:
    """Compare all replicas with each other; those that differ are rebuilt."""
    begun(connection, connection.ask("POST", "/_miroir/verify"), wait=wait)


def query(dry_run: bool, *, force: bool = False) -> str:
    """The query of a request that begins an operation."""
    wanted = [name for name, on in (("dry_run=true", dry_run), ("force=true", force)) if on]
    return f"?{'&'.join(wanted)}" if wanted else ""


def _show_nodes(found: list[dict[str, Any]], console: Console) -> None:
    rows = table("node", "group", "weight", "lifecycle", "health", "replicas")
    for node in found:
        health = "[green]live[/]" if node["live"] else "[red]down[/]"
        rows.add_row(
            node["id"],
            str(node["replica_group"]),
            f"{node['weight']:g}",
            node["lifecycle"],
            health,
            str(node["replicas"]),
        )
    console.print(rows)

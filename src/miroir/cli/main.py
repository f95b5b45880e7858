"""The command line: a local cluster and its processes here, the admin client in the modules beside."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import click

from miroir import __version__
from miroir.cli import demo as demo_command
from miroir.cli import doctor as doctor_commands
from miroir.cli import indexes as index_commands
from miroir.cli import nodes as nodes_commands
from miroir.cli import operations as operations_commands

_FOLDER = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)
_PORT = click.IntRange(1, 65535)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """One endpoint that speaks the Meilisearch API over a fleet of small nodes."""


@main.command()
@click.option("--nodes", type=click.IntRange(1, 32), help="Nodes in all.  [default: 3]")
@click.option("--replication-factor", type=click.IntRange(1), help="Copies in each group.  [default: 2]")
@click.option("--replica-groups", type=click.IntRange(1), help="Independent sets of nodes.  [default: 1]")
@click.option("--shards", type=click.IntRange(1, 2744), help="Shards of every index.  [default: 64]")
@click.option("--port", type=_PORT, default=7700, show_default=True, help="Port of the endpoint.")
@click.option(
    "--data", type=_FOLDER, default=Path(".miroir"), show_default=True, help="Folder of the cluster."
)
@click.option(
    "--engine",
    type=click.Choice(["auto", "embedded", "meilisearch"]),
    default="auto",
    show_default=True,
    help="What the nodes are; auto takes a real Meilisearch if there is one.",
)
@click.option(
    "--meilisearch", type=_FILE, help="The Meilisearch program (or MIROIR_MEILISEARCH, or on PATH)."
)
@click.option("--master-key", help="Key of clients; made and kept in the folder when not given.")
@click.option("--no-sample", is_flag=True, help="Do not load the sample data.")
@click.option("--supervise", is_flag=True, help="Start processes again that die.")
def demo(data: Path, *, no_sample: bool, **rest: object) -> None:
    """Run a whole cluster on this machine, with sample data, until Ctrl-C.

    Started again on the same folder it goes on with the data.
    """
    demo_command.run(demo_command.Wishes(data=data, load_sample=not no_sample, **rest), os.environ)  # type: ignore[arg-type]


@main.command()
@click.option("--config", "file", type=_FILE, help="Configuration file (YAML).")
@click.option("--host", help="Address to listen on (server.host).")
@click.option("--port", type=_PORT, help="Port to listen on (server.port).")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="logging.level")
def serve(file: Path | None, host: str | None, port: int | None, log_level: str | None) -> None:
    """Run the orchestrator."""
    from miroir.cli.serve import run

    overrides = {"server.host": host, "server.port": port, "logging.level": log_level}
    sys.exit(run(file, os.environ, overrides))


@main.command()
@click.option("--port", type=_PORT, required=True, help="Port to listen on.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--data", type=_FOLDER, required=True, help="Folder of the node's data.")
@click.option(
    "--master-key", envvar="MIROIR_NODE_MASTER_KEY", help="Key of the node; without one it is open."
)
@click.option(
    "--master-key-file", type=_FILE, help="File that holds the key, so that it shows in no process list."
)
@click.option("--import-dump", type=_FILE, help="Start from a Meilisearch dump; the folder must be empty.")
@click.option(
    "--access-log",
    is_flag=True,
    envvar="MIROIR_NODE_ACCESS_LOG",
    help="Print every request, with the filters and ids it names.",
)
def node(
    port: int,
    host: str,
    data: Path,
    master_key: str | None,
    master_key_file: Path | None,
    import_dump: Path | None,
    *,
    access_log: bool,
) -> None:
    """Run one embedded engine alone."""
    from miroir.cli.node import run

    sys.exit(run(host, port, data, master_key, master_key_file, import_dump, access_log=access_log))


@main.command()
@click.option("--url", help="The orchestrator.  [default: that of --data]")
@click.option("--admin-key", envvar="MIROIR_ADMIN_API_KEY", help="Admin key.  [default: that of --data]")
@click.option(
    "--data", type=_FOLDER, default=Path(".miroir"), show_default=True, help="Folder of a local cluster."
)
@click.option("--json", "as_json", is_flag=True, help="For programs: one JSON object.")
def status(url: str | None, admin_key: str | None, data: Path, *, as_json: bool) -> None:
    """Show nodes, shards, lanes and tasks. Exit status 1 when something cannot be read now."""
    from miroir.cli.status import run

    sys.exit(run(url, admin_key, data, as_json=as_json))


@main.group()
def dump() -> None:
    """Write a whole cluster into one file, or load such a file of any Meilisearch."""


def _reach(command: Callable[..., None]) -> Callable[..., None]:
    """Options that tell which server is meant."""
    for option in (
        click.option(
            "--data",
            type=_FOLDER,
            default=Path(".miroir"),
            show_default=True,
            help="Folder of a local cluster.",
        ),
        click.option("--master-key", envvar="MIROIR_MASTER_KEY", help="Its key.  [default: that of --data]"),
        click.option("--url", help="The server.  [default: that of --data]"),
    ):
        command = option(command)
    return command


@dump.command("create")
@_reach
def dump_create(url: str | None, master_key: str | None, data: Path) -> None:
    """Make a dump where the orchestrator keeps them, and print its name."""
    from miroir.cli.dump import run_create

    sys.exit(run_create(url, master_key, data))


@dump.command("import")
@click.argument("file", type=_FILE)
@_reach
def dump_import(file: Path, url: str | None, master_key: str | None, data: Path) -> None:
    """Load a dump into a running cluster: indexes, settings, documents, keys, webhooks, features.

    What is there already stays; documents of equal id are replaced.
    """
    from miroir.cli.dump import run_import

    sys.exit(run_import(file, url, master_key, data))


@main.command()
@click.option(
    "--nodes", type=click.IntRange(1, 16), default=3, show_default=True, help="Nodes of the cluster."
)
@click.option("--replication-factor", type=click.IntRange(1), default=1, show_default=True)
@click.option("--port", type=_PORT, default=7790, show_default=True, help="First port of the local cluster.")
@click.option(
    "--engine", type=click.Choice(["embedded", "meilisearch"]), default="embedded", show_default=True
)
@click.option("--meilisearch", type=_FILE, help="The Meilisearch program.")
@click.option(
    "--seconds", type=click.FloatRange(1.0, 60.0), default=6.0, show_default=True, help="Per measurement."
)
@click.option(
    "--move-documents",
    type=click.IntRange(0),
    default=50_000,
    show_default=True,
    help="Documents on the node that is emptied; 0 leaves that out.",
)
def bench(**wishes: object) -> None:
    """Measure a local cluster against one node, in one run, as ratios."""
    from miroir.cli.bench import Wishes, run

    run(Wishes(**wishes), os.environ)  # type: ignore[arg-type]


@main.command()
@click.argument("form", type=click.Choice(["example", "schema", "reference", "check"]))
@click.option("--config", "file", type=_FILE, help="Configuration file, for `check`.")
def config(form: str, file: Path | None) -> None:
    """Print an example file, the JSON Schema, the reference, or check a file and print what is in force."""
    from miroir.cli.pages import config_form

    click.echo(config_form(form, file, os.environ), nl=False)


for _command in (
    nodes_commands.nodes,
    nodes_commands.groups,
    nodes_commands.rebalance,
    nodes_commands.replication_factor,
    index_commands.reshard,
    index_commands.exact,
    nodes_commands.verify,
    operations_commands.operations,
    doctor_commands.doctor,
    doctor_commands.explain,
):
    main.add_command(_command)

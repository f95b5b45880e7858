"""`miroir node`: one embedded engine alone, until a signal."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import click

from miroir.engine.errors import EngineError
from miroir.engine.node import run_node


def run(
    host: str,
    port: int,
    data: Path,
    master_key: str | None,
    master_key_file: Path | None,
    import_dump: Path | None = None,
    *,
    access_log: bool = False,
) -> int:
    """Exit status: 0 stopped by a signal, 1 the data or the dump cannot be used."""
    key = read_key(master_key, master_key_file)
    # the HTTP server raises the signal it was stopped by once more; the data is still to be closed then
    signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        run_node(host, port, data, key, dump=import_dump, access_log=access_log)
    except EngineError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def read_key(given: str | None, file: Path | None) -> str | None:
    """The node's key: from the file when one is named, else as given; raises a usage error when it cannot be read."""
    if file is None:
        return given or None
    try:
        return file.read_text("utf-8").strip() or None
    except OSError as error:
        raise click.UsageError(f"--master-key-file: {error}") from error

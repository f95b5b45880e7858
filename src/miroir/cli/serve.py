"""`miroir serve`: the orchestrator, until a signal."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import uvloop

from miroir import bootstrap
from miroir.config import ConfigError, load
from miroir.ports.store import StoreError
from miroir.telemetry import logs


def run(file: Path | None, environ: Mapping[str, str], overrides: Mapping[str, Any]) -> int:
    """Exit status: 0 stopped by a signal, 1 the store cannot be used, 2 the configuration is wrong."""
    try:
        config = load(file, environ, overrides)
    except ConfigError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    logs.setup(level=config.logging.level, form=config.logging.format)
    try:
        uvloop.run(bootstrap.serve(config))
    except StoreError as error:
        print(f"store {config.task_store.path}: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0

"""Dumps."""

from pathlib import Path

from miroir.engine.running import Runner


async def write_dump(runner: Runner, path: Path) -> None:
    """Write a dump."""
    path.parent.mkdir(parents=True, exist_ok=True)

"""An orchestrator that dies by kill -9 right after a chosen durable write of an operation; only tests start it.

    python -m tests.support.mortal AFTER CONFIG

It is `miroir serve --config CONFIG` over a store that counts its transactions which change operations, copies or the
placement: once the AFTER-th is on disk nothing of the process happens any more.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from miroir import bootstrap
from miroir.adapters.store_sqlite import SqliteStore
from miroir.cli.serve import run
from miroir.ports.store import Key, Table, Tx
from tests.support.processes import RealCluster

T = TypeVar("T")

_COUNTED = frozenset({Table.OPERATIONS, Table.COPIES, Table.PLACEMENT})
_REPOSITORY = Path(__file__).parents[2]


class _Noting:
    """A transaction that notes whether it changes one of the tables that count."""

    def __init__(self, inner: Tx) -> None:
        self._inner = inner
        self.counts = False

    def put(self, table: Table, key: Key, value: bytes) -> None:
        self.counts = self.counts or table in _COUNTED
        self._inner.put(table, key, value)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class MortalStore(SqliteStore):
    """Dies after `left` more durable writes of operations."""

    left = 0

    async def transact(self, fn: Callable[[Tx], T]) -> T:
        noting: list[_Noting] = []

        def noted(tx: Tx) -> T:
            noting.append(_Noting(tx))
            return fn(noting[-1])  # type: ignore[arg-type]

        result = await super().transact(noted)
        MortalStore.left -= noting[-1].counts
        if noting[-1].counts and not MortalStore.left:
            os.kill(os.getpid(), signal.SIGKILL)
        return result


def start_mortal(cluster: RealCluster, after: int) -> subprocess.Popen[bytes]:
    """In the place of the cluster's orchestrator, which is killed."""
    cluster.kill("orchestrator")
    argv = cluster.description()["orchestrator"]["argv"]
    words = [argv[0], "-m", "tests.support.mortal", str(after), argv[argv.index("--config") + 1]]
    with (cluster.directory / "mortal.log").open("ab") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, cwd=_REPOSITORY)
    cluster.processes["orchestrator"] = process
    return process


if __name__ == "__main__":
    MortalStore.left = int(sys.argv[1])
    bootstrap.SqliteStore = MortalStore  # type: ignore[misc]
    sys.exit(run(Path(sys.argv[2]), os.environ, {}))

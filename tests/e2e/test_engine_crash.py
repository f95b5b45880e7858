"""A real node killed with -9 while it writes: what was acknowledged is done after the restart, exactly once."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

_START_S = 15.0
_SETTLE_S = 20.0
_KEY = "crash-test-key"


class _Node:
    """A node process on one data directory and port."""

    def __init__(self, data: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._command = [
            *(sys.executable, "-m", "miroir.engine.node", "--port", str(self.port)),
            *("--data", str(data), "--master-key", _KEY),
        ]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(self._command)
        wait_until(lambda: self.ask("GET", "/health") == {"status": "available"}, _START_S)

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """The JSON answer; None when nobody answered."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {_KEY}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return json.loads(answer.read() or b"null")
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return None


def wait_until(holds: Any, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "the state waited for never came"
        time.sleep(0.02)


@contextmanager
def _node(data: Path) -> Iterator[_Node]:
    node = _Node(data)
    node.start()
    try:
        yield node
    finally:
        if node.process is not None and node.process.poll() is None:
            node.kill()


def test_no_acknowledged_write_is_lost_by_kill_9(tmp_path: Path) -> None:
    seed = int(os.environ.get("MIROIR_SEED", "7"))
    chance = random.Random(seed)
    expected: dict[int, int] = {}
    acknowledged: list[int] = []
    with _node(tmp_path / "data") as node:
        for _ in range(3):
            for _ in range(chance.randint(3, 12)):
                ids = [chance.randrange(40) for _ in range(30)]
                version = chance.randrange(1_000_000)
                documents = [{"id": i, "version": version, "text": f"words of {i} " * 20} for i in ids]
                answer = node.ask("POST", "/indexes/crashes/documents?primaryKey=id", documents)
                assert answer is not None
                acknowledged.append(answer["taskUid"])
                expected.update(dict.fromkeys(ids, version))
            node.kill()
            node.start()
        queue_empty = "/tasks?statuses=enqueued,processing"
        wait_until(lambda: (node.ask("GET", queue_empty) or {}).get("total") == 0, _SETTLE_S)
        tasks = node.ask("GET", "/tasks?limit=1000")["results"]
        assert {task["uid"]: task["status"] for task in tasks} == dict.fromkeys(acknowledged, "succeeded")
        found = node.ask("GET", "/indexes/crashes/documents?limit=1000")["results"]
        assert {document["id"]: document["version"] for document in found} == expected, f"seed {seed}"
        assert len(found) == len(expected)
        hits = node.ask("POST", "/indexes/crashes/search", {"q": "words", "limit": 1000})["hits"]
        assert sorted(hit["id"] for hit in hits) == sorted(expected)


def test_two_processes_cannot_share_one_directory(tmp_path: Path) -> None:
    with _node(tmp_path / "data"):
        second = subprocess.run(
            [sys.executable, "-m", "miroir.engine.node", "--port", "0", "--data", str(tmp_path / "data")],
            capture_output=True,
            timeout=20,
            check=False,
        )
    assert second.returncode == 1
    assert b"cannot read the data" in second.stderr

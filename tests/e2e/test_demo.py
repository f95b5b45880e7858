"""`miroir demo` as a user meets it: real processes, a folder, signals."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from miroir.cli.client import CallError, Client, wait_until
from tests.support.processes import free_port_block

pytestmark = pytest.mark.slow

KEY = "a-master-key-of-the-demo"
WITHIN_S = 60.0


class Demo:
    """One running `miroir demo`; its output is collected in a file."""

    def __init__(self, folder: Path, port: int, *options: str) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{port}"
        self._output = folder.with_suffix(".txt")
        self._clients: list[Client] = []
        argv = [sys.executable, "-m", "miroir", "demo", "--data", str(folder), "--port", str(port)]
        with self._output.open("wb") as out:
            self.process = subprocess.Popen([*argv, *options], stdout=out, stderr=out)

    @property
    def output(self) -> str:
        return self._output.read_text()

    def wait_ready(self) -> None:
        def ready() -> bool:
            assert self.process.poll() is None, self.output
            return f"ready {self.url}" in self.output

        assert wait_until(ready, timeout_s=WITHIN_S), self.output

    def cluster(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "cluster.json").read_text()))

    def client(self, url: str | None = None, key: str = KEY) -> Client:
        """A client of the cluster, or of one node; closed when the demo is stopped."""
        self._clients.append(Client(url or self.url, key))
        return self._clients[-1]

    def stop(self, number: int = signal.SIGTERM) -> int:
        for client in self._clients:
            client.close()
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(WITHIN_S)


@contextmanager
def demo(folder: Path, port: int, *options: str) -> Iterator[Demo]:
    running = Demo(folder, port, "--master-key", KEY, "--engine", "embedded", *options)
    try:
        running.wait_ready()
        yield running
    finally:
        running.stop()


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def pids(cluster: dict[str, Any]) -> list[int]:
    return [cluster["orchestrator"]["pid"], *(node["pid"] for node in cluster["nodes"])]


def test_sample_data_survives_a_stop_and_a_second_start(tmp_path: Path) -> None:
    folder, port = tmp_path / "cluster", free_port_block(5)
    with demo(folder, port) as first:
        output, cluster = first.output, first.cluster()
        assert "engine: embedded" in output
        assert len(re.findall(r"^  curl .*/search ", output, re.M)) == 3
        client = first.client()
        hits = client.ask("POST", "/indexes/packages/search", {"q": "strategy gmae"})["hits"]
        stats = client.ask("GET", "/stats")["indexes"]
        assert {uid: index["numberOfDocuments"] for uid, index in stats.items()} == {
            "packages": 2000,
            "cities": 1000,
        }
        assert hits
        assert first.stop(signal.SIGINT) == 0
    assert not any(alive(pid) for pid in pids(cluster))
    with demo(folder, port) as second:
        assert "loaded" not in second.output
        again = second.client().ask("POST", "/indexes/packages/search", {"q": "strategy gmae"})["hits"]
        assert again == hits
        assert second.stop() == 0


def test_cluster_json_describes_every_process_and_is_private(tmp_path: Path) -> None:
    folder, port = tmp_path / "cluster", free_port_block(4)
    with demo(folder, port, "--no-sample", "--nodes", "2") as running:
        cluster = running.cluster()
        assert (folder / "cluster.json").stat().st_mode & 0o777 == 0o600
        assert set(cluster) == {"orchestrator", "nodes", "node_key", "admin_key"}
        assert set(cluster["orchestrator"]) == {"pid", "url", "argv"}
        assert [set(node) for node in cluster["nodes"]] == [{"id", "pid", "url", "argv", "engine"}] * 2
        assert all(alive(pid) for pid in pids(cluster))
        words = " ".join(
            word for entry in [cluster["orchestrator"], *cluster["nodes"]] for word in entry["argv"]
        )
        for secret in (KEY, cluster["node_key"], cluster["admin_key"]):
            assert secret not in words
        for node in cluster["nodes"]:
            assert running.client(node["url"], cluster["node_key"]).ask("GET", "/version")
        other = subprocess.run(
            [sys.executable, "-m", "miroir", "demo", "--data", str(folder), "--port", str(port)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert other.returncode == 1
        assert "already running" in other.stderr


def test_a_killed_process_stays_dead_until_its_argv_is_run_again(tmp_path: Path) -> None:
    folder, port = tmp_path / "cluster", free_port_block(4)
    with demo(folder, port, "--no-sample", "--nodes", "2") as running:
        entry = running.cluster()["orchestrator"]
        os.kill(entry["pid"], signal.SIGKILL)
        assert wait_until(lambda: "orchestrator ended with -9" in running.output, timeout_s=WITHIN_S)
        with pytest.raises(CallError):
            running.client().ask("GET", "/health")
        by_hand = subprocess.Popen(entry["argv"], stderr=subprocess.DEVNULL)
        assert wait_until(lambda: running.client().answers("/_miroir/ready"), timeout_s=WITHIN_S)
        assert running.cluster()["orchestrator"]["pid"] == entry["pid"]
        assert running.stop() == 0
        assert by_hand.wait(WITHIN_S) == 0, "stopping the demo stops what was started by hand, too"


def test_a_supervised_process_is_started_again(tmp_path: Path) -> None:
    folder, port = tmp_path / "cluster", free_port_block(4)
    with demo(folder, port, "--no-sample", "--nodes", "2", "--supervise") as running:
        before = running.cluster()["nodes"][0]
        os.kill(before["pid"], signal.SIGKILL)

        def replaced() -> bool:
            now = running.cluster()["nodes"][0]
            return bool(now["pid"] != before["pid"] and running.client(now["url"]).answers("/health"))

        assert wait_until(replaced, timeout_s=WITHIN_S)


def test_status_shows_nodes_as_a_table_and_as_json(tmp_path: Path) -> None:
    folder, port = tmp_path / "cluster", free_port_block(4)
    with demo(folder, port, "--no-sample", "--nodes", "2"):
        argv = [sys.executable, "-m", "miroir", "status", "--data", str(folder)]
        shown = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
        assert "node-1" in shown
        assert "all shards can be read" in shown
        topology = json.loads(subprocess.run([*argv, "--json"], capture_output=True, check=True).stdout)
        assert [node["id"] for node in topology["nodes"]] == ["node-1", "node-2"]
        assert topology["fully_covered"] is True

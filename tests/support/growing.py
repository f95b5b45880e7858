"""A real cluster that grows: one more node process, known to the harness like those the demo started."""

from __future__ import annotations

import json
import subprocess

import aiohttp

from tests.support.processes import RealCluster, eventually, free_port_block


async def start_node(cluster: RealCluster, name: str) -> str:
    """Start an empty node like the first one, that no cluster knows; returns its address."""
    path = cluster.directory / "cluster.json"
    description = json.loads(path.read_text())
    first = description["nodes"][0]
    port = free_port_block(1)
    address = f"http://127.0.0.1:{port}"
    old_port = first["url"].rpartition(":")[2]
    changed = {str(cluster.directory / first["id"]): str(cluster.directory / name), old_port: str(port)}
    argv = [_replaced(word, changed) for word in first["argv"]]
    description["nodes"].append({"id": name, "url": address, "pid": 0, "argv": argv})
    path.write_text(json.dumps(description))
    cluster.restart(name)

    async def healthy() -> bool:
        try:
            return (await cluster.ask_node(name, "GET", "/health"))[0] == 200
        except aiohttp.ClientError:
            return False

    await eventually(f"{name} answers", healthy)
    return address


def _replaced(word: str, changed: dict[str, str]) -> str:
    for old, new in changed.items():
        word = word.replace(old, new)
    return word


async def operation_end(cluster: RealCluster, number: int, *, within_s: float = 120.0) -> dict[str, object]:
    """An operation once it has ended."""

    async def ended() -> dict[str, object] | None:
        try:
            status, operation = await cluster.admin("GET", f"/_miroir/operations/{number}")
        except aiohttp.ClientError:
            return None
        return dict(operation) if status == 200 and operation["ended_at_ns"] else None

    return dict(await eventually(f"operation {number} ends", ended, within_s=within_s))


def stop_extra(processes: dict[str, subprocess.Popen[bytes]]) -> None:
    """Kill processes that a test started beside the demo's."""
    for process in processes.values():
        process.kill()
        process.wait()

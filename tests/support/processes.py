"""A real cluster of real processes for tests: started by `miroir demo`, killed with -9, restarted by argv."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson

MASTER_KEY = "a-master-key-for-tests"
EMBEDDED = ("--engine", "embedded")


def engines() -> list[tuple[str, ...]]:
    """Engine options of `miroir demo` to test with: ours, and a real Meilisearch where one is at hand."""
    real = os.environ.get("MIROIR_MEILISEARCH")
    return [EMBEDDED, ("--engine", "meilisearch", "--meilisearch", real)] if real else [EMBEDDED]


async def eventually(
    what: str, probe: Callable[[], Awaitable[Any]], *, within_s: float = 60.0, every_s: float = 0.05
) -> Any:
    """The first true value of `probe`, asked again and again until then; fails loudly after `within_s`."""
    loop = asyncio.get_running_loop()
    end = loop.time() + within_s
    last: Any = None
    while loop.time() < end:
        last = await probe()
        if last:
            return last
        await asyncio.sleep(every_s)
    raise AssertionError(f"not within {within_s} s: {what} (last seen: {last!r})")


def free_port_block(count: int) -> int:
    """The first of `count` neighbouring free TCP ports."""
    for first in range(17700 + (os.getpid() * 37) % 20000, 60000, count):
        try:
            with contextlib.ExitStack() as stack:
                for port in range(first, first + count):
                    probe = stack.enter_context(socket.socket())
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise AssertionError("no free ports")


def miroir_command() -> list[str]:
    """How to start our command line with this interpreter."""
    return [sys.executable, "-m", "miroir"]


@dataclass
class RealCluster:
    """One running demo cluster. `client` speaks to the orchestrator with the master key."""

    directory: Path
    url: str
    client: aiohttp.ClientSession
    demo: subprocess.Popen[bytes]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def description(self) -> dict[str, Any]:
        """cluster.json as it is now."""
        return dict(json.loads((self.directory / "cluster.json").read_text()))

    def node_ids(self) -> list[str]:
        return [node["id"] for node in self.description()["nodes"]]

    def kill(self, name: str) -> None:
        """kill -9 of one process: a node id, or `orchestrator`."""
        process = self.processes.get(name)
        if process is not None:
            process.kill()
            process.wait()
            return
        pid = self._entry(name)["pid"]
        os.kill(pid, signal.SIGKILL)

    async def limp(self, name: str, for_s: float, rng: random.Random) -> None:
        """The process is stopped for longer than a probe is waited for, then runs for a moment, again and again."""
        pid = self._entry(name)["pid"]
        end = asyncio.get_running_loop().time() + for_s
        try:
            while asyncio.get_running_loop().time() < end:
                os.kill(pid, signal.SIGSTOP)
                await asyncio.sleep(0.9 + rng.random())
                os.kill(pid, signal.SIGCONT)
                await asyncio.sleep(0.2 + rng.random() / 5)
        finally:
            os.kill(pid, signal.SIGCONT)

    def restart(self, name: str) -> None:
        """Start a killed process again with nothing but its argv."""
        log = (self.directory / f"restarted-{name}.log").open("ab")
        self.processes[name] = subprocess.Popen(self._entry(name)["argv"], stdout=log, stderr=log)
        log.close()

    def _entry(self, name: str) -> dict[str, Any]:
        description = self.description()
        if name == "orchestrator":
            return dict(description["orchestrator"])
        return dict(next(node for node in description["nodes"] if node["id"] == name))

    async def ask(self, method: str, path: str, body: Any = None, **params: Any) -> tuple[int, Any]:
        """Status and decoded body of one request to the orchestrator; raises aiohttp.ClientError."""
        data = None if body is None else orjson.dumps(body)
        headers = {} if body is None else {"Content-Type": "application/json"}
        async with self.client.request(
            method, self.url + path, data=data, headers=headers, params=params
        ) as answer:
            raw = await answer.read()
            return answer.status, orjson.loads(raw) if raw else None

    async def admin(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """One request to the admin API, with the admin key."""
        key = self.description()["admin_key"]
        data = None if body is None else orjson.dumps(body)
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        async with self.client.request(method, self.url + path, data=data, headers=headers) as answer:
            raw = await answer.read()
            return answer.status, orjson.loads(raw) if raw else None

    async def task(self, uid: int, *, within_s: float = 60.0) -> dict[str, Any]:
        """The task once it has ended, whatever its end."""

        async def ended() -> dict[str, Any] | None:
            try:
                status, task = await self.ask("GET", f"/tasks/{uid}")
            except aiohttp.ClientError:
                return None
            if status == 200 and task["status"] in ("succeeded", "failed", "canceled"):
                return dict(task)
            return None

        return dict(await eventually(f"task {uid} ends", ended, within_s=within_s))

    async def succeed(self, method: str, path: str, body: Any = None, **params: Any) -> dict[str, Any]:
        """A write that must be accepted and succeed; its task."""
        status, summary = await self.ask(method, path, body, **params)
        assert status in (200, 202), (status, summary)
        task = await self.task(summary["taskUid"])
        assert task["status"] == "succeeded", task
        return task

    async def ask_node(self, node: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """One request to a node itself, with the node key."""
        description = self.description()
        url = next(entry["url"] for entry in description["nodes"] if entry["id"] == node)
        headers = {"Authorization": f"Bearer {description['node_key']}", "Content-Type": "application/json"}
        data = None if body is None else orjson.dumps(body)
        async with self.client.request(method, url + path, data=data, headers=headers) as answer:
            raw = await answer.read()
            return answer.status, orjson.loads(raw) if raw else None

    async def caught_up(self, *, within_s: float = 60.0) -> dict[str, Any]:
        """The topology once every node is live and every replica in sync."""

        async def ready() -> dict[str, Any] | None:
            try:
                status, topology = await self.admin("GET", "/_miroir/topology")
            except aiohttp.ClientError:
                return None
            if status != 200 or not topology["fully_covered"]:
                return None
            fine = all(
                node["health"] == "live" and not node["lag_ops"] and not node["stale"] and not node["copying"]
                for node in topology["nodes"]
            )
            return dict(topology) if fine else None

        return dict(await eventually("every replica is in sync", ready, within_s=within_s))

    async def stop(self) -> None:
        """Stop everything: what was restarted here, then the demo and its children."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            await asyncio.to_thread(process.wait, 20)
        self.demo.send_signal(signal.SIGTERM)
        await asyncio.to_thread(self.demo.wait, 30)
        await self.client.close()


@contextlib.asynccontextmanager
async def real_cluster(directory: Path, *options: str, node_count: int = 3) -> AsyncIterator[RealCluster]:
    """A demo cluster without sample data on free ports, stopped at the end; `options` default to our engine."""
    port = free_port_block(node_count + 2)
    log = (directory / "demo.log").open("wb")
    demo = subprocess.Popen(  # noqa: ASYNC220  (the few ms of a start do not matter here)
        [*miroir_command(), "demo", "--port", str(port), "--data", str(directory / "cluster"), "--no-sample",
         "--nodes", str(node_count), "--master-key", MASTER_KEY, *(options or EMBEDDED)],
        stdout=log, stderr=log,
    )  # fmt: skip
    log.close()
    session = aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {MASTER_KEY}"}, timeout=aiohttp.ClientTimeout(total=40)
    )
    cluster = RealCluster(directory / "cluster", f"http://127.0.0.1:{port}", session, demo)
    try:

        async def ready() -> bool:
            assert demo.poll() is None, (directory / "demo.log").read_text()
            try:
                status, _ = await cluster.ask("GET", "/_miroir/ready")
            except aiohttp.ClientError:
                return False
            return status == 200

        await eventually("the cluster is ready", ready)
        yield cluster
    finally:
        await cluster.stop()

"""A whole cluster on this machine: one orchestrator and its nodes, every one a child process.

The parent only starts, watches and stops them; all state lies in the folder (`cluster_dir`). A child can be killed
and started again by anyone with nothing but its argv from `cluster.json`.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from miroir.cli import sample
from miroir.cli.children import Child, Program, Restarts, stop_strays
from miroir.cli.client import CallError, Client, wait_until
from miroir.cli.cluster_dir import ClusterDir, ClusterDirError, Engine, Keys, Shape
from miroir.config import Config, ConfigError, from_tree, to_tree

HOST = "127.0.0.1"
START_TIMEOUT_S = 90.0
STOP_GRACE_S = 20.0


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line asked for; None where it said nothing."""

    data: Path
    port: int
    nodes: int | None = None
    replication_factor: int | None = None
    replica_groups: int | None = None
    shards: int | None = None
    engine: str = "auto"
    meilisearch: Path | None = None
    master_key: str | None = None
    load_sample: bool = True
    supervise: bool = False


class DemoError(click.ClickException):
    """The cluster cannot be started; the message says why."""


def run(wishes: Wishes, environ: Mapping[str, str]) -> None:
    """Start the cluster, serve until SIGINT or SIGTERM, stop it."""
    folder = ClusterDir(wishes.data)
    try:
        folder.prepare()
        with _only_one(folder):
            _run(folder, wishes, environ)
    except (ClusterDirError, ConfigError, CallError) as error:
        raise DemoError(str(error)) from error


def _run(folder: ClusterDir, wishes: Wishes, environ: Mapping[str, str]) -> None:
    binary = find_meilisearch(wishes, environ)
    stored = folder.shape()
    shape = decide_shape(wishes, stored, binary)
    keys = folder.keys(wishes.master_key)
    config = configuration(folder, shape, keys, wishes.port)
    folder.keep_shape(shape)
    folder.write_yaml("orchestrator.yaml", to_tree(config, reveal=True))
    programs = node_programs(folder, shape, keys, binary)
    orchestrator = Program(
        name="orchestrator",
        url=f"http://{HOST}:{wishes.port}",
        argv=(sys.executable, "-m", "miroir", "serve", "--config", str(folder.path("orchestrator.yaml"))),
        log=folder.path("logs", "orchestrator.log"),
    )
    _say(f"engine: {_engine_line(shape, binary)}")
    with _running(folder, (*programs, orchestrator), shape, keys) as children:
        client = Client(orchestrator.url, keys.master_key, timeout_s=60.0)
        if wishes.load_sample:
            _load_sample(folder, client)
        _welcome(orchestrator.url, keys, folder, with_sample=wishes.load_sample)
        _watch(folder, children, shape, keys, supervise=wishes.supervise)


def decide_shape(wishes: Wishes, stored: Shape | None, binary: Path | None) -> Shape:
    """The shape of a new cluster, or the stored one if the wishes agree with it; raises ClusterDirError."""
    engine: Engine = "meilisearch" if binary else "embedded"
    if stored is None:
        nodes = wishes.nodes or 3
        return Shape(
            nodes=nodes,
            replication_factor=wishes.replication_factor or min(2, nodes),
            replica_groups=wishes.replica_groups or 1,
            shards=wishes.shards or 64,
            engine=engine,
            node_ports=_free_ports(wishes.port, nodes),
        )
    asked = {
        "nodes": wishes.nodes,
        "replication_factor": wishes.replication_factor,
        "replica_groups": wishes.replica_groups,
        "shards": wishes.shards,
        "engine": None if wishes.engine == "auto" else wishes.engine,
    }
    for name, value in asked.items():
        if value is not None and value != getattr(stored, name):
            raise ClusterDirError(
                f"{name.replace('_', ' ')} of the cluster in {wishes.data} is {getattr(stored, name)}, not {value}; "
                "take another folder with --data"
            )
    if stored.engine == "meilisearch" and binary is None:
        raise ClusterDirError(
            f"the nodes in {wishes.data} are Meilisearch's; name the program with --meilisearch"
        )
    return stored


def configuration(folder: ClusterDir, shape: Shape, keys: Keys, port: int) -> Config:
    """The orchestrator's configuration; raises ConfigError when the wishes contradict each other."""
    return from_tree(
        {
            "master_key": keys.master_key,
            "node_master_key": keys.node_key,
            "admin_api_key": keys.admin_key,
            "server": {"host": HOST, "port": port},
            "nodes": [
                {
                    "id": f"node-{number}",
                    "address": f"http://{HOST}:{node_port}",
                    "replica_group": (number - 1) * shape.replica_groups // shape.nodes,
                }
                for number, node_port in enumerate(shape.node_ports, start=1)
            ],
            "shards": shape.shards,
            "replication_factor": shape.replication_factor,
            "replica_groups": shape.replica_groups,
            "task_store": {"path": str(folder.path("miroir.db"))},
            # on one machine a node that died is refused at once: notice it quickly
            "health": {"interval_ms": 500, "timeout_ms": 450},
        }
    )


def node_programs(folder: ClusterDir, shape: Shape, keys: Keys, binary: Path | None) -> tuple[Program, ...]:
    """The nodes' programs; writes the files that hold their key."""
    folder.write_text("node.key", keys.node_key)
    folder.write_text("node.toml", f'master_key = "{keys.node_key}"\n')
    programs = []
    for number, port in enumerate(shape.node_ports, start=1):
        name = f"node-{number}"
        data = folder.path(name)
        if shape.engine == "embedded":
            argv = embedded_argv(port, data, folder.path("node.key"))
        else:
            argv = meilisearch_argv(str(binary), port, data, folder.path("node.toml"))
        log = folder.path("logs", f"{name}.log")
        programs.append(Program(name=name, url=f"http://{HOST}:{port}", argv=argv, log=log))
    return tuple(programs)


def embedded_argv(port: int, data: Path, key_file: Path) -> tuple[str, ...]:
    return (
        *(sys.executable, "-m", "miroir", "node", "--port", str(port), "--data", str(data)),
        *("--master-key-file", str(key_file)),
    )


def meilisearch_argv(binary: str, port: int, data: Path, key_file: Path) -> tuple[str, ...]:
    # an indexing budget of 100 MiB makes one small task take 0.1 s instead of 0.7 s
    return (
        *(binary, "--http-addr", f"{HOST}:{port}", "--db-path", str(data / "data.ms")),
        *("--dump-dir", str(data / "dumps"), "--snapshot-dir", str(data / "snapshots")),
        *("--config-file-path", str(key_file)),
        *("--no-analytics", "--max-indexing-memory", "100MiB"),
    )


@contextmanager
def _running(
    folder: ClusterDir, programs: tuple[Program, ...], shape: Shape, keys: Keys
) -> Iterator[list[Child]]:
    """The programs as running children, nodes first; stopped in the opposite order, whatever happens."""
    argvs = [program.argv for program in programs]
    if left := stop_strays(argvs, grace_s=STOP_GRACE_S):
        _say(f"stopped {len(left)} processes left from an earlier run")
    children: list[Child] = []
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # SIGINT too: a shell's background job starts with it ignored
        signal.signal(number, signal.default_int_handler)
    try:
        for program in programs:
            if _listening(program.url):
                raise DemoError(
                    f"{program.name}: something else is listening on {program.url}; choose another --port"
                )
            folder.path(program.name).mkdir(exist_ok=True) if program.name != "orchestrator" else None
            children.append(Child(program))
        _write_cluster(folder, children, shape, keys)
        for child in children:
            _await_start(child, "/_miroir/ready" if child.program.name == "orchestrator" else "/health")
        yield children
    except KeyboardInterrupt:
        _say("stopping ...")
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        for child in reversed(children):
            child.stop(grace_s=STOP_GRACE_S)
        stop_strays(argvs, grace_s=STOP_GRACE_S)
        _say("stopped")


def _await_start(child: Child, path: str) -> None:
    probe = Client(child.program.url, timeout_s=2.0)
    wait_until(
        lambda: child.exit_code() is not None or probe.answers(path), timeout_s=START_TIMEOUT_S, pause_s=0.05
    )
    if not probe.answers(path):
        raise DemoError(f"{child.program.name} did not start; its log ends:\n{child.last_words()}")


def _watch(folder: ClusterDir, children: list[Child], shape: Shape, keys: Keys, *, supervise: bool) -> None:
    """Say when a child dies; start it again if asked to. Ends by a signal only."""
    restarts = Restarts()
    known_dead: set[str] = set()
    while True:
        for child in children:
            name, code = child.program.name, child.exit_code()
            if code is None:
                continue
            if name not in known_dead:
                _say(f"{name} ended with {code}")
                known_dead.add(name)
            if supervise and restarts.due(name):
                child.start()
                known_dead.discard(name)
                _write_cluster(folder, children, shape, keys)
                _say(f"{name} started again, pid {child.pid}")
        time.sleep(0.2)


def _write_cluster(folder: ClusterDir, children: list[Child], shape: Shape, keys: Keys) -> None:
    def entry(child: Child) -> dict[str, Any]:
        return {"pid": child.pid, "url": child.program.url, "argv": list(child.program.argv)}

    folder.write_json(
        "cluster.json",
        {
            "orchestrator": next(entry(c) for c in children if c.program.name == "orchestrator"),
            "nodes": [
                {"id": c.program.name, **entry(c), "engine": shape.engine}
                for c in children
                if c.program.name != "orchestrator"
            ],
            "node_key": keys.node_key,
            "admin_key": keys.admin_key,
        },
    )


def _load_sample(folder: ClusterDir, client: Client) -> None:
    if folder.path("sample.json").exists():
        return  # once only: what the user did with it since is his
    folder.write_json("sample.json", {"documents": sample.load(client)})


def _welcome(url: str, keys: Keys, folder: ClusterDir, *, with_sample: bool) -> None:
    key_file = _shown(folder.path("keys.json"))
    _say(
        f"keys: {key_file}   processes: {_shown(folder.path('cluster.json'))}   logs: {_shown(folder.path('logs'))}"
    )
    _say(f"ready {url}")
    if not with_sample:
        return
    _say("\nTry:\n")
    _say(f"  KEY={keys.master_key}")
    for path, body in EXAMPLES:
        _say(
            f"  curl -s {url}{path} -H \"Authorization: Bearer $KEY\" -H 'Content-Type: application/json' -d '{body}'"
        )
    _say("\nCtrl-C stops everything; the data stays.")


EXAMPLES = (
    (
        "/indexes/packages/search",
        '{"q":"real-time strategy gmae","attributesToRetrieve":["name"],"attributesToHighlight":["summary"],"limit":3}',
    ),
    (
        "/indexes/packages/search",
        '{"q":"database","filter":"installed_size < 1000","facets":["section"],"attributesToRetrieve":["name"],"limit":3}',
    ),
    (
        "/indexes/cities/search",
        '{"sort":["_geoPoint(48.85,2.35):asc"],"filter":"population > 500000","attributesToRetrieve":["name"],"limit":3}',
    ),
)


def find_meilisearch(wishes: Wishes, environ: Mapping[str, str]) -> Path | None:
    """The real Meilisearch to use, None for the embedded engine; raises ClusterDirError when a named one is missing."""
    if wishes.engine == "embedded":
        return None
    named = wishes.meilisearch or environ.get("MIROIR_MEILISEARCH")
    found = str(named) if named else shutil.which("meilisearch", path=environ.get("PATH"))
    if found is None:
        if wishes.engine == "meilisearch":
            raise ClusterDirError("no meilisearch found: name it with --meilisearch or MIROIR_MEILISEARCH")
        return None
    if not os.access(found, os.X_OK) or not Path(found).is_file():
        raise ClusterDirError(f"{found} is not a program")
    return Path(found).resolve()


def _engine_line(shape: Shape, binary: Path | None) -> str:
    if shape.engine == "embedded":
        return f"embedded ({shape.nodes} nodes; for development and tests)"
    assert binary is not None
    version = subprocess.run(
        [str(binary), "--version"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return f"{version or 'meilisearch'} at {binary} ({shape.nodes} nodes)"


def _free_ports(first: int, count: int) -> tuple[int, ...]:
    """Ports for the nodes: those after the orchestrator's where free, else any free ones."""
    ports: list[int] = []
    for wanted in range(first + 1, first + 1 + count):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, wanted))
            except (OSError, OverflowError):
                probe.bind((HOST, 0))
            ports.append(probe.getsockname()[1])
    return tuple(ports)


def _listening(url: str) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, int(url.rsplit(":", 1)[1]))) == 0


@contextmanager
def _only_one(folder: ClusterDir) -> Iterator[None]:
    """At most one demo per folder; raises DemoError when there is one already."""
    with folder.path("lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DemoError(f"a cluster is already running in {folder.root}") from None
        yield


def _shown(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def _say(text: str) -> None:
    click.echo(text)
    sys.stdout.flush()

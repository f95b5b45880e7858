"""The folder of a local cluster: what lies where, and who may read it.

DIR/demo.json           shape of the cluster, fixed by the first start
DIR/keys.json           master, node and admin key            (0600)
DIR/orchestrator.yaml   configuration with the keys           (0600)
DIR/node.key            the node key alone, for nodes         (0600)
DIR/node.toml           the same for a real Meilisearch       (0600)
DIR/cluster.json        the running processes                 (0600)
DIR/miroir.db           the orchestrator's store
DIR/node-N/             data of a node
DIR/logs/               standard error of every process
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from miroir.errors import MiroirError

Engine = Literal["embedded", "meilisearch"]


class ClusterDirError(MiroirError):
    """The folder belongs to another cluster, or cannot be used."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What cannot change between two starts."""

    nodes: int
    replication_factor: int
    replica_groups: int
    shards: int
    engine: Engine
    node_ports: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Keys:
    """The three keys; never printed."""

    master_key: str
    node_key: str
    admin_key: str

    def __repr__(self) -> str:
        return "Keys(********)"


class ClusterDir:
    """The files of one local cluster."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def prepare(self) -> None:
        """Make the folder and its logs folder; raises ClusterDirError."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self.path("logs").mkdir(exist_ok=True)
        except OSError as error:
            raise ClusterDirError(f"{self.root} cannot be used: {error}") from error

    def path(self, *names: str) -> Path:
        """A file or folder inside."""
        return self.root.joinpath(*names)

    def shape(self) -> Shape | None:
        """The stored shape, None before the first start."""
        stored = self._read("demo.json")
        if stored is None:
            return None
        try:
            return Shape(**{**stored, "node_ports": tuple(stored["node_ports"])})
        except (TypeError, KeyError) as error:
            raise ClusterDirError(f"{self.path('demo.json')} is not one of ours: {error}") from error

    def keep_shape(self, shape: Shape) -> None:
        """Store the shape."""
        self.write_json("demo.json", asdict(shape))

    def keys(self, master_key: str | None) -> Keys:
        """The stored keys; made and stored on the first start. A given master key replaces the stored one."""
        stored = self._read("keys.json") or {}
        keys = Keys(
            master_key=master_key or stored.get("master_key") or secrets.token_urlsafe(24),
            node_key=stored.get("node_key") or secrets.token_urlsafe(24),
            admin_key=stored.get("admin_key") or secrets.token_urlsafe(24),
        )
        self.write_json(
            "keys.json", {name: getattr(keys, name) for name in ("master_key", "node_key", "admin_key")}
        )
        return keys

    def write_json(self, name: str, value: Any) -> None:
        """Store a JSON file that only its owner may read, in one step."""
        self.write_text(name, json.dumps(value, indent=2) + "\n")

    def write_yaml(self, name: str, value: Any) -> None:
        """The same in YAML."""
        self.write_text(name, yaml.safe_dump(value, sort_keys=False, allow_unicode=True))

    def write_text(self, name: str, text: str) -> None:
        """Store a text file that only its owner may read, in one step."""
        target = self.path(name)
        fresh = target.with_name(target.name + ".new")
        fresh.unlink(missing_ok=True)
        with os.fdopen(
            os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
        ) as file:
            file.write(text)
        fresh.replace(target)

    def cluster(self) -> dict[str, Any] | None:
        """What runs, as of the last start; None when nothing was ever started."""
        return self._read("cluster.json")

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            value = json.loads(self.path(name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise ClusterDirError(f"{self.path(name)} cannot be read: {error}") from error
        if not isinstance(value, dict):
            raise ClusterDirError(f"{self.path(name)} is not one of ours")
        return value

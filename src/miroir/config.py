"""The configuration: one frozen, typed tree, and the only code that reads a file or the environment for it.

Order, the later wins: defaults < YAML file < environment (`MIROIR__SECTION__FIELD`, and the secrets under their
own names) < command line. Unknown keys are refused with their path; relations between fields are checked once,
after loading. Units stand at the end of names. The reference page, the JSON Schema and the example file are made
from this module (`miroir config`), and a test fails when they differ.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
import yaml

from miroir.errors import MiroirError

ENV_PREFIX = "MIROIR__"
#: secrets have names of their own in the environment
SECRET_VARIABLES = {
    "MIROIR_MASTER_KEY": "master_key",
    "MIROIR_NODE_MASTER_KEY": "node_master_key",
    "MIROIR_ADMIN_API_KEY": "admin_api_key",
}


class ConfigError(MiroirError):
    """The configuration cannot be used: where in the tree, what was found, what is allowed."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"configuration: {path or 'the file'}: {problem}")
        self.path = path
        self.problem = problem


class Secret:
    """A string that never prints itself; `reveal()` is the only way out."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('********')"

    def __str__(self) -> str:
        return "********"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


def _about(text: str, **limits: Any) -> msgspec.Meta:
    return msgspec.Meta(description=text, **limits)


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the tree: immutable, and strict about its keys."""


class ServerConfig(_Section, frozen=True):
    """The endpoint that clients talk to."""

    host: Annotated[str, _about("address to listen on")] = "127.0.0.1"
    port: Annotated[int, _about("port to listen on", ge=1, le=65535)] = 7700
    max_body_bytes: Annotated[int, _about("largest request body, after decompression", ge=1)] = 100_000_000
    large_bodies_bytes_max: Annotated[
        int, _about("bytes of bodies above 1 MiB in memory at once, all requests; above it 503", ge=1)
    ] = 300_000_000
    max_concurrent_requests: Annotated[int, _about("requests in flight; above it 503 at once", ge=1)] = 500
    request_timeout_ms: Annotated[int, _about("deadline of one client request", ge=1)] = 30_000
    shutdown_grace_ms: Annotated[int, _about("time that requests in flight get when stopping", ge=0)] = 10_000


class NodeConfig(_Section, frozen=True):
    """One Meilisearch node."""

    id: Annotated[str, _about("unique name, never reused", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    address: Annotated[
        str, _about("base URL, for example http://10.0.0.1:7700", pattern=r"^https?://[^/]+/?$")
    ]
    replica_group: Annotated[int, _about("the group this node belongs to, from 0", ge=0)] = 0
    weight: Annotated[
        Annotated[float, msgspec.Meta(gt=0)] | None,
        _about("shards it takes, relative to others; unset: as it was, first 1"),
    ] = None


class HealthConfig(_Section, frozen=True):
    """Probing of nodes, with hysteresis."""

    interval_ms: Annotated[int, _about("time between two probes of a node", ge=1)] = 1_000
    timeout_ms: Annotated[int, _about("answers after this are late: other nodes are preferred", ge=1)] = 800
    patience_ms: Annotated[int, _about("a probe without any answer by then: the node is down", ge=1)] = 10_000
    suspect_ms: Annotated[int, _about("a node that went down is tried so long, as the last", ge=0)] = 30_000
    unhealthy_threshold: Annotated[int, _about("failures in a row until a node counts as down", ge=1)] = 3
    recovery_threshold: Annotated[int, _about("successes in a row until it counts as up again", ge=1)] = 2


class ScatterConfig(_Section, frozen=True):
    """Fanning a read out to nodes; its deadline is server.request_timeout_ms."""

    replica_rounds: Annotated[
        int, _about("rounds of one read: the first, and others at replicas of what failed", ge=1)
    ] = 3
    parallel_queries: Annotated[int, _about("queries of one multi-search that run at once", ge=1)] = 8
    late_ms: Annotated[int, _about("a node without an answer by then: another is asked, too", ge=1)] = 1_000
    wait_ms: Annotated[int, _about("reads wait so long for a replica that may be back soon", ge=0)] = 5_000


class SearchConfig(_Section, frozen=True):
    """How searches are answered."""

    exact: Annotated[
        bool,
        _about("new indexes are exact: every node knows all their words (docs/exact.md)"),
    ] = False


class ConnectionConfig(_Section, frozen=True):
    """HTTP connections to each node."""

    max_total: Annotated[int, _about("connections to one node; more requests wait", ge=1)] = 128


class WritesConfig(_Section, frozen=True):
    """Acceptance and delivery of writes."""

    min_in_sync_replicas: Annotated[
        int, _about("live in-sync replicas each touched shard needs, else 503 miroir_no_quorum", ge=1)
    ] = 1
    write_quorum: Annotated[
        Literal["in_sync", "majority"],
        _about(
            "`in_sync`: the rule above alone; `majority`: also floor(RF/2)+1 replicas in at least one group"
        ),
    ] = "in_sync"
    node_request_timeout_ms: Annotated[int, _about("deadline of handing one batch to a node", ge=1)] = 60_000
    batch_bytes_max: Annotated[int, _about("neighbouring writes merge up to this size", ge=1)] = 16_777_216
    batch_documents_max: Annotated[int, _about("... and up to this many documents", ge=1)] = 10_000
    batch_window: Annotated[int, _about("node requests of one lane that may be unfinished at once", ge=1)] = 8
    batch_memory_bytes_max: Annotated[
        int, _about("node request bodies kept in memory, all lanes together", ge=1)
    ] = 268_435_456
    lag_after_s: Annotated[
        float, _about("a live node that takes no write for so long stops holding up tasks", gt=0)
    ] = 30.0
    pending_ops_max: Annotated[int, _about("accepted, unfinished writes; above it 503", ge=1)] = 50_000


class RetentionConfig(_Section, frozen=True):
    """How long the op log, the task list and idempotency keys are kept."""

    log_bytes_max: Annotated[
        int,
        _about("payload bytes kept for lanes that are behind; a lane further behind is marked stale", ge=1),
    ] = 2_147_483_648
    log_age_s: Annotated[float, _about("... and their age", gt=0)] = 86_400.0
    keep_done_s: Annotated[
        float, _about("payloads of finished writes are kept so long, for replays after late duplicates", ge=0)
    ] = 60.0
    tasks_max: Annotated[int, _about("tasks kept; the oldest finished ones go first", ge=1)] = 1_000_000
    idempotency_s: Annotated[float, _about("an Idempotency-Key is remembered so long", gt=0)] = 86_400.0


class RebalancerConfig(_Section, frozen=True):
    """Moving data between nodes."""

    max_concurrent_copies: Annotated[int, _about("copies between nodes that run at once", ge=1)] = 2
    shards_per_copy: Annotated[int, _about("shards of one index that move together", ge=1)] = 8
    documents_per_s: Annotated[float, _about("bound of each copy; 0: none", ge=0)] = 0.0
    bytes_per_s: Annotated[float, _about("bound of each copy; 0: none", ge=0)] = 0.0
    page_documents: Annotated[int, _about("documents read and written at once", ge=1)] = 1_000
    page_bytes: Annotated[int, _about("... and their size", ge=1)] = 8_388_608
    back_off_ms: Annotated[float, _about("a source that answers slower gets pauses", gt=0)] = 500.0
    grace_s: Annotated[float, _about("a node that is down for longer is replaced", gt=0)] = 900.0
    barrier_s: Annotated[float, _about("longest wait of writes for a copy's switch", gt=0)] = 5.0
    attempts_max: Annotated[int, _about("attempts until a copy that differs is given up", ge=1)] = 10
    reshard_retention_s: Annotated[float, _about("the layout before a reshard is kept", ge=0)] = 86_400
    scrub_interval_s: Annotated[
        float, _about("all replicas are compared with each other so often; 0: only when asked", ge=0)
    ] = 86_400.0
    scrub_documents_per_s: Annotated[float, _about("read of a replica for that; 0: no bound", ge=0)] = 500.0


class TaskStoreConfig(_Section, frozen=True):
    """Where the op log, placement, tasks and keys are kept."""

    backend: Annotated[Literal["sqlite"], _about("kind of store")] = "sqlite"
    path: Annotated[str, _about("file of the sqlite store; its folder is created", min_length=1)] = (
        "miroir.db"
    )
    dumps: Annotated[str | None, _about("folder of dumps; without it `dumps` beside the store")] = None


class LoggingConfig(_Section, frozen=True):
    """What is logged and how."""

    level: Annotated[Literal["debug", "info", "warning", "error"], _about("least level that is logged")] = (
        "info"
    )
    format: Annotated[
        Literal["auto", "json", "console"], _about("`auto`: console on a terminal, JSON lines otherwise")
    ] = "auto"


class Config(_Section, frozen=True):
    """Everything the orchestrator is told."""

    master_key: Annotated[
        Secret | None, _about("key of clients (environment: MIROIR_MASTER_KEY); without one the API is open")
    ] = None
    node_master_key: Annotated[
        Secret | None, _about("key the orchestrator uses towards nodes (environment: MIROIR_NODE_MASTER_KEY)")
    ] = None
    admin_api_key: Annotated[
        Secret | None,
        _about("key of the /_miroir routes (environment: MIROIR_ADMIN_API_KEY); without one they answer 403"),
    ] = None
    server: Annotated[ServerConfig, _about("the endpoint that clients talk to")] = ServerConfig()
    nodes: Annotated[tuple[NodeConfig, ...], _about("the Meilisearch nodes", min_length=1)] = (
        NodeConfig(id="node-1", address="http://127.0.0.1:7701"),
    )
    shards: Annotated[int, _about("shards of a new index; fixed for its life", ge=1, le=2744)] = 64
    replication_factor: Annotated[int, _about("copies of every shard in each replica group", ge=1)] = 1
    replica_groups: Annotated[int, _about("independent sets of nodes, each holding everything", ge=1)] = 1
    health: Annotated[HealthConfig, _about("probing of nodes")] = HealthConfig()
    scatter: Annotated[ScatterConfig, _about("fanning out reads")] = ScatterConfig()
    connection_pool_per_node: Annotated[ConnectionConfig, _about("connections to each node")] = (
        ConnectionConfig()
    )
    search: Annotated[SearchConfig, _about("how searches are answered")] = SearchConfig()
    writes: Annotated[WritesConfig, _about("acceptance and delivery of writes")] = WritesConfig()
    retention: Annotated[RetentionConfig, _about("bounds of the op log and the task list")] = (
        RetentionConfig()
    )
    rebalancer: Annotated[RebalancerConfig, _about("moving data between nodes")] = RebalancerConfig()
    task_store: Annotated[TaskStoreConfig, _about("durable state of the orchestrator")] = TaskStoreConfig()
    logging: Annotated[LoggingConfig, _about("logs")] = LoggingConfig()


def load(path: Path | None, environ: Mapping[str, str], overrides: Mapping[str, Any] | None = None) -> Config:
    """Read the configuration.

    Args:
        path: YAML file; None for none.
        environ: the environment, usually `os.environ`.
        overrides: dotted path -> value, from the command line; None values are skipped.

    Raises:
        ConfigError: unreadable, unknown key, wrong type, or fields that contradict each other.
    """
    tree = _read(path) if path else {}
    for name, value in environ.items():
        if target := _variable_target(name):
            _put(tree, target, _from_text(target, value))
    for dotted, value in (overrides or {}).items():
        if value is not None:
            _put(tree, tuple(dotted.split(".")), value)
    return from_tree(tree)


def from_tree(tree: Mapping[str, Any]) -> Config:
    """Check a plain tree (of YAML or JSON values) and make it a `Config`; raises ConfigError."""
    _refuse_unknown(tree, Config, "")
    try:
        config = msgspec.convert(tree, Config, dec_hook=_decode_secret)
    except msgspec.ValidationError as error:
        problem, _, where = str(error).partition(" - at `$")
        raise ConfigError(where.rstrip("`").lstrip("."), problem) from error
    check(config)
    return config


def check(config: Config) -> None:
    """Check what holds between fields; raises ConfigError."""
    seen: set[str] = set()
    addresses: set[str] = set()
    for position, node in enumerate(config.nodes):
        if node.id in seen:
            raise ConfigError(f"nodes[{position}].id", f"`{node.id}` is used twice; node ids are unique")
        address = node.address.rstrip("/")
        if address in addresses:
            raise ConfigError(f"nodes[{position}].address", f"`{address}` is used twice")
        seen.add(node.id)
        addresses.add(address)
        if node.replica_group >= config.replica_groups:
            allowed = (
                f"replica_groups is {config.replica_groups}, so groups are 0 to {config.replica_groups - 1}"
            )
            raise ConfigError(
                f"nodes[{position}].replica_group", f"{node.replica_group} is no group: {allowed}"
            )
    for group in range(config.replica_groups):
        size = sum(node.replica_group == group for node in config.nodes)
        if size < config.replication_factor:
            raise ConfigError(
                "replication_factor",
                f"{config.replication_factor} copies need as many nodes in every group, group {group} has {size}",
            )
    copies = config.replication_factor * config.replica_groups
    if config.writes.min_in_sync_replicas > copies:
        raise ConfigError("writes.min_in_sync_replicas", f"more than the {copies} replicas a shard has")
    if config.server.large_bodies_bytes_max < config.server.max_body_bytes:
        raise ConfigError("server.large_bodies_bytes_max", "must not be below server.max_body_bytes")
    if config.health.timeout_ms >= config.health.interval_ms:
        raise ConfigError("health.timeout_ms", "must be below health.interval_ms")
    if config.retention.keep_done_s > config.retention.log_age_s:
        raise ConfigError("retention.keep_done_s", "must not exceed retention.log_age_s")
    if config.writes.batch_bytes_max > config.writes.batch_memory_bytes_max:
        raise ConfigError("writes.batch_bytes_max", "must not exceed writes.batch_memory_bytes_max")


def to_tree(config: Config, *, reveal: bool = False) -> dict[str, Any]:
    """The tree as plain values, in the order of the fields; secrets as stars unless `reveal`."""
    hook = Secret.reveal if reveal else str
    plain = msgspec.to_builtins(config, enc_hook=hook)
    assert isinstance(plain, dict)
    return plain


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the file."""
    return msgspec.json.schema(Config, schema_hook=lambda _: {"type": "string", "writeOnly": True})


def _read(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("", f"cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError("", f"is not YAML: {error}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError("", "must hold a mapping")
    return tree


def _variable_target(name: str) -> tuple[str, ...] | None:
    if name in SECRET_VARIABLES:
        return (SECRET_VARIABLES[name],)
    if name.startswith(ENV_PREFIX):
        return tuple(name.removeprefix(ENV_PREFIX).lower().split("__"))
    return None


def _from_text(target: tuple[str, ...], text: str) -> Any:
    """A value of the environment: as it is for text fields, as YAML for all others."""
    kind: Any = Config
    for key in target:
        kind = section_fields(kind).get(key) if _is_section(kind) else None
    if kind is str or kind is Secret or get_origin(kind) is Literal:
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(".".join(target), "the environment variable is not a YAML value") from error


def _put(tree: dict[str, Any], target: tuple[str, ...], value: Any) -> None:
    for depth, key in enumerate(target[:-1]):
        below = tree.setdefault(key, {})
        if not isinstance(below, dict):
            raise ConfigError(".".join(target[: depth + 1]), "must be a mapping")
        tree = below
    tree[target[-1]] = value


def section_fields(section: type[Any]) -> dict[str, Any]:
    """Field name -> bare type (no annotation, no None) of a section."""
    return {name: _bare(hint) for name, hint in typing.get_type_hints(section).items()}


def _bare(hint: Any) -> Any:
    if get_origin(hint) in (types.UnionType, typing.Union):
        return next(_bare(part) for part in get_args(hint) if part is not type(None))
    return hint


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, _Section)


def _refuse_unknown(value: Any, kind: Any, path: str) -> None:
    if get_origin(kind) is tuple and isinstance(value, list | tuple):
        for position, item in enumerate(value):
            _refuse_unknown(item, get_args(kind)[0], f"{path}[{position}]")
    elif _is_section(kind) and isinstance(value, Mapping):
        fields = section_fields(kind)
        for key, item in value.items():
            here = f"{path}.{key}" if path else str(key)
            if key not in fields:
                near = difflib.get_close_matches(str(key), fields, n=1)
                hint = f"did you mean `{near[0]}`?" if near else f"known keys: {', '.join(fields)}"
                raise ConfigError(here, f"unknown key; {hint}")
            _refuse_unknown(item, fields[key], here)


def _decode_secret(kind: type, value: Any) -> Any:
    if kind is Secret:
        if not isinstance(value, str) or not value:
            raise ValueError("Expected a non-empty text")
        return Secret(value)
    raise NotImplementedError

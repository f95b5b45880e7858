"""Builds the orchestrator from its configuration, starts it, and stops it in the opposite order.

The only module that names adapters. `running` is the story: open the store, take up the node list, start the
background loops as one group, serve; leaving it cancels the loops, then closes transport and store.
"""

from __future__ import annotations

import asyncio
import gc
import random
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from miroir import __version__
from miroir.adapters.dump_files import DumpFolder
from miroir.adapters.nodes_http import HttpNodes
from miroir.adapters.nodes_metered import MeteredNodes
from miroir.adapters.posts_http import HttpPoster
from miroir.adapters.store_sqlite import SqliteStore
from miroir.api.admin import Admin, Shape
from miroir.api.admin_indexes import IndexAdmin
from miroir.api.admin_operations import OperationAdmin
from miroir.api.backend import OrchestratorBackend
from miroir.api.backend_reads import read_handlers, watched
from miroir.api.backend_writes import write_handlers
from miroir.api.front import Front, note_failure
from miroir.api.server import serve_http
from miroir.config import Config, Secret
from miroir.core.moves.cluster_view import MoveLimits
from miroir.core.records import NodeRecord
from miroir.core.writes.write_limits import WriteLimits
from miroir.meili.asgi import App, asgi_app
from miroir.meili.codes import ApiError
from miroir.meili.edge import Edge
from miroir.meili.payload import BodyBudget
from miroir.meili.tasks import Task
from miroir.ports.nodes import NodeTransport
from miroir.ports.posts import Poster
from miroir.ports.store import Store
from miroir.services.moves.moving import Moving
from miroir.services.observation import observe
from miroir.services.reads.reads import ReadLimits, Reads
from miroir.services.writes.writes import WritePath
from miroir.telemetry.metrics import Metrics

log = structlog.get_logger()

#: a probe asks up to this many times (health, identity) before it has a result
_FIRST_PROBES = 3


@dataclass(frozen=True, slots=True)
class Orchestrator:
    """The object graph of one orchestrator; `app` is what the HTTP server serves."""

    config: Config
    writes: WritePath
    moving: Moving
    reads: Reads
    front: Front
    metrics: Metrics
    app: App


async def serve(config: Config) -> None:
    """Run the orchestrator until SIGINT or SIGTERM. Raises StoreError when the store cannot be used."""
    store = SqliteStore(config.task_store.path)
    nodes = HttpNodes(
        _reveal(config.node_master_key), connections_per_node=config.connection_pool_per_node.max_total
    )
    poster = HttpPoster()
    try:
        async with running(config, store, nodes, poster=poster) as orchestrator:
            server = config.server
            _calm_collector()
            log.info("orchestrator_started", version=__version__, host=server.host, port=server.port)
            await serve_http(
                orchestrator.app, host=server.host, port=server.port, grace_s=server.shutdown_grace_ms / 1000
            )
            log.info("orchestrator_stopping")
    finally:
        await poster.close()
        await nodes.close()
        store.close()
    log.info("orchestrator_stopped")


def _calm_collector() -> None:
    """Let the garbage collector run seldom and leave alone what was there at the start.

    Answers are large trees that die by reference counting; with the defaults the collector walked through them,
    and now and then through the whole process, once a search: measured, a quarter of a search's CPU.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


@asynccontextmanager
async def running(
    config: Config,
    store: Store,
    nodes: NodeTransport,
    *,
    now_ns: Callable[[], int] = time.time_ns,
    rng: random.Random | None = None,
    poster: Poster | None = None,
) -> AsyncIterator[Orchestrator]:
    """The orchestrator with its background loops, over any store and transport; the caller closes those."""
    orchestrator = build(config, store, nodes, now_ns=now_ns, rng=rng or random.Random(), poster=poster)
    await orchestrator.writes.open(node_records(config))
    orchestrator.moving.open()
    async with asyncio.TaskGroup() as loops:
        background = loops.create_task(orchestrator.writes.run(), name="writes")
        moving = loops.create_task(orchestrator.moving.run(), name="moving")
        try:
            await _know_nodes(orchestrator)
            yield orchestrator
        finally:
            moving.cancel()
            background.cancel()


async def _know_nodes(orchestrator: Orchestrator) -> None:
    """Wait until every node was probed once, but not for nodes that do not answer: before, no shard can be read."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_FIRST_PROBES * orchestrator.writes.limits.probe_timeout_s):
            await orchestrator.writes.prober.first_round()


def build(
    config: Config,
    store: Store,
    nodes: NodeTransport,
    *,
    now_ns: Callable[[], int],
    rng: random.Random,
    poster: Poster | None = None,
) -> Orchestrator:
    """Put the parts together; nothing runs yet."""
    metrics = Metrics()
    metrics.build_info.labels(__version__).set(1)
    transport = MeteredNodes(nodes, metrics)
    writes = WritePath(
        store,
        transport,
        limits=write_limits(config),
        now_ns=now_ns,
        rng=rng,
        poster=poster,
        dumps=DumpFolder(dump_folder(config)),
    )
    reads = Reads(
        writes.cluster.snapshot,
        transport,
        request_uid=lambda: str(uuid.UUID(int=rng.getrandbits(128), version=4)),
        limits=read_limits(config),
        on_round=metrics.scatter_round,
        is_enabled=lambda feature: writes.registry.features.get(feature, False),
        trusted=writes.prober.vouches,
    )
    moving = Moving(store, transport, writes, limits=move_limits(config), rng=rng)
    count_moves(metrics, moving)
    writes.on_task_end(lambda tasks: note_ends(metrics, tasks))
    backend = OrchestratorBackend(
        watched(read_handlers(reads), writes.readers),
        write_handlers(writes, master_key=_reveal(config.master_key)),
        master_key=_reveal(config.master_key),
        keys=writes.keys,
        now_ns=now_ns,
        features=lambda: writes.registry.features,
    )
    admin = Admin(
        writes.cluster.snapshot,
        lambda: observe(writes, transport.sightings, moving.sight()),
        metrics,
        shape=lambda: Shape(config.shards, writes.cluster.replication_factor or config.replication_factor),
        admin_key=_reveal(config.admin_api_key),
        indexes=IndexAdmin(writes.cluster.snapshot, writes.ingest),
        operations=OperationAdmin(moving.operations),
    )
    front = Front(
        Edge(backend, on_error=note_failure),
        admin,
        metrics,
        max_concurrent_requests=config.server.max_concurrent_requests,
    )
    app = asgi_app(
        front,
        max_body_bytes=config.server.max_body_bytes,
        budget=BodyBudget(config.server.large_bodies_bytes_max),
        busy=ApiError(
            "miroir_overloaded", "Too many large bodies at once. Retry later.", headers={"Retry-After": "5"}
        ),
    )
    return Orchestrator(config, writes, moving, reads, front, metrics, app)


def count_moves(metrics: Metrics, moving: Moving) -> None:
    """Count what moves, and what had to be set right."""

    def copied(documents: int, size_bytes: int) -> None:
        metrics.documents_copied_total.inc(documents)
        metrics.copied_bytes_total.inc(size_bytes)

    moving.on_incident = lambda node: metrics.replica_incidents_total.labels(node).inc()
    moving.copier.copied = copied
    moving.patrol.compared = metrics.replicas_compared_total.inc
    moving.check.repaired = metrics.layout_documents_repaired_total.inc
    moving.resharding.switched = lambda to: metrics.layout_switches_total.labels(to).inc()


def dump_folder(config: Config) -> Path:
    """Where dumps go: as configured, else beside the store."""
    configured = config.task_store.dumps
    return Path(config.task_store.path).parent / "dumps" if configured is None else Path(configured)


def note_ends(metrics: Metrics, tasks: list[Task]) -> None:
    """Count how long tasks took from acceptance to their end."""
    for task in tasks:
        if task.finished_at is not None:
            metrics.task_processing_age_seconds.observe((task.finished_at - task.enqueued_at) / 1e9)


def node_records(config: Config) -> list[NodeRecord]:
    """The configured nodes as the cluster takes them up."""
    return [
        NodeRecord(
            id=node.id,
            address=node.address.rstrip("/"),
            group=node.replica_group,
            weight=node.weight,
        )
        for node in config.nodes
    ]


def read_limits(config: Config) -> ReadLimits:
    """Bounds of the read path."""
    return ReadLimits(
        timeout_s=config.server.request_timeout_ms / 1000,
        replica_rounds=config.scatter.replica_rounds,
        parallel_queries=config.scatter.parallel_queries,
        late_s=config.scatter.late_ms / 1000,
        wait_s=config.scatter.wait_ms / 1000,
    )


def move_limits(config: Config) -> MoveLimits:
    """Bounds of moving data."""
    moves = config.rebalancer
    return MoveLimits(
        copies_max=moves.max_concurrent_copies,
        shards_per_copy=moves.shards_per_copy,
        documents_per_s=moves.documents_per_s,
        bytes_per_s=moves.bytes_per_s,
        page_documents=moves.page_documents,
        page_bytes=moves.page_bytes,
        grace_s=moves.grace_s,
        attempts_max=moves.attempts_max,
        barrier_s=moves.barrier_s,
        request_timeout_s=config.writes.node_request_timeout_ms / 1000,
        reader_timeout_s=config.server.request_timeout_ms / 1000,
        slow_ms=moves.back_off_ms,
        retention_s=moves.reshard_retention_s,
        scrub_interval_s=moves.scrub_interval_s,
        scrub_documents_per_s=moves.scrub_documents_per_s,
    )


def write_limits(config: Config) -> WriteLimits:
    """Bounds of the write path."""
    writes, health, retention = config.writes, config.health, config.retention
    return WriteLimits(
        shards=config.shards,
        replication_factor=config.replication_factor,
        exact=config.search.exact,
        min_in_sync_replicas=writes.min_in_sync_replicas,
        write_quorum=writes.write_quorum,
        request_timeout_s=writes.node_request_timeout_ms / 1000,
        reader_timeout_s=config.server.request_timeout_ms / 1000,
        probe_timeout_s=health.timeout_ms / 1000,
        probe_interval_s=health.interval_ms / 1000,
        failures_to_down=health.unhealthy_threshold,
        probe_patience_s=health.patience_ms / 1000,
        suspect_s=health.suspect_ms / 1000,
        successes_to_up=health.recovery_threshold,
        merge_documents_max=writes.batch_documents_max,
        merge_bytes_max=writes.batch_bytes_max,
        window=writes.batch_window,
        lag_after_s=writes.lag_after_s,
        log_ops_max=writes.pending_ops_max,
        log_bytes_max=retention.log_bytes_max,
        log_age_s=retention.log_age_s,
        keep_done_s=retention.keep_done_s,
        tasks_max=retention.tasks_max,
        idempotency_s=retention.idempotency_s,
        rendered_bytes_max=writes.batch_memory_bytes_max,
    )


def _reveal(secret: Secret | None) -> str | None:
    return secret.reveal() if secret else None

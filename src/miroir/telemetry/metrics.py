"""Every instrument, in one list: prefix `miroir_`, base units, bounded labels.

Labels never carry what a client chose (paths, index names): `route` is a name of the route table, `operation` a
name of the code. Instruments live in a registry of their own, one per `Metrics`, so that several orchestrators can
run in one process.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics import MetricWrapperBase

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_LATENCY_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_TASK_AGE_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
_FAN_OUT = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)


class Metrics:
    """The instruments of one orchestrator."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        # requests
        self.request_duration_seconds = self._histogram(
            "request_duration_seconds", "time to answer a client", ("method", "route", "status"), _LATENCY_S
        )
        self.requests_total = self._counter("requests", "requests answered", ("method", "route", "status"))
        self.requests_in_flight = self._gauge("requests_in_flight", "requests being served")
        self.auth_failures_total = self._counter(
            "auth_failures", "requests refused for their key", ("reason",)
        )
        # nodes
        self.node_healthy = self._gauge("node_healthy", "1 while a node answers probes", ("node_id",))
        self.node_request_duration_seconds = self._histogram(
            "node_request_duration_seconds",
            "time a node took to answer",
            ("node_id", "operation"),
            _LATENCY_S,
        )
        self.node_errors_total = self._counter(
            "node_errors", "calls to a node that failed", ("node_id", "error_type")
        )
        # scatter
        self.scatter_fan_out_size = self._histogram(
            "scatter_fan_out_size", "nodes asked for one read", (), _FAN_OUT
        )
        self.scatter_retries_total = self._counter(
            "scatter_retries", "calls sent to another replica for one that failed"
        )
        # lanes and the op log
        self.lane_lag_ops = self._gauge("lane_lag_ops", "ops not yet applied by a node", ("node_id",))
        self.lane_lag_seconds = self._gauge("lane_lag_seconds", "age of the oldest of them", ("node_id",))
        self.oplog_bytes = self._gauge("oplog_bytes", "payload bytes kept for delivery")
        self.oplog_oldest_seconds = self._gauge(
            "oplog_oldest_seconds", "age of the oldest op kept for delivery"
        )
        # tasks
        self.tasks = self._gauge("tasks", "tasks known, by status", ("status",))
        self.task_processing_age_seconds = self._histogram(
            "task_processing_age_seconds", "time from acceptance to the end of a task", (), _TASK_AGE_S
        )
        # placement
        self.placement_epoch = self._gauge("placement_epoch", "version of the placement")
        self.shard_coverage = self._gauge("shard_coverage", "part of all shards that can be read now, 0 to 1")
        self.degraded_shards = self._gauge(
            "degraded_shards", "shards with fewer readable replicas than wanted"
        )
        self.shard_distribution = self._gauge("shard_distribution", "replicas on a node", ("node_id",))
        self.replica_state = self._gauge("replica_state", "replicas by state", ("state",))
        self.replica_incidents_total = self._counter(
            "replica_incidents", "replicas that differed when compared, and were rebuilt", ("node_id",)
        )
        self._declare_moves()
        self.build_info = self._gauge("build_info", "always 1", ("version",))

    def _declare_moves(self) -> None:
        self.operations = self._gauge("operations", "operations that are not over", ("kind", "state"))
        self.copies = self._gauge("copies", "copies that are not over, by phase", ("phase",))
        self.documents_copied_total = self._counter("documents_copied", "documents that copies wrote")
        self.copied_bytes_total = self._counter("copied_bytes", "bytes of them")
        self.layouts = self._gauge(
            "layouts", "second layouts of indexes: built, or kept after readers left", ("state",)
        )
        self.layout_shards_unverified = self._gauge(
            "layout_shards_unverified", "shards of layouts being built that are to be verified"
        )
        self.layout_switches_total = self._counter(
            "layout_switches", "times that readers of an index went to another layout", ("to",)
        )
        self.layout_documents_repaired_total = self._counter(
            "layout_documents_repaired", "documents of a second layout that differed and were set right"
        )
        self.replicas_compared_total = self._counter(
            "replicas_compared", "replicas that the patrol compared with their peers"
        )
        self.patrol_ended_timestamp_seconds = self._gauge(
            "patrol_ended_timestamp_seconds", "when the last whole round of the patrol ended, 0 before"
        )

    def scatter_round(self, asked: int, attempt: int) -> None:
        """One round of a read: nodes asked; attempt 0 is the first."""
        if attempt == 0:
            self.scatter_fan_out_size.observe(asked)
        else:
            self.scatter_retries_total.inc(asked)

    def render(self) -> bytes:
        """The exposition text."""
        return generate_latest(self.registry)

    def instruments(self) -> list[tuple[str, str, str, tuple[str, ...]]]:
        """(name, type, text, labels) of every instrument, in declaration order."""
        found = [value for value in vars(self).values() if isinstance(value, MetricWrapperBase)]
        return [
            (
                one._name + ("_total" if one._type == "counter" else ""),
                one._type or "",
                one._documentation,
                tuple(one._labelnames),
            )
            for one in found
        ]

    def _counter(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(f"miroir_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
        return Gauge(f"miroir_{name}", text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...]
    ) -> Histogram:
        return Histogram(f"miroir_{name}", text, labels, buckets=buckets, registry=self.registry)

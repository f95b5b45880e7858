"""Bounds of the write path. `config.py` fills them; every queue, retry and page loop has one here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class WriteLimits:
    """Times in seconds, sizes in bytes."""

    shards: int = 64  #: of a new index
    replication_factor: int = 2  #: copies of each shard per replica group
    exact: bool = False  #: new indexes keep their whole vocabulary on every node
    min_in_sync_replicas: int = 1  #: live and in sync per touched shard, else 503
    write_quorum: Literal["in_sync", "majority"] = "in_sync"
    request_timeout_s: float = 60.0  #: one write request to one node
    probe_timeout_s: float = 0.8  #: later answers are late: the node is asked where no other can answer
    probe_patience_s: float = 10.0  #: without an answer by then it is down
    suspect_s: float = 30.0  #: a node that went down is tried for so long where no other can answer
    probe_interval_s: float = 1.0
    failures_to_down: int = 3
    successes_to_up: int = 2
    merge_documents_max: int = 10_000  #: of one node request
    merge_bytes_max: int = 16 << 20
    window: int = 8  #: node requests of one lane accepted but unfinished
    poll_fast_s: float = 0.02  #: first wait for node tasks
    poll_slow_s: float = 1.0  #: longest wait, and the rhythm of looking for late duplicates
    poll_tasks_max: int = 1000  #: node tasks read per poll
    sweep_interval_s: float = 10.0  #: between two looks for dropped indexes that nodes still hold
    drift_interval_s: float = 60.0  #: how often nodes' settings are compared with ours
    reader_timeout_s: float = 30.0  #: the longest read; a change of rules waits so long for readers
    retry_first_s: float = 0.05  #: back-off of a lane whose node does not answer
    retry_last_s: float = 5.0
    lag_after_s: float = 30.0  #: a live node that takes no write for so long stops holding up tasks
    log_ops_max: int = 50_000  #: accepted, not finished; above: 503
    log_bytes_max: int = 2 << 30  #: payloads and ids kept; lanes further behind become stale
    log_age_s: float = 86_400.0
    keep_done_s: float = 60.0  #: payloads of finished ops, for replays after late duplicates
    tasks_max: int = 1_000_000
    idempotency_s: float = 86_400.0
    rendered_bytes_max: int = 256 << 20  #: node request bodies kept in memory

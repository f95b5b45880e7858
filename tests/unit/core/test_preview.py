"""What plans cost."""

from __future__ import annotations

from miroir.core.moves.cluster_view import ClusterView, Member, MoveLimits
from miroir.core.moves.operation_records import Move, OperationKind, OperationRecord, OperationState
from miroir.core.moves.preview import Sizes, preview, rate_of
from miroir.core.topology import NodeLifecycle, ReplicaState

VIEW = ClusterView(
    members={name: Member(name, 0, NodeLifecycle.ACTIVE) for name in ("a", "b")},
    placement={"p": [{"a": ReplicaState.IN_SYNC}] * 64},
    replication_factor=1,
    documents={"p": 20},
    document_bytes={"p": 100},
)
MOVES = [Move(physical="p", shard=shard, target="b", leaves="a") for shard in range(32)]
GOES = Move(physical="p", shard=40, leaves="a")


def test_a_small_index_is_not_rounded_away() -> None:
    planned = preview([*MOVES, GOES], VIEW, MoveLimits())
    assert (planned.replicas, planned.documents, planned.size_bytes) == (32, 10, 1000)
    assert planned.peak_bytes == {"b": 1000}
    assert not planned.exact


def test_what_was_counted_is_exact() -> None:
    counted = {("p", shard): shard % 2 for shard in range(32)}
    sizes = Sizes(counted, {"p": 250.0}, {"b": 5000}, disk_factor=3.0)
    planned = preview([*MOVES, GOES], VIEW, MoveLimits(), sizes=sizes)
    assert planned.exact
    assert (planned.documents, planned.size_bytes, planned.peak_bytes) == (16, 4000, {"b": 4000})
    assert planned.peak_disk_bytes == {"b": 5000 + 3 * 4000}
    assert not preview(
        [*MOVES, Move(physical="p", shard=50, target="b")], VIEW, MoveLimits(), sizes=sizes
    ).exact


def test_bounds_and_earlier_operations_tell_the_time() -> None:
    sizes = Sizes({("p", shard): 1000 for shard in range(32)}, {"p": 10.0})
    targets = [Move(physical="p", shard=shard, target="ab"[shard % 2]) for shard in range(32)]

    def seconds(limits: MoveLimits, rate: float | None = None) -> float:
        return preview(targets, VIEW, limits, sizes=sizes, rate=rate).seconds

    assert seconds(MoveLimits(), rate=1000.0) == 32.0
    assert seconds(MoveLimits(documents_per_s=100.0, copies_max=1), rate=1000.0) == 320.0
    assert seconds(MoveLimits(documents_per_s=100.0, copies_max=8), rate=1000.0) == 160.0, "two nodes take"
    assert seconds(MoveLimits(bytes_per_s=10.0, copies_max=2), rate=1000.0) == 16_000.0


def test_the_last_telling_operation_says_the_rate() -> None:
    def ended(number: int, documents: int, seconds: int) -> OperationRecord:
        return OperationRecord(
            id=number,
            kind=OperationKind.DRAIN,
            state=OperationState.DONE,
            documents_moved=documents,
            created_at=number * 10**12,
            ended_at=number * 10**12 + seconds * 10**9,
        )

    assert rate_of([]) is None
    assert rate_of([ended(1, 8000, 2), ended(2, 5000, 10), ended(3, 12, 1)]) == 500.0

"""What one transaction of the completion will change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from miroir.core.records import LaneRecord, OpRecord, Resolution
from miroir.core.writes.task_state import Verdict
from miroir.meili.tasks import Task


@dataclass(slots=True)
class Round:
    """Ended ops with their verdicts, tasks, lanes by (physical, node), and replicas that went stale."""

    ended: list[tuple[OpRecord, Resolution, Verdict]] = field(default_factory=list)
    tasks: dict[int, Task] = field(default_factory=dict)
    lanes: dict[tuple[str, str], LaneRecord] = field(default_factory=dict)
    stale: dict[str, dict[str, set[int]]] = field(default_factory=dict)  #: physical -> node -> shards

    def __bool__(self) -> bool:
        return bool(self.ended or self.tasks or self.lanes or self.stale)

    def without_stale(
        self, physical: str, concerned: Mapping[str, frozenset[int]]
    ) -> dict[str, frozenset[int]]:
        """Replicas by node, but for those that this round makes stale: what they did with a later op counts no more."""
        gone = self.stale.get(physical, {})
        left = {node: shards.difference(gone.get(node, ())) for node, shards in concerned.items()}
        return {node: shards for node, shards in left.items() if shards}

"""Which copies of shards are right when they differ. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Set

from miroir.core.writes.lane_requests import NodeTask

#: document id -> digest of its content
Digests = Mapping[str, bytes]


_WRITES = ("documentAdditionOrUpdate", "documentDeletion")


def is_tainted(tasks: Iterable[NodeTask], shard: int, since: int) -> bool:
    """Whether a node's tasks say that its copy of a shard was changed by something that is in no log.

    Args:
        tasks: of the index, oldest first.
        shard: whose copy is judged.
        since: the last step that came by a copy, -1 for a replica that was there from the beginning. What was written before the
            lane went on behind it may belong to that copy.
    """
    is_fed = False  # by its lane, and no longer by a copy
    for task in tasks:
        if task.kind not in _WRITES or task.status != "succeeded":
            continue
        if task.ops is not None:
            is_fed = is_fed or task.ops[0] > since
        elif task.shards is None:
            if is_fed or since < 0:
                return True  # somebody's hand
        elif is_fed and shard in task.shards:
            return True  # a page that came when its copy was over
    return False


def differing(
    copies: Mapping[str, Digests], expected: Set[str], tainted: Set[str] = frozenset()
) -> list[str]:
    """Nodes whose copy must be made anew, by name.

    Args:
        copies: node -> its copy.
        expected: ids that exist according to the op log.
        tainted: nodes whose copy was changed by something that is in no log.

    Copies that hold exactly the documents of the log are believed; among them those with a clean history, then the content
    most have, the first node's when equally many have another. Without any such copy the one nearest to the log is. Never
    all of them.
    """
    if len(copies) < 2:
        return []
    missed = {node: len(expected ^ copy.keys()) for node, copy in copies.items()}
    least = min(missed.values())
    nearest = sorted(node for node in copies if missed[node] == least)
    frozen = {node: frozenset(copies[node].items()) for node in copies}
    votes = Counter(frozen[node] for node in nearest)
    believed = max(nearest, key=lambda node: (node not in tainted, votes[frozen[node]], -nearest.index(node)))
    return sorted(node for node in copies if frozen[node] != frozen[believed])

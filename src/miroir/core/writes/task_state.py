"""What the ends of an op on its nodes mean for the client's task, and for the replicas.

A task ends when every in-sync replica of every shard it touches has ended it, or is out of the game (its node is
down, or it lags already) while another one succeeded. A replica that fails alone has missed the op for good: it is
stale. All of a shard's replicas failing is the client's error.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from miroir.core.records import LaneRecord

NodeError = dict[str, Any]

_WITHOUT_VECTORS = re.compile(
    r"(?P<first>no vectors provided for document `[^`]*`)(?: and at least (?P<others>\d+) other document\(s\))?"
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end of an op.

    `error` is the error object of the node whose shard failed everywhere, None when the op succeeded. `lagging`
    are nodes the cluster goes on without; `stale` maps a node to the shards it missed.
    """

    error: NodeError | None = None
    lagging: frozenset[str] = frozenset()
    stale: Mapping[str, frozenset[int]] = field(default_factory=dict)
    failed_shards: frozenset[int] = frozenset()


def judge(
    concerned: Mapping[str, frozenset[int]],
    outcomes: Mapping[str, NodeError | None],
    *,
    absent: Collection[str],
) -> Verdict | None:
    """Decide an op, or None while it must be waited for.

    Args:
        concerned: nodes with an in-sync replica of a touched shard -> those shards. Empty: nothing to wait for.
        outcomes: node -> how the op ended there (None: succeeded).
        absent: nodes not to be waited for (down, lagging, stuck).

    Returns:
        A verdict; never a success without at least one success per shard.
    """
    waiting = [node for node in concerned if node not in outcomes and node not in absent]
    if waiting:
        return None
    good: dict[int, list[str]] = {}
    bad: dict[int, list[str]] = {}
    shards = {shard for mine in concerned.values() for shard in mine}
    for node, mine in concerned.items():
        if node in outcomes:
            side = good if outcomes[node] is None else bad
            for shard in mine:
                side.setdefault(shard, []).append(node)
    if any(shard not in good and shard not in bad for shard in shards):
        return None
    failed = sorted(shard for shard in shards if shard not in good)
    stale: dict[str, set[int]] = {}
    for shard, nodes in bad.items():
        if shard in good:
            for node in nodes:
                stale.setdefault(node, set()).add(shard)
    return Verdict(
        error=_of_all_nodes(bad[failed[0]], outcomes) if failed else None,
        lagging=frozenset(node for node in concerned if node not in outcomes),
        stale={node: frozenset(mine) for node, mine in stale.items()},
        failed_shards=frozenset(failed),
    )


def _of_all_nodes(nodes: list[str], outcomes: Mapping[str, NodeError | None]) -> NodeError | None:
    """The error of a shard's first node; one that counts documents without vectors counts those of all nodes.

    Every document is on as many nodes as the shard has.
    """
    error = outcomes[nodes[0]]
    if error is None or error.get("code") != "vector_embedding_error":
        return error
    found = [_WITHOUT_VECTORS.search(other["message"]) for other in outcomes.values() if other is not None]
    total = sum(1 + int(each["others"] or 0) for each in found if each is not None) // len(nodes)
    if total < 2 or not all(found):
        return error
    message = _WITHOUT_VECTORS.sub(rf"\g<first> and at least {total - 1} other document(s)", error["message"])
    return {**error, "message": message}


def shards_behind(old: LaneRecord, missed: frozenset[int] | None) -> frozenset[int] | None:
    """Shards in which a lane is behind once it missed an op that touches `missed` of its shards; None: all of them.

    Its replicas of the others hold everything that any answer may show.
    """
    if missed is None or (old.lagging and old.behind is None):
        return None
    return missed | (old.behind or frozenset())


def touched(members: Mapping[str, frozenset[int]], shards: Collection[int]) -> dict[str, frozenset[int]]:
    """Members that hold any of `shards`, each with its part of them."""
    wanted = frozenset(shards)
    return {node: part for node, mine in members.items() if (part := mine & wanted)}

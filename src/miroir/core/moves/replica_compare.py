"""Which copies of shards are right when they differ. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Set

#: document id -> digest of its content
Digests = Mapping[str, bytes]


def differing(copies: Mapping[str, Digests], expected: Set[str]) -> list[str]:
    """Nodes whose copy must be made anew, by name.

    Args:
        copies: node -> its copy.
        expected: ids that exist according to the op log.

    Copies that hold exactly the documents of the log are believed; among them the content most have, the first node's
    when equally many have another. Without any such copy the one nearest to the log is. Never all of them.
    """
    if len(copies) < 2:
        return []
    missed = {node: len(expected ^ copy.keys()) for node, copy in copies.items()}
    least = min(missed.values())
    nearest = sorted(node for node in copies if missed[node] == least)
    frozen = {node: frozenset(copies[node].items()) for node in copies}
    votes = Counter(frozen[node] for node in nearest)
    believed = max(nearest, key=lambda node: (votes[frozen[node]], -nearest.index(node)))
    return sorted(node for node in copies if frozen[node] != frozen[believed])

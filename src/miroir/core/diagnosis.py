"""What is wrong with a cluster, what it means for data and searches, and the command that helps. Pure.

Works on what the admin routes answer, so that any copy of those answers can be looked at later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from miroir.core.hashing import rendezvous_score

_IN_SYNC = "in_sync"


@dataclass(frozen=True, slots=True)
class Finding:
    """`level`: critical (something cannot be read), warning (one more failure may be), notice."""

    level: str
    what: str
    meaning: str
    command: str


def diagnose(
    topology: Mapping[str, Any], shards: Mapping[str, Any], operations: Sequence[Mapping[str, Any]]
) -> list[Finding]:
    """Findings, the worst first.

    Args:
        topology: `/_miroir/topology`.
        shards: `/_miroir/shards`.
        operations: `results` of `/_miroir/operations`.
    """
    found = [*_nodes(topology), *_shards(shards), *_operations(operations)]
    order = ("critical", "warning", "notice")
    return sorted(found, key=lambda finding: order.index(finding.level))


def _nodes(topology: Mapping[str, Any]) -> Iterable[Finding]:
    for node in topology["nodes"]:
        if node["lifecycle"] == "removed":
            continue
        name = node["id"]
        if node["health"] != "live":
            reason = f" ({node['error']})" if node.get("error") else ""
            yield Finding(
                "warning",
                f"node {name} is down{reason}",
                "its shards are read from other copies; after the grace time they are made anew elsewhere",
                f"start it again, or: miroir nodes remove {name} --force",
            )
        elif node["lag_ops"] > 1000:
            yield Finding(
                "warning",
                f"node {name} is {node['lag_ops']} writes behind",
                "it is not read for what it lacks; the log keeps those writes for it",
                "miroir status",
            )
        if node["stale"]:
            yield Finding(
                "warning",
                f"{node['stale']} replicas on {name} are stale",
                "they missed writes for good, are not read, and are rebuilt from other copies",
                "miroir operations watch",
            )
        if node["lifecycle"] == "draining" and not node["shard_count"]:
            yield Finding(
                "notice",
                f"node {name} is drained",
                "nothing is on it any more",
                f"miroir nodes remove {name}",
            )


def _shards(shards: Mapping[str, Any]) -> Iterable[Finding]:
    for index in shards["indexes"]:
        unreadable = [
            row["shard"] for row in index["shards"] if not any(r["readable"] for r in row["replicas"])
        ]
        lost = [
            row["shard"]
            for row in index["shards"]
            if not any(replica["state"] == _IN_SYNC for replica in row["replicas"])
        ]
        single = [
            row["shard"]
            for row in index["shards"]
            if sum(replica["readable"] for replica in row["replicas"]) == 1 and len(row["replicas"]) > 1
        ]
        if lost:
            yield Finding(
                "critical",
                f"{len(lost)} shards of {index['index']} have no in-sync copy left: {_listed(lost)}",
                "their documents are gone from every node that was up to date",
                "bring back a node that held them, or write the documents again",
            )
        elif unreadable:
            yield Finding(
                "critical",
                f"{len(unreadable)} shards of {index['index']} cannot be read: {_listed(unreadable)}",
                "searches of the index fail until a node that holds them is back; nothing is lost",
                "miroir status, then start the nodes that are down",
            )
        if single:
            yield Finding(
                "warning",
                f"{len(single)} shards of {index['index']} have one readable copy: {_listed(single)}",
                "one more node down and they cannot be read",
                "miroir operations list",
            )


def _operations(operations: Sequence[Mapping[str, Any]]) -> Iterable[Finding]:
    for operation in operations:
        name = f"operation {operation['id']} ({operation['kind']})"
        if operation["state"] == "paused":
            yield Finding(
                "notice", f"{name} is paused", "nothing moves", f"miroir operations resume {operation['id']}"
            )
        if operation["state"] == "running" and operation["actual"]["copies_begun_again"] > 3:
            yield Finding(
                "warning",
                f"{name} began {operation['actual']['copies_begun_again']} copies anew",
                "copies kept differing from their source; they are not read before they are equal",
                f"miroir operations show {operation['id']}",
            )


def explain_placement(row: Mapping[str, Any], topology: Mapping[str, Any], index: str) -> list[str]:
    """Why the copies of one shard are where they are, as sentences. `row`: of `/_miroir/shards`."""
    shard = row["shard"]
    nodes = {node["id"]: node for node in topology["nodes"] if node["lifecycle"] != "removed"}
    lines = [
        f"shard {shard} of {index} holds the documents whose xxh64(id) modulo the number of shards is {shard}"
    ]
    held = {replica["node"]: replica for replica in row["replicas"]}
    for group in sorted({node["group"] for node in nodes.values()}):
        members = [name for name, node in nodes.items() if node["group"] == group]
        wish = sorted(members, key=lambda name: (-rendezvous_score(shard, name), name))
        lines.append(f"group {group}: by hashing the shard would go to {', '.join(wish)}, in this order")
        for place, name in enumerate(wish):
            if name in held:
                lines.append(f"  {name}: {_why(held[name], nodes[name], place)}")
    lines.extend(
        f"  {name}: {held[name]['state']}, on a node that was removed; it will be forgotten"
        for name in sorted(held.keys() - nodes.keys())
    )
    return lines


def _why(replica: Mapping[str, Any], node: Mapping[str, Any], place: int) -> str:
    state = replica["state"]
    if state == "copying":
        return "being copied here; it is read when it equals its source"
    if state == "retiring":
        return "read no more; deleted when no reader is left" + (
            "" if node["health"] == "live" else ", once it is up"
        )
    if state == "stale":
        return "missed writes for good; it is rebuilt here and not read meanwhile"
    if node["lifecycle"] == "draining":
        return "in sync; it stays until its copy elsewhere is complete and equal"
    reason = (
        "its first choice"
        if place == 0
        else f"choice {place + 1}: nodes before it are full, or it was here already"
    )
    away = "" if replica["readable"] else "; not read now"
    return f"in sync, {reason}; it stays because moving it would even out nothing{away}"


def _listed(numbers: Sequence[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:8])
    return f"{shown}, ..." if len(numbers) > 8 else shown

"""What the doctor says of clusters in every state."""

from __future__ import annotations

from typing import Any

from miroir.core.diagnosis import diagnose, explain_placement


def node(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": name, "group": 0, "lifecycle": "active", "health": "live", "shard_count": 1, "lag_ops": 0,
        "stale": 0, "error": None, **changes,
    }  # fmt: skip


def replica(name: str, state: str = "in_sync", *, readable: bool = True) -> dict[str, Any]:
    return {"node": name, "group": 0, "state": state, "readable": readable}


def shards(*replicas: dict[str, Any]) -> dict[str, Any]:
    return {"indexes": [{"index": "films", "shards": [{"shard": 0, "replicas": list(replicas)}]}]}


def test_nothing_is_said_of_a_healthy_cluster() -> None:
    topology = {"nodes": [node("a"), node("b"), node("old", lifecycle="removed", health="down")]}
    assert diagnose(topology, shards(replica("a"), replica("b")), []) == []


def test_lost_shards_come_before_everything() -> None:
    topology = {"nodes": [node("a", health="down", error="refused", stale=1), node("b")]}
    found = diagnose(topology, shards(replica("a", "stale", readable=False)), [])
    assert found[0].level == "critical"
    assert "no in-sync copy" in found[0].what
    assert {finding.level for finding in found[1:]} == {"warning"}
    assert all(finding.meaning and finding.command for finding in found)


def test_unreadable_is_not_lost() -> None:
    found = diagnose({"nodes": [node("a")]}, shards(replica("a", readable=False)), [])
    assert [finding.level for finding in found] == ["critical"]
    assert "nothing is lost" in found[0].meaning


def test_one_copy_left_and_paused_operations_are_told() -> None:
    paused = {"id": 4, "kind": "drain", "state": "paused", "actual": {"copies_begun_again": 0}}
    topology = {"nodes": [node("a"), node("b", lifecycle="draining", shard_count=0)]}
    found = diagnose(topology, shards(replica("a"), replica("b", readable=False)), [paused])
    assert [finding.level for finding in found] == ["warning", "notice", "notice"]
    assert {"miroir nodes remove b", "miroir operations resume 4"} <= {finding.command for finding in found}


def test_placement_is_explained_for_every_state() -> None:
    states = ("in_sync", "copying", "stale", "retiring")
    names = [f"n{place}" for place in range(4)]
    replicas = [replica(name, state) for name, state in zip(names, states, strict=True)]
    topology = {"nodes": [node(name) for name in names]}
    lines = explain_placement({"shard": 3, "replicas": [*replicas, replica("gone")]}, topology, "films")
    text = "\n".join(lines)
    for words in ("stays", "copied here", "missed writes", "deleted", "removed"):
        assert words in text, words

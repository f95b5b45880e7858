"""The admin commands print what the server says, for people and for programs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from miroir.cli import admin
from miroir.cli.client import CallError, Client
from miroir.cli.main import main

OPERATION = {
    "id": 3, "kind": "add_nodes", "state": "done", "reason": None, "args": {},
    "planned": {"replicas": 2, "documents": 10, "size_bytes": 2048, "seconds": 1.0, "peak_bytes": {"n4": 2048}},
    "actual": {"replicas": 2, "seconds": 1.5, "documents": 11, "size_bytes": 3000, "copies_begun_again": 0},
    "moves_total": 2, "moves_done": 2, "copies": [],
    "moves": [{"index": "films", "shard": 1, "to": "n4", "from": "n1"}],
}  # fmt: skip


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, Any]]:
    """Requests that commands make; all answered with one operation."""
    calls: list[tuple[str, str, Any]] = []

    def ask(self: Client, method: str, path: str, body: Any = None, **_: Any) -> Any:
        calls.append((method, path, body))
        if path == "/_miroir/operations":
            return {"results": [OPERATION]}
        if "nobody" in path:
            raise CallError("404: Node `nobody` not found.")
        return {**OPERATION, "dry_run": True} if "dry_run" in path else OPERATION

    monkeypatch.setattr(Client, "ask", ask)
    return calls


def run(*words: str) -> Any:
    return CliRunner().invoke(main, [*words, "--url", "http://here", "--admin-key", "k"])


@pytest.mark.parametrize(
    ("words", "request_line"),
    [
        (("nodes", "add", "n4", "http://n4:7700", "--dry-run"), ("POST", "/_miroir/nodes?dry_run=true")),
        (("nodes", "drain", "n1"), ("POST", "/_miroir/nodes/n1/drain")),
        (("nodes", "undrain", "n1"), ("POST", "/_miroir/nodes/n1/undrain")),
        (("nodes", "remove", "n1", "--force"), ("DELETE", "/_miroir/nodes/n1?force=true")),
        (("groups", "add", "1", "n5=http://n5"), ("POST", "/_miroir/replica_groups")),
        (("groups", "remove", "1"), ("DELETE", "/_miroir/replica_groups/1")),
        (("rebalance",), ("POST", "/_miroir/rebalance")),
        (("replication-factor", "3"), ("PUT", "/_miroir/replication_factor")),
        (("operations", "pause", "3"), ("POST", "/_miroir/operations/3/pause")),
        (("operations", "cancel", "3"), ("POST", "/_miroir/operations/3/cancel")),
        (("reshard", "films", "8"), ("POST", "/_miroir/indexes/films/reshard")),
    ],
)
def test_each_verb_asks_its_route(
    asked: list[tuple[str, str, Any]], words: tuple[str, ...], request_line: tuple[str, str]
) -> None:
    result = run(*words)
    assert result.exit_code == 0, result.output
    assert asked[0][:2] == request_line
    assert "films shard 1: n1 -> n4" in result.output
    assert ("nothing was begun" in result.output) == ("--dry-run" in words)


def test_lists_and_json(asked: list[tuple[str, str, Any]]) -> None:
    assert "2 of 2" in run("operations", "list").output
    assert json.loads(run("operations", "show", "3", "--json").output)["id"] == 3
    watched = run("operations", "watch")
    assert watched.exit_code == 0
    assert "11 documents" in watched.output


def test_bounds_of_copying_are_set_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def ask(self: Client, *request: Any) -> Any:
        asked.append(request)
        return {"max_concurrent_copies": 1, "documents_per_s": 500.0, "bytes_per_s": 0.0}

    monkeypatch.setattr(Client, "ask", ask)
    result = run("operations", "throttle", "--copies", "1", "--documents-per-s", "500")
    assert result.output == "1 copies at once, each 500 documents a second\n"
    assert asked == [("PATCH", "/_miroir/rebalance", {"max_concurrent_copies": 1, "documents_per_s": 500.0})]


def test_an_index_is_made_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def ask(self: Client, *request: Any) -> Any:
        asked.append(request[:3])
        if request[0] == "PATCH":
            return {"taskUid": 7, "status": "enqueued"}
        return {"uid": "a b", "exact": True, "primaryKey": None, "shards": 64}

    monkeypatch.setattr(Client, "ask", ask)
    assert "task 7 enqueued" in run("exact", "a b", "on").output
    assert run("exact", "a b").output == "a b: exact, 64 shards\n"
    assert asked == [
        ("PATCH", "/_miroir/indexes/a%20b", {"exact": True}),
        ("GET", "/_miroir/indexes/a%20b", None),
    ]


def test_refusals_are_one_line_and_status_2(asked: list[tuple[str, str, Any]]) -> None:
    result = run("nodes", "drain", "nobody")
    assert result.exit_code == 2
    assert "not found" in result.output


def test_sizes_read_well() -> None:
    assert [admin.size(count) for count in (12, 2048, 3 << 20)] == ["12 B", "2.0 KiB", "3.0 MiB"]

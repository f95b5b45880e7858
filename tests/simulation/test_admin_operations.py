"""The admin routes that change the cluster: codes, words, plans, and the whole of a join through them."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from miroir.core.hashing import shard_of
from tests.simulation.test_moves import Shelf
from tests.support.moving import assert_consistent, attach, moving_cluster, settle
from tests.support.sim_cluster import Reply, Shape, SimCluster
from tests.support.virtual_time import run_virtual

KEY = {"x-admin-key": "an-admin-key"}
Ask = Callable[..., Awaitable[Reply]]


def story(tell: Callable[[SimCluster, Shelf, Ask], Awaitable[None]], shape: Shape) -> None:
    """Run `tell` on a cluster with documents."""

    async def main() -> None:
        rng = random.Random(3)
        async with moving_cluster(shape, rng, admin_api_key="an-admin-key") as cluster:
            shelf = Shelf(cluster, rng)
            await shelf.load(60)

            async def ask(method: str, path: str, body: Any = None) -> Reply:
                return await cluster.ask(method, f"/_miroir/{path}", body, headers=KEY)

            await tell(cluster, shelf, ask)

    run_virtual(main())


async def _join(cluster: SimCluster, shelf: Shelf, ask: Ask) -> None:
    await attach(cluster, "x0")
    node = {"id": "x0", "address": "http://x0:7700", "replica_group": 0}
    plan = (await ask("POST", "nodes?dry_run=true", node)).body
    assert plan["dry_run"]
    assert {move["to"] for move in plan["moves"]} == {"x0"}
    assert {move["index"] for move in plan["moves"]} == {"films"}
    counted = Counter(shard_of(document, 8) for document in shelf.documents)
    planned = plan["planned"]
    assert planned["exact"]
    assert planned["documents"] == sum(counted[move["shard"]] for move in plan["moves"]) > 0
    assert 0 < planned["peak_bytes"]["x0"] == planned["size_bytes"] < planned["peak_disk_bytes"]["x0"]
    assert (await ask("GET", "operations")).body == {"results": []}, "a dry run begins nothing"
    begun = await ask("POST", "nodes", node)
    assert begun.status == 202
    number = begun.body["operation"]
    assert (await ask("POST", f"operations/{number}/pause")).body["state"] == "paused"
    busy = await ask("POST", "rebalance")
    assert (busy.status, busy.body["code"]) == (409, "miroir_conflict")
    assert f"/_miroir/operations/{number}/cancel" in busy.body["message"]
    status = (await ask("GET", "rebalance/status")).body
    assert status["in_progress"]
    assert status["documents_to_move"] > 0
    assert {copy["phase"] for copy in status["copies"]} <= {"planned", "copying", "following"}
    assert (await ask("POST", f"operations/{number}/resume")).status == 202
    await settle(cluster)
    shown = (await ask("GET", f"operations/{number}")).body
    assert (shown["state"], shown["moves_done"]) == ("done", shown["moves_total"])
    assert shown["planned"] == planned, "kept, to be compared"
    assert shown["actual"]["documents"] == planned["documents"]
    assert shown["actual"]["replicas"] == planned["replicas"]
    assert shown["actual"]["seconds"] > 0
    again = await ask("POST", f"operations/{number}/cancel")
    assert (again.status, again.body["code"]) == (409, "miroir_conflict")
    await assert_consistent(cluster, {"films": shelf.documents})
    assert (await ask("POST", "nodes/x0/drain")).status == 202
    await settle(cluster)
    later = (await ask("GET", f"operations/{number}")).body
    assert later["moves_done"] == later["moves_total"], "what a later operation undoes was done all the same"


def test_a_node_joins_over_the_admin_api() -> None:
    story(_join, Shape(nodes=3, replication_factor=2, shards=8))


async def _weights(cluster: SimCluster, shelf: Shelf, ask: Ask) -> None:
    nothing = (await ask("POST", "rebalance?dry_run=true")).body
    assert nothing["moves"] == []
    assert nothing["planned"]["documents"] == 0, "what is nothing is said too"
    plan = (await ask("PATCH", "nodes/n0-0?dry_run=true", {"weight": 2})).body
    assert {(move["to"], len(plan["moves"])) for move in plan["moves"]} == {("n0-0", 4)}
    begun = (await ask("PATCH", "nodes/n0-0", {"weight": 2})).body
    assert begun["kind"] == "rebalance"
    await settle(cluster)
    await assert_consistent(cluster, {"films": shelf.documents})
    listed = {node["id"]: node for node in (await ask("GET", "nodes")).body["results"]}
    assert {node: (one["weight"], one["replicas"]) for node, one in listed.items()} == {
        "n0-0": (2.0, 12), "n0-1": (1.0, 6), "n0-2": (1.0, 6)
    }  # fmt: skip
    assert (await ask("POST", "rebalance?dry_run=true")).body["moves"] == [], "asked again, nothing moves"
    await attach(cluster, "x0")
    light = {"id": "x0", "address": "http://x0:7700", "weight": 0.5}
    assert len((await ask("POST", "nodes?dry_run=true", light)).body["moves"]) == 2  # 24 * 0.5 / 4.5
    await cluster.nodes.pop("x0").wipe()
    await cluster.crash_orchestrator()
    await cluster.start_orchestrator()
    await cluster.until("it is back", cluster.all_live)
    assert (await ask("POST", "rebalance?dry_run=true")).body["moves"] == [], "weights are stored"


def test_nodes_hold_shards_by_their_weight() -> None:
    story(_weights, Shape(nodes=3, replication_factor=2, shards=12))


async def _in_force(cluster: SimCluster, shelf: Shelf, ask: Ask) -> None:
    assert (await ask("GET", "topology")).body["replication_factor"] == 2
    for node in ("n0-1", "n0-2"):
        await cluster.nodes[node].crash()
    await cluster.until("noticed", lambda: len(cluster.orchestrator.writes.cluster.live) == 1)
    assert (await cluster.ask("GET", "/_miroir/ready")).status == 503
    for node in ("n0-1", "n0-2"):
        await cluster.nodes[node].start()
    await cluster.until("back", cluster.all_live)
    assert (await ask("PUT", "replication_factor", {"replication_factor": 3})).status == 202
    assert (await ask("GET", "topology")).body["replication_factor"] == 3
    await settle(cluster)
    for node in ("n0-1", "n0-2"):
        await cluster.nodes[node].crash()
    await cluster.until("noticed", lambda: len(cluster.orchestrator.writes.cluster.live) == 1)
    assert (await cluster.ask("GET", "/_miroir/ready")).status == 200, "one of three holds everything"
    shown = (await ask("GET", "topology")).body
    assert shown["indexes"][0]["degraded_shards"] == shown["indexes"][0]["shards"]


def test_the_replication_factor_shown_and_asked_of_nodes_is_the_one_in_force() -> None:
    story(_in_force, Shape(nodes=3, replication_factor=2, shards=4))


async def _not_degraded(cluster: SimCluster, shelf: Shelf, ask: Ask) -> None:
    await attach(cluster, "x0")
    await ask("PATCH", "rebalance", {"documents_per_s": 5.0})
    begun = (await ask("POST", "nodes", {"id": "x0", "address": "http://x0:7700"})).body["operation"]
    copying = 0
    while (await ask("GET", f"operations/{begun}")).body["state"] == "running":
        shown = (await ask("GET", "topology")).body
        copying += shown["rebalance_in_progress"]
        assert shown["indexes"][0]["degraded_shards"] == 0
        reply = await cluster.ask("POST", "/indexes/films/documents", [shelf.document(n) for n in range(60)])
        assert reply.status == 202
        assert "x-miroir-degraded" not in reply.headers
        await asyncio.sleep(0.5)
    assert copying > 3


def test_a_plain_move_degrades_nothing() -> None:
    story(_not_degraded, Shape(nodes=3, replication_factor=2, shards=8))


async def _refusals(cluster: SimCluster, shelf: Shelf, ask: Ask) -> None:
    expected: list[tuple[str, str, Any, int, str]] = [
        ("POST", "nodes/nobody/drain", None, 404, "miroir_node_not_found"),
        ("DELETE", "nodes/nobody", None, 404, "miroir_node_not_found"),
        ("POST", "nodes/n0-0/undrain", None, 409, "miroir_conflict"),
        ("POST", "nodes/n0-0/drain", None, 409, "miroir_conflict"),  # one other node for two copies
        ("DELETE", "nodes/n0-0", None, 409, "miroir_conflict"),
        ("DELETE", "replica_groups/0", None, 409, "miroir_conflict"),
        ("DELETE", "replica_groups/7", None, 404, "miroir_node_not_found"),
        ("PUT", "replication_factor", {"replication_factor": 9}, 409, "miroir_conflict"),
        ("PUT", "replication_factor", {"factor": 9}, 400, "miroir_invalid_request"),
        ("POST", "nodes", {"id": "x", "address": "nowhere"}, 400, "miroir_invalid_request"),
        ("POST", "nodes", {"id": "x y", "address": "http://x"}, 400, "miroir_invalid_request"),
        ("POST", "nodes", {"id": "n0-0", "address": "http://other"}, 409, "miroir_conflict"),
        ("POST", "nodes", {"id": "x", "address": "http://n0-0:7700"}, 409, "miroir_conflict"),
        ("POST", "nodes", {"id": "x", "address": "http://x", "replica_group": 5}, 409, "miroir_conflict"),
        ("POST", "nodes", {"id": "x", "address": "http://nobody-there"}, 409, "miroir_conflict"),
        ("PATCH", "nodes/nobody", {"weight": 2}, 404, "miroir_node_not_found"),
        ("PATCH", "nodes/n0-0", {"weight": 0}, 400, "miroir_invalid_request"),
        ("PATCH", "nodes/n0-0", {}, 400, "miroir_invalid_request"),
        ("GET", "operations/17", None, 404, "miroir_operation_not_found"),
        ("POST", "operations/17/pause", None, 404, "miroir_operation_not_found"),
        ("POST", "indexes/films/reshard", {"shards": 0}, 409, "miroir_conflict"),
        ("POST", "indexes/films/reshard", {"shards": "3"}, 400, "miroir_invalid_request"),
        ("POST", "indexes/none/reshard", {"shards": 3}, 404, "index_not_found"),
    ]
    for method, path, body, status, code in expected:
        reply = await ask(method, path, body)
        assert (reply.status, reply.body["code"]) == (status, code), (method, path, reply)
        assert len(reply.body["message"]) > 20, "words that say what is wrong"
    assert (await ask("DELETE", "operations")).status == 405
    without = await cluster.ask("GET", "/_miroir/operations")
    assert without.status == 401
    assert (await ask("GET", "operations")).body == {"results": []}, "refused requests begin nothing"


def test_what_cannot_be_done_is_refused_in_words() -> None:
    story(_refusals, Shape(nodes=2, replication_factor=2, shards=4))


async def _last_copy(cluster: SimCluster, shelf: Shelf, ask: Ask) -> None:
    reply = await ask("DELETE", "nodes/n0-0?force=true")
    assert (reply.status, reply.body["code"]) == (409, "miroir_conflict")
    assert "last in-sync copy" in reply.body["message"]


def test_the_last_in_sync_copy_is_not_removed_even_by_force() -> None:
    story(_last_copy, Shape(nodes=2, replication_factor=1, shards=4))


async def _forced(cluster: SimCluster, shelf: Shelf, ask: Ask) -> None:
    reply = await ask("DELETE", "nodes/n0-1?force=true")
    assert reply.status == 202, reply
    await cluster.nodes.pop("n0-1").wipe()
    await settle(cluster)
    await assert_consistent(cluster, {"films": shelf.documents})
    topology = (await ask("GET", "topology")).body
    assert [node["id"] for node in topology["nodes"]] == ["n0-0", "n0-2"], "who is gone is no longer missed"
    assert topology["degraded_node_count"] == 0
    assert [node["id"] for node in (await ask("GET", "nodes")).body["results"]] == ["n0-0", "n0-2"]


def test_a_node_removed_by_force_is_made_up_for() -> None:
    story(_forced, Shape(nodes=3, replication_factor=2, shards=8))


async def _description(cluster: SimCluster, shelf: Shelf, ask: Ask) -> None:
    document = (await ask("GET", "openapi.json")).body
    assert document["openapi"].startswith("3.")
    for path, verbs in document["paths"].items():
        for verb, described in verbs.items():
            assert described["summary"]
            real = path.removeprefix("/_miroir/").replace("{id}", "0").replace("{uid}", "films")
            reply = await ask(verb.upper(), real + ("" if verb == "get" else "?dry_run=true"))
            assert reply.status not in (404, 405) or "code" in (reply.body or {}), (verb, path, reply)
    bounds = (await ask("PATCH", "rebalance", {"documents_per_s": 10.0})).body
    assert bounds["documents_per_s"] == 10.0
    for wrong in ({"max_concurrent_copies": 0}, {"documents_per_s": -1.0}, {"bytes_per_s": -0.5}):
        refused = await ask("PATCH", "rebalance", wrong)
        assert (refused.status, refused.body["code"]) == (400, "miroir_invalid_request")
    assert (await ask("PATCH", "rebalance", {})).body == bounds


def test_every_described_route_exists() -> None:
    story(_description, Shape(nodes=2, replication_factor=2, shards=4))

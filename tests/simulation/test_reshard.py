"""An index gets another number of shards while clients write and read: nobody notices, and it can be taken back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from miroir.core.hashing import shard_of
from miroir.core.moves.cluster_view import OtherLayout
from miroir.core.moves.node_list import RefusedError
from miroir.core.moves.operation_records import OperationKind, OperationRecord, OperationState
from miroir.core.topology import ReplicaState
from miroir.services.writes import resolver
from tests.simulation.test_moves import Shelf, under_load
from tests.support.moving import add_node, assert_consistent, moving_cluster, operations, settle, task_end
from tests.support.sim_checks import assert_replicas_equal
from tests.support.sim_cluster import Reply, Shape, SimCluster
from tests.support.virtual_time import run_virtual

SHAPE = Shape(nodes=3, replication_factor=2, shards=4)
LONG_S = 1000.0


def story(
    tell: Callable[[SimCluster, Shelf], Awaitable[None]],
    seed: int = 0,
    shape: Shape = SHAPE,
    *,
    balanced: bool = True,
    **changes: Any,
) -> None:
    """Run `tell` on a cluster with documents; at the end nodes hold what is read, and nothing else."""

    async def main() -> None:
        rng = random.Random(seed)
        async with moving_cluster(shape, rng, **changes) as cluster:
            shelf = Shelf(cluster, rng)
            await shelf.load(100)
            await tell(cluster, shelf)
            await settle(cluster, within_s=3000.0)
            await cluster.until("quiet", cluster.is_quiet)
            indexes = cluster.orchestrator.writes.cluster.sequenced.indexes.values()
            await assert_replicas_equal(cluster)
            if shelf.documents and not shape.exact:
                await assert_consistent(cluster, {shelf.uid: shelf.documents}, balanced=balanced)
            fed = {layout for index in indexes for layout in index.layouts}
            assert len(fed) == len(indexes)
            for node, found in (await held(cluster)).items():
                assert found <= fed, f"{node} still holds {found - fed}"

    run_virtual(main())


def shards_of(cluster: SimCluster, uid: str = "films") -> int:
    """How many shards readers see."""
    return cluster.orchestrator.writes.cluster.snapshot().indexes[uid].shard_count


def state_of(cluster: SimCluster, number: int = 1) -> OperationState:
    return operations(cluster).all[number].state


async def held(cluster: SimCluster) -> dict[str, set[str]]:
    """Node -> indexes of ours that it holds."""
    return {
        name: {
            index["uid"]
            for index in (await node.ask("GET", "/indexes?limit=1000"))["results"]
            if index["uid"].startswith("miroir-0")
        }
        for name, node in cluster.nodes.items()
        if node.up
    }


async def reshard(cluster: SimCluster, shards: int, retention_s: float = 0.0) -> OperationRecord:
    return await operations(cluster).reshard("films", shards, retention_s)


async def until_read(cluster: SimCluster, shards: int) -> None:
    await cluster.until("readers use the new layout", lambda: shards_of(cluster) == shards)


async def until_copying(cluster: SimCluster) -> None:
    await cluster.until(
        "documents are copied", lambda: any(c.documents > 5 for c in operations(cluster).copies())
    )


async def write(shelf: Shelf, count: int) -> None:
    for _ in range(count):
        await shelf.write_something()


@pytest.mark.parametrize(("before", "after"), [(4, 6), (4, 8), (8, 2), (3, 1)])
def test_the_number_of_shards_changes_under_load(before: int, after: int) -> None:
    async def tell(cluster: SimCluster, shelf: Shelf) -> None:
        tasks, writes = len(cluster.orchestrator.writes.log.tasks), shelf.writes
        await under_load(cluster, shelf, lambda: reshard(cluster, after))
        assert state_of(cluster) is OperationState.DONE
        assert shards_of(cluster) == after
        made = len(cluster.orchestrator.writes.log.tasks) - tasks
        assert made == shelf.writes - writes, "the operation takes no task uid"

    story(tell, before + after, Shape(nodes=3, replication_factor=2, shards=before))


@pytest.mark.parametrize("seed", range(2))
def test_going_back_loses_nothing_that_was_written_since(seed: int) -> None:
    async def tell(cluster: SimCluster, shelf: Shelf) -> None:
        begun = await reshard(cluster, 6, LONG_S)

        async def back() -> None:
            await until_read(cluster, 6)
            await asyncio.sleep(3.0)
            await operations(cluster).control(begun.id, OperationState.CANCELLING)

        await under_load(cluster, shelf, back)
        assert state_of(cluster) is OperationState.CANCELLED
        assert operations(cluster).all[begun.id].reason is None, "what it waited for is no reason"
        assert shards_of(cluster) == 4

    story(tell, seed)


def test_until_the_retention_ends_the_old_layout_is_kept_and_then_it_goes() -> None:
    async def tell(cluster: SimCluster, shelf: Shelf) -> None:
        begun = await reshard(cluster, 6, 60.0)
        await until_read(cluster, 6)
        await write(shelf, 5)
        assert len(set.union(*(await held(cluster)).values())) == 2
        assert state_of(cluster) is OperationState.RUNNING
        await settle(cluster)
        assert state_of(cluster) is OperationState.DONE
        with pytest.raises(RefusedError, match="done"):
            await operations(cluster).control(begun.id, OperationState.CANCELLING)

    story(tell)


def test_cancelled_while_it_is_copied_nothing_is_left_of_it() -> None:
    async def tell(cluster: SimCluster, shelf: Shelf) -> None:
        begun = await reshard(cluster, 6)
        await until_copying(cluster)
        await operations(cluster).control(begun.id, OperationState.PAUSED)
        await write(shelf, 5)
        assert shards_of(cluster) == 4
        await operations(cluster).control(begun.id, OperationState.CANCELLING)
        await settle(cluster)
        assert state_of(cluster) is OperationState.CANCELLED
        assert shards_of(cluster) == 4
        await reshard(cluster, 6)  # and again, to its end
        await settle(cluster)
        assert shards_of(cluster) == 6

    story(tell, documents_per_s=20.0)


@pytest.mark.parametrize("late", [False, True])
def test_deleting_the_index_ends_it(late: bool) -> None:
    async def tell(cluster: SimCluster, shelf: Shelf) -> None:
        await reshard(cluster, 6, LONG_S)
        await (until_read(cluster, 6) if late else until_copying(cluster))
        await shelf.send("DELETE", "")
        shelf.documents.clear()
        await settle(cluster)
        assert state_of(cluster) is OperationState.CANCELLED
        await shelf.load(20)  # another index of the same name
        assert shards_of(cluster) == 4

    story(tell, documents_per_s=20.0)


@pytest.mark.parametrize("late", [False, True])
def test_swapping_and_renaming_go_on_meanwhile(late: bool) -> None:
    async def tell(cluster: SimCluster, shelf: Shelf) -> None:
        other = Shelf(cluster, random.Random(5), "books")
        await other.load(20)
        begun = await reshard(cluster, 6, 20.0)
        await (until_read(cluster, 6) if late else until_copying(cluster))
        swapped = await cluster.ask("POST", "/swap-indexes", [{"indexes": ["films", "books"]}])
        assert (await task_end(cluster, swapped.body["taskUid"])).status == "succeeded"
        shelf.uid, other.uid = "books", "films"
        await write(shelf, 5)
        await write(other, 5)
        await shelf.send("PATCH", "", {"uid": "shows"})
        shelf.uid = "shows"
        await write(shelf, 5)
        await settle(cluster)
        assert state_of(cluster, begun.id) is OperationState.DONE
        assert (shards_of(cluster, "shows"), shards_of(cluster, "films")) == (6, 4)
        await assert_consistent(cluster, {"films": other.documents})

    story(tell, documents_per_s=60.0)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("factor", [1, 2])
def test_a_node_that_loses_its_disk_meanwhile_is_made_up_for(factor: int, late: bool) -> None:
    async def tell(cluster: SimCluster, shelf: Shelf) -> None:
        begun = await reshard(cluster, 6, 60.0)
        await (until_read(cluster, 6) if late else until_copying(cluster))
        if factor == 1:
            await cluster.nodes["n0-1"].crash()  # of the only copies none may get lost
        else:
            await cluster.nodes["n0-1"].wipe()
        await cluster.until("it is down", lambda: "n0-1" not in cluster.orchestrator.writes.cluster.live)
        await cluster.nodes["n0-1"].start()
        await cluster.until("it is back", cluster.all_live)
        await write(shelf, 10)
        await settle(cluster)
        assert state_of(cluster, begun.id) is OperationState.DONE
        assert shards_of(cluster) == 6

    story(tell, factor, Shape(nodes=3, replication_factor=factor, shards=4))


async def _both_copies_lost(cluster: SimCluster, shelf: Shelf) -> None:
    begun = await reshard(cluster, 6, 60.0)
    await until_read(cluster, 6)
    await cluster.until("quiet", cluster.is_quiet)
    state = cluster.orchestrator.writes.cluster
    (index,) = state.sequenced.indexes.values()
    assert index.other_layout is not None
    old, new = (state.placement[one].shards for one in (index.other_layout, index.layout))
    parts = {shard: list(OtherLayout("", old).has_part_of(shard, len(new))) for shard in range(len(new))}
    lost, wiped = next(
        (s, set(r)) for s, r in enumerate(new) if all(set(old[part]) - set(r) for part in parts[s])
    )

    def states() -> set[ReplicaState]:
        return set(state.placement[index.layout].shards[lost].values())

    for node in sorted(wiped):
        await cluster.nodes[node].wipe()
    await cluster.until("they are down", lambda: not wiped & state.live)
    for node in sorted(wiped):
        await cluster.nodes[node].start()
    await cluster.until("it is lost", lambda: ReplicaState.IN_SYNC not in states(), within_s=60)
    await cluster.until("it is made anew", lambda: states() == {ReplicaState.IN_SYNC})
    mine = {one for one in shelf.documents if shard_of(one, 6) == lost}
    assert mine
    for one in mine:
        assert (await cluster.ask("GET", f"/indexes/films/documents/{one}")).body == shelf.documents[one]
    # Of what is in neither layout any more the old one is kept: the operator may know of a backup.
    whole = all(ReplicaState.IN_SYNC in r.values() for r in state.placement[index.layout].shards)
    await asyncio.sleep(90.0)
    assert (state_of(cluster, begun.id) is OperationState.DONE) is whole


def test_shards_whose_copies_are_all_lost_are_made_anew_from_the_layout_that_is_kept() -> None:
    """Both nodes that held them lose their disks at once; the old layout is cut otherwise, and lies elsewhere too."""

    async def main() -> None:
        rng = random.Random(21)
        async with moving_cluster(Shape(nodes=5, replication_factor=2, shards=4), rng) as cluster:
            shelf = Shelf(cluster, rng)
            await shelf.load(80)
            await _both_copies_lost(cluster, shelf)

    run_virtual(main())


def test_a_dead_node_is_replaced_in_the_layout_that_is_built_too() -> None:
    async def tell(cluster: SimCluster, shelf: Shelf) -> None:
        await reshard(cluster, 6)
        await until_copying(cluster)
        await cluster.nodes["n0-2"].crash()
        await write(shelf, 5)
        await until_read(cluster, 6)
        await cluster.nodes["n0-2"].start()
        await cluster.until("it is back", cluster.all_live)

    story(tell, 3, Shape(nodes=4, replication_factor=2, shards=4), balanced=False)


def test_a_node_joins_and_another_is_drained_meanwhile() -> None:
    async def tell(cluster: SimCluster, shelf: Shelf) -> None:
        async def grow() -> None:
            await reshard(cluster, 8)
            await until_copying(cluster)
            joined = await add_node(cluster, "x0")
            await cluster.until("it has its share", lambda: not operations(cluster).all[joined.id].open)
            await operations(cluster).request(OperationKind.DRAIN, {"node": "n0-0"})

        await under_load(cluster, shelf, grow)
        assert {operation.state for operation in operations(cluster).all.values()} == {OperationState.DONE}
        assert shards_of(cluster) == 8
        record = cluster.orchestrator.writes.cluster.snapshot().indexes["films"].placement
        assert not any("n0-0" in replicas for replicas in record)

    story(tell, 5)


def test_two_groups_and_exact_mode() -> None:
    async def tell(cluster: SimCluster, shelf: Shelf) -> None:
        await under_load(cluster, shelf, lambda: reshard(cluster, 3))
        assert shards_of(cluster) == 3

    story(tell, 6, Shape(nodes=2, groups=2, replication_factor=1, shards=4, exact=True))


@pytest.mark.parametrize("back", [False, True])
def test_what_nodes_refuse_meanwhile_is_the_same_in_both_layouts(
    back: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node refuses the whole of a request: which documents that are depends on the layout."""
    monkeypatch.setattr(resolver, "check_documents", lambda *args: None)

    async def spoil(cluster: SimCluster, shelf: Shelf, first: int) -> None:
        batch = [shelf.document(first + n) for n in range(20)]
        batch[7]["_geo"] = "nowhere"
        reply = await cluster.ask("POST", "/indexes/films/documents", batch)
        assert (await task_end(cluster, reply.body["taskUid"])).status == "failed"

    async def tell(cluster: SimCluster, shelf: Shelf) -> None:
        await shelf.send("PATCH", "/settings", {"filterableAttributes": ["genre", "_geo"]})
        begun = await reshard(cluster, 6, LONG_S if back else 5.0)
        await until_copying(cluster)
        await spoil(cluster, shelf, 20_000)
        await until_read(cluster, 6)
        await spoil(cluster, shelf, 30_000)
        if back:
            await operations(cluster).control(begun.id, OperationState.CANCELLING)
        await settle(cluster)
        assert shards_of(cluster) == (4 if back else 6)
        listed = (await cluster.ask("GET", "/indexes/films/documents?limit=1000")).body["results"]
        counted = (await cluster.ask("GET", "/indexes/films/stats")).body["numberOfDocuments"]
        assert counted == len(listed) > len(shelf.documents), "what other nodes took is kept"
        shelf.documents = {str(one["id"]): one for one in listed}

    story(tell, 7, documents_per_s=40.0)


def test_a_plan_shows_what_it_would_take_and_what_cannot_be_is_refused() -> None:
    async def tell(cluster: SimCluster, shelf: Shelf) -> None:
        async def ask(path: str, body: Any, status: int) -> Any:
            headers = {"x-admin-key": "an-admin-key"}
            reply: Reply = await cluster.ask("POST", f"/_miroir/{path}", body, headers=headers)
            assert reply.status == status, reply
            return reply.body

        plan = await ask("indexes/films/reshard?dry_run=true", {"shards": 8}, 200)
        assert plan["dry_run"]
        assert plan["kind"] == "reshard"
        assert plan["planned"]["documents"] == 2 * len(shelf.documents)
        assert set(plan["planned"]["peak_disk_bytes"]) == {"n0-0", "n0-1", "n0-2"}
        assert {(move["index"], move["from"]) for move in plan["moves"]} == {("films", None)}
        assert operations(cluster).all == {}
        assert "1 to 2744" in (await ask("indexes/films/reshard", {"shards": 2745}, 409))["message"]
        assert "4 shards already" in (await ask("indexes/films/reshard", {"shards": 4}, 409))["message"]
        begun = await ask("indexes/films/reshard", {"shards": 8, "retention_s": 20}, 202)
        busy = await ask("indexes/films/reshard", {"shards": 6}, 409)
        assert f"/_miroir/operations/{begun['operation']}/cancel" in busy["message"]
        await until_read(cluster, 8)
        told = (await cluster.ask("GET", "/_miroir/metrics", headers={"x-admin-key": "an-admin-key"})).body
        for line in (
            'miroir_operations{kind="reshard",state="running"} 1.0',
            'miroir_layouts{state="kept"} 1.0',
            'miroir_layout_switches_total{to="new"} 1.0',
            f"miroir_documents_copied_total {plan['planned']['documents']}.0",
        ):
            assert line in told, told
        shown = await cluster.ask(
            "GET", f"/_miroir/operations/{begun['operation']}", headers={"x-admin-key": "an-admin-key"}
        )
        assert shown.body["moves_done"] == shown.body["moves_total"] == 16
        assert shown.body["actual"]["documents"] == plan["planned"]["documents"]
        assert shown.body["old_layout_kept_until_ns"]

    story(tell, admin_api_key="an-admin-key")

"""Words of documents that nodes refused are gone from every node of an exact index, though nothing is written after it."""

from __future__ import annotations

import random

import orjson
import pytest

from miroir.core.reserved import GHOST_FIELD
from miroir.services.moves.ghost_delivery import GhostDelivery
from miroir.services.writes import resolver
from tests.simulation.test_moves import Shelf
from tests.support.moving import moving_cluster, task_end
from tests.support.sim_cluster import Shape, SimCluster
from tests.support.virtual_time import run_virtual


async def _words_on(cluster: SimCluster, node: str, physical: str) -> str:
    """Every hidden document of a node, as text."""
    path = f"/indexes/{physical}/documents/fetch"
    found = await cluster.nodes[node].ask("POST", path, {"limit": 10_000})
    return orjson.dumps([one for one in found["results"] if one.get(GHOST_FIELD)]).decode()


@pytest.mark.parametrize("crash", [False, True])
def test_words_that_were_refused_leave_the_nodes_by_themselves(crash: bool) -> None:
    """Also when the orchestrator dies between taking them back and telling the nodes."""

    async def main() -> None:
        rng = random.Random(4)
        shape = Shape(nodes=3, replication_factor=2, shards=8, exact=True)
        async with moving_cluster(shape, rng) as cluster:
            shelf = Shelf(cluster, rng)
            await shelf.load(30)
            await shelf.send("PATCH", "/settings", {"filterableAttributes": ["genre", "_geo"]})
            physical = cluster.orchestrator.writes.cluster.visible.names["films"]
            batch = [{**shelf.document(20_000 + n), "title": f"refused{n}zz"} for n in range(12)]
            batch[7]["_geo"] = "nowhere"
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(resolver, "check_documents", lambda *args: None)
                if crash:

                    async def never(self: GhostDelivery, physical: str) -> bool:
                        return False

                    patch.setattr(GhostDelivery, "bring", never)
                reply = await cluster.ask("POST", "/indexes/films/documents", batch)
                task = await task_end(cluster, reply.body["taskUid"])
                assert task.status == "failed"
                if crash:
                    await cluster.until(
                        "words are taken back",
                        lambda: all(
                            op.stage == "done" for op in cluster.orchestrator.writes.log.ops.values()
                        ),
                    )
                    await cluster.crash_orchestrator()
            await cluster.start_orchestrator()
            await cluster.until("it is back", cluster.all_live)
            await cluster.until("it is settled", lambda: not cluster.orchestrator.writes.mending.open_records)
            listed = (await cluster.ask("GET", "/indexes/films/documents?limit=1000")).body["results"]
            kept = {one["title"] for one in listed if one["title"].startswith("refused")}
            assert 0 < len(kept) < 11
            for node in cluster.nodes:
                words = await _words_on(cluster, node, physical)
                for document in batch:
                    assert (f"{document['title']}" in words) is (document["title"] in kept), (node, document)

    run_virtual(main())

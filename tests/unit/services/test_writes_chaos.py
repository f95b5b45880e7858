"""Random writes under random faults, node outages and orchestrator crashes: the cluster ends as one node would.

Every acknowledged op takes effect exactly once, in task order; replicas end equal; what a task reported stays true.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from tests.support.faults import FaultRates
from tests.support.virtual_time import run_virtual
from tests.unit.services.small_cluster import SmallCluster

FAULTS = FaultRates(late=0.04, cut=0.06, refused=0.05, dropped=0.03, duplicated=0.05)
SEEDS = 12


@dataclass
class Model:
    """What one Meilisearch would hold, from the acknowledged ops in task order."""

    ops: dict[int, tuple[str, Any]] = field(default_factory=dict)

    def documents(self, failed: set[int]) -> dict[str, dict[str, Any]]:
        held: dict[str, dict[str, Any]] = {}
        for uid in sorted(self.ops):
            if uid in failed:
                continue
            kind, value = self.ops[uid]
            if kind == "replace":
                held.update({str(d["id"]): d for d in value})
            elif kind == "merge":
                for document in value:
                    held[str(document["id"])] = {**held.get(str(document["id"]), {}), **document}
            elif kind == "delete":
                for document_id in value:
                    held.pop(str(document_id), None)
            elif kind == "filter":
                held = {k: d for k, d in held.items() if d.get("kind") != value}
            elif kind == "clear":
                held = {}
        return held


async def write_something(cluster: SmallCluster, model: Model, rng: random.Random) -> None:
    """One random write; acknowledged ones enter the model."""
    ids = [rng.randrange(25) for _ in range(rng.randrange(1, 6))]
    documents = [{"id": n, "kind": rng.choice("xyz"), "v": rng.randrange(1000)} for n in ids]
    dice = rng.random()
    base = "/indexes/m/documents"
    if dice < 0.4:
        kind, value, reply = "replace", documents, await cluster.ask("POST", base, documents)
    elif dice < 0.65:
        parts = [{"id": n, f"f{rng.randrange(3)}": rng.randrange(1000)} for n in ids]
        kind, value, reply = "merge", parts, await cluster.ask("PUT", base, parts)
    elif dice < 0.82:
        kind, value, reply = "delete", ids, await cluster.ask("POST", f"{base}/delete-batch", ids)
    elif dice < 0.92:
        value = rng.choice("xyz")
        kind, reply = "filter", await cluster.ask("POST", f"{base}/delete", {"filter": f"kind = {value}"})
    elif dice < 0.95:
        kind, value, reply = "clear", None, await cluster.ask("DELETE", base)
    else:
        rules = rng.sample(["words", "typo", "proximity", "sort", "exactness"], 3)
        kind, value = "settings", rules
        reply = await cluster.ask("PATCH", "/indexes/m/settings", {"rankingRules": rules})
    if reply.status == 202:
        model.ops[orjson.loads(reply.body)["taskUid"]] = (kind, value)
    else:
        assert reply.status == 503, reply.body


async def one_life(cluster: SmallCluster, model: Model, rng: random.Random, *, last: bool) -> None:
    """One orchestrator from start to crash (or, the last one, to the end)."""
    async with cluster.orchestrator():
        await cluster.live()
        for _ in range(rng.randrange(3, 15)):
            if rng.random() < 0.15 and not cluster.down:
                cluster.stop(rng.choice(cluster.names))
            elif rng.random() < 0.3:
                cluster.start_all()
            await write_something(cluster, model, rng)
            await asyncio.sleep(rng.choice([0, 0, 0.01, 0.1, 1, 6]))
        if not last:
            await asyncio.sleep(rng.random() * 2)
            return
        cluster.network.rates = FaultRates()
        cluster.start_all()
        failed = set()
        for uid in model.ops:
            task = await cluster.wait(uid, limit_s=3000)
            if task["status"] == "failed":
                assert task["error"]["code"] == "index_not_found", task
                failed.add(uid)
        await cluster.quiet()
        wanted = model.documents(failed)
        assert cluster.merged("m") == wanted
        stats = await cluster.get("/indexes/m/stats")
        assert stats["numberOfDocuments"] == len(wanted)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_any_history_ends_as_on_one_node(tmp_path, seed):
    rng = random.Random(seed)
    cluster = SmallCluster(tmp_path / "miroir.db", seed=seed, rates=FAULTS)
    model = Model()

    async def main() -> None:
        async with cluster.running_nodes():
            async with cluster.orchestrator():
                await cluster.live()
                start = {"filterableAttributes": ["kind"]}
                uid = await cluster.write("PATCH", "/indexes/m/settings", start)
                model.ops[uid] = ("settings", None)
                await cluster.wait(uid)
                await cluster.live()  # faults may have hidden a node meanwhile
                model.ops[await cluster.write("POST", "/indexes/m/documents", [{"id": 0, "kind": "x"}])] = (
                    "replace",
                    [{"id": 0, "kind": "x"}],
                )
            lives = rng.randrange(1, 5)
            for life in range(lives):
                await one_life(cluster, model, rng, last=life == lives - 1)

    run_virtual(main())

"""One random history, told to a simulated cluster and to one engine; then every answer compared."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from tests.support import sim_queries
from tests.support.faults import FaultRates
from tests.support.sim_checks import Oracle, all_tasks, assert_same, stable
from tests.support.sim_cluster import Shape, SimCluster, sim_cluster

QUESTIONS = 25
Request = tuple[str, str, Any]


async def run(seed: int) -> int:
    """Tell history `seed`; AssertionError shows the first difference. Returns how many answers were compared."""
    rng = random.Random(seed)
    shape = replace(Shape.random(rng), exact=True)
    vectors = rng.random() < 0.3
    async with sim_cluster(shape, random.Random(seed)) as cluster:
        cluster.network.rates = FaultRates(latency_s=0.0005)
        oracle = await Oracle.open(cluster.now_ns)
        try:
            compared = 0
            for _ in range(rng.randint(1, 3)):
                for write in _writes(rng, vectors=vectors):
                    ours, theirs = await cluster.ask(*write), await oracle.ask(*write)
                    assert_same(
                        f"seed {seed} {write}", [ours.status, ours.body], [theirs.status, theirs.body]
                    )
                await cluster.until("every task ended", lambda: _done(cluster))
                compared += await _compare(cluster, oracle, rng, vectors=vectors)
            mine, other = await all_tasks(cluster.ask), await all_tasks(oracle.ask)
            assert_same(f"seed {seed} tasks", mine, other)
            return compared
        finally:
            oracle.close()


def _done(cluster: SimCluster) -> bool:
    return all(op.stage == "done" for op in cluster.orchestrator.writes.log.ops.values())


async def _compare(cluster: SimCluster, oracle: Oracle, rng: random.Random, *, vectors: bool) -> int:
    questions: list[Request] = [sim_queries.question(rng, vectors=vectors) for _ in range(QUESTIONS)]
    for index in sim_queries.INDEXES:
        questions += [
            ("GET", f"/indexes/{index}/{what}", None) for what in ("documents", "settings", "stats")
        ]
    for request in questions:
        ours, theirs = await cluster.ask(*request), await oracle.ask(*request)
        mine, other = [ours.status, stable(ours.body)], [theirs.status, stable(theirs.body)]
        assert_same(f"{cluster.shape} {request}", mine, other)
    return len(questions)


def _writes(rng: random.Random, *, vectors: bool) -> list[Request]:
    writes: list[Request] = []
    for index in sim_queries.INDEXES:
        here = f"/indexes/{index}"
        if rng.random() < 0.8:
            writes.append(("PATCH", f"{here}/settings", sim_queries.first_settings(rng, vectors=vectors)))
        for _ in range(rng.randint(1, 3)):
            documents = [sim_queries.document(rng, vectors=vectors) for _ in range(rng.randint(1, 25))]
            writes.append((rng.choice(("POST", "PUT")), f"{here}/documents?primaryKey=id", documents))
        dice = rng.random()
        if dice < 0.3:
            writes.append(("POST", f"{here}/documents/delete-batch", [rng.randrange(40) for _ in range(6)]))
        elif dice < 0.4:
            writes.append(("POST", f"{here}/documents/delete", {"filter": "year > 1995"}))
        elif dice < 0.5:
            writes.append(("PATCH", f"{here}/settings", sim_queries.settings(rng)))
        elif dice < 0.53:
            writes.append(("DELETE", f"{here}/documents", None))
    if rng.random() < 0.1:
        writes.append(("POST", "/swap-indexes", [{"indexes": list(sim_queries.INDEXES)}]))
    return writes

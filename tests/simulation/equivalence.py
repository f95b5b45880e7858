"""One random history, told to a simulated cluster and to one engine; then every answer compared."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

from pyroaring import BitMap

from miroir.engine.attribute_pairs import AttributePairs, Words
from tests.support import sim_queries
from tests.support.faults import FaultRates
from tests.support.sim_checks import Oracle, all_tasks, assert_same, stable
from tests.support.sim_cluster import Shape, SimCluster, sim_cluster

QUESTIONS = 15
Request = tuple[str, str, Any]


@dataclass
class Compared:
    """Answers compared, and what was unlike. `exact` must be none: writes, tasks, settings, documents, counts.

    `remembered`: answers unlike for what servers remember of pairs of words alone.
    """

    total: int = 0
    federated: int = 0
    remembered: int = 0
    exact: list[str] = field(default_factory=list)
    searches: list[str] = field(default_factory=list)
    federations: list[str] = field(default_factory=list)

    def add(self, kind: str, what: str, ours: Any, theirs: Any) -> None:
        """Compare one answer. With MIROIR_STRICT=1 the first difference fails."""
        self.total += 1
        self.federated += kind == "federations"
        try:
            assert_same(what, ours, theirs)
        except AssertionError as difference:
            if os.environ.get("MIROIR_STRICT"):
                raise
            getattr(self, kind).append(str(difference))


async def run(seed: int) -> Compared:
    """Tell history `seed` to both and compare."""
    rng = random.Random(seed)
    shape = replace(Shape.random(rng), exact=True)
    vectors = rng.random() < 0.3
    async with sim_cluster(shape, random.Random(seed)) as cluster:
        cluster.network.rates = FaultRates(latency_s=0.0005)
        oracle = await Oracle.open(cluster.now_ns)
        try:
            compared = Compared()
            for _ in range(rng.randint(1, 3)):
                for write in _writes(rng, vectors=vectors):
                    ours, theirs = await cluster.ask(*write), await oracle.ask(*write)
                    assert_same(
                        f"seed {seed} {write}", [ours.status, ours.body], [theirs.status, theirs.body]
                    )
                await cluster.until("every task ended", lambda: _done(cluster))
                await _compare(compared, f"seed {seed}", cluster, oracle, rng, vectors=vectors)
            tasks = await all_tasks(cluster.ask), await all_tasks(oracle.ask)
            compared.add("exact", f"seed {seed} tasks", *tasks)
            return compared
        finally:
            oracle.close()


def _done(cluster: SimCluster) -> bool:
    return all(op.stage == "done" for op in cluster.orchestrator.writes.log.ops.values())


async def _compare(
    compared: Compared, seed: str, cluster: SimCluster, oracle: Oracle, rng: random.Random, *, vectors: bool
) -> None:
    questions: list[Request] = [sim_queries.question(rng, vectors=vectors) for _ in range(QUESTIONS)]
    for index in sim_queries.INDEXES:
        questions += [
            ("GET", f"/indexes/{index}/{what}", None) for what in ("documents", "settings", "stats")
        ]
    for request in questions:
        kind = _kind(request)
        mine, other = await _answers(cluster, oracle, request)
        if kind != "exact" and not _alike(mine, other) and await _by_attribute(oracle):
            with _pairs_remembered_whole():
                again = await _answers(cluster, oracle, request)
            if _alike(*again):
                compared.remembered += 1
                mine, other = again
        compared.add(kind, f"{seed} {cluster.shape} {request}", mine, other)


async def _answers(cluster: SimCluster, oracle: Oracle, request: Request) -> tuple[list[Any], list[Any]]:
    ours, theirs = await cluster.ask(*request), await oracle.ask(*request)
    return [ours.status, stable(ours.body)], [theirs.status, stable(theirs.body)]


def _alike(mine: list[Any], other: list[Any]) -> bool:
    try:
        assert_same("", mine, other)
    except AssertionError:
        return False
    return True


async def _by_attribute(oracle: Oracle) -> bool:
    paths = [f"/indexes/{index}/settings/proximity-precision" for index in sim_queries.INDEXES]
    return "byAttribute" in [(await oracle.ask("GET", path)).body for path in paths]


@contextmanager
def _pairs_remembered_whole() -> Iterator[None]:
    """Servers remember pairs of words in an attribute in full, not as far as the first bucket needed them.

    Answers that are alike then differ by that alone, as docs/exact.md tells: no shard sees the first bucket of all.
    """
    plain = AttributePairs.documents

    def documents(pairs: AttributePairs, left: Words, right: Words, _: BitMap | None) -> BitMap:
        return plain(pairs, left, right, None)

    with mock.patch.object(AttributePairs, "documents", documents):
        yield


def _kind(request: Request) -> str:
    _, path, body = request
    if "federation" in (body or {}):
        return "federations"
    return "searches" if path.endswith(("search", "similar")) else "exact"


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

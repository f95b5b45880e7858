"""A cluster of any shape answers as one engine: random settings, documents, operations and questions, exact indexes.

Seeded: `MIROIR_SEEDS=5000` for many, `MIROIR_SEED=n` for one again; `MIROIR_STRICT=1` fails at the first difference.
"""

from __future__ import annotations

from tests.simulation import equivalence
from tests.simulation.seeds import sweep

USUAL = 300
#: part of what many more histories ask that may differ by what docs/exact.md lists; of the usual ones none
DIFFERING_MAX = 0.0005
#: part that differs by what servers remember of pairs of words alone
REMEMBERED_MAX = 0.001


def test_a_cluster_answers_as_one_engine() -> None:
    results = [compared for _, compared in sweep(equivalence.run, USUAL, seconds=300)]
    total = sum(compared.total for compared in results)
    federated = sum(compared.federated for compared in results)
    exact = [difference for compared in results for difference in compared.exact]
    searches = [difference for compared in results for difference in compared.searches]
    federations = [difference for compared in results for difference in compared.federations]
    remembered = sum(compared.remembered for compared in results)
    summary = f"{len(results)} histories, {total} answers; unlike: {len(searches)} searches"
    print(f"{summary}, {len(federations)} of {federated} federations, {remembered} by memory")  # noqa: T201 - what the run was worth
    assert total > 25 * len(results)
    assert not exact, exact[0]
    assert remembered <= max(1, REMEMBERED_MAX * total)
    allowed = DIFFERING_MAX if len(results) > USUAL else 0
    assert len(searches) <= allowed * total, "\n".join(searches)
    assert len(federations) <= allowed * federated, "\n".join(federations)

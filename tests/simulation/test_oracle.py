"""A cluster of any shape answers as one engine: random settings, documents, operations and questions, exact indexes.

Seeded: `MIROIR_SEEDS=5000` for many, `MIROIR_SEED=n` for one again; `MIROIR_STRICT=1` fails at the first difference.
"""

from __future__ import annotations

from tests.simulation import equivalence
from tests.simulation.seeds import sweep

USUAL = 300
#: searches in many more histories that may differ by what docs/exact.md lists; of the usual ones none
SEARCHES_MAX = 0.0005
FEDERATIONS_MAX = 0.01  #: none but what the searches in them differ in


def test_a_cluster_answers_as_one_engine() -> None:
    results = [compared for _, compared in sweep(equivalence.run, USUAL, seconds=90)]
    total = sum(compared.total for compared in results)
    federated = sum(compared.federated for compared in results)
    exact = [difference for compared in results for difference in compared.exact]
    searches = [difference for compared in results for difference in compared.searches]
    federations = [difference for compared in results for difference in compared.federations]
    summary = f"{len(results)} histories, {total} answers; unlike: {len(searches)} searches"
    print(f"{summary}, {len(federations)} of {federated} federations")  # noqa: T201 - what the run was worth
    assert total > 25 * len(results)
    assert not exact, exact[0]
    allowed = SEARCHES_MAX * total if len(results) > USUAL else 0
    assert len(searches) <= allowed, "\n".join(searches)
    assert len(federations) <= FEDERATIONS_MAX * federated, "\n".join(federations)

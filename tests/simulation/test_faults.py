"""Random writes and reads over a cluster whose parts fail at random: invariants 1 to 5 of the design.

Seeded: `MIROIR_SEEDS=1000` for many, `MIROIR_SEED=n` for one again.
"""

from __future__ import annotations

from tests.simulation import scenario
from tests.simulation.seeds import sweep

USUAL = 150


def test_no_fault_loses_doubles_or_reorders_anything() -> None:
    results = sweep(scenario.run, USUAL, seconds=75)
    happened = {name: sum(result[name] for _, result in results) for name in results[0][1]}
    print(len(results), "seeds:", happened)  # noqa: T201 - what the run was worth
    assert happened["writes"] > 5 * len(results)
    assert happened["full_reads"] > 2 * len(results), "readers saw whole indexes too rarely to prove anything"

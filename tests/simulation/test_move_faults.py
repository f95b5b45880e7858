"""Random operations among random faults, writes and reads: nothing lost, doubled, resurrected or reordered.

Seeded: `MIROIR_SEEDS=1000` for many, `MIROIR_SEED=n` for one again.
"""

from __future__ import annotations

from functools import partial

from tests.simulation import move_scenario
from tests.simulation.seeds import sweep

USUAL = 40


def test_no_fault_during_moves_loses_doubles_or_reorders_anything() -> None:
    results = sweep(move_scenario.run, USUAL, seconds=60)
    happened = {name: sum(result[name] for _, result in results) for name in results[0][1]}
    print(len(results), "seeds:", happened)  # noqa: T201 - what the run was worth
    if len(results) > 5:
        assert happened["operations"] > len(results)
        assert happened["documents_moved"] > 2 * len(results)


def test_no_fault_while_indexes_get_other_numbers_of_shards_does() -> None:
    results = sweep(partial(move_scenario.run, reshards=0.7), 15, seconds=25)
    happened = {name: sum(result[name] for _, result in results) for name in results[0][1]}
    print(len(results), "seeds:", happened)  # noqa: T201
    if len(results) > 5:
        assert happened["resharded"] > 0

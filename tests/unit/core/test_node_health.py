"""Hysteresis of node health."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from miroir.core.node_health import Health, after_probe


def run(results, down=3, up=2):
    health = Health()
    seen = []
    for ok in results:
        health = after_probe(health, ok=ok, failures_to_down=down, successes_to_up=up)
        seen.append(health.up)
    return seen


def test_it_takes_a_streak_to_change_and_one_probe_to_begin():
    assert run([True, False, False, True, False, False, False, True, True]) == [
        True, True, True, True, True, True, False, False, True,
    ]  # fmt: skip
    assert run([False]) == [False]


@given(st.lists(st.booleans(), min_size=1), st.integers(1, 4), st.integers(1, 4))
def test_a_change_needs_as_many_results_in_a_row(results, down, up):
    seen = run(results, down, up)
    for i in range(1, len(seen)):
        if seen[i] != seen[i - 1]:
            needed = up if seen[i] else down
            assert results[i + 1 - needed : i + 1] == [seen[i]] * needed

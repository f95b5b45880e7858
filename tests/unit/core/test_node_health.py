"""Hysteresis of node health; doubt is not death."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from miroir.core.node_health import Health, Probe, after_probe, doubt

OK, LATE, FAILED, SILENT = Probe.OK, Probe.LATE, Probe.FAILED, Probe.SILENT
ANSWERED = (OK, LATE)
probes = st.lists(st.sampled_from(Probe), min_size=1)


def run(results: list[Probe], down: int = 3, up: int = 2) -> list[Health]:
    health = Health()
    seen = []
    for result in results:
        health = after_probe(health, result, failures_to_down=down, successes_to_up=up)
        seen.append(health)
    return seen


def ups(results: list[Probe]) -> list[bool]:
    return [health.up for health in run(results)]


def test_it_takes_a_streak_to_change_and_one_probe_to_begin() -> None:
    assert ups([OK, FAILED, FAILED, OK, FAILED, FAILED, FAILED, OK, OK]) == [
        True, True, True, True, True, True, False, False, True,
    ]  # fmt: skip
    assert ups([FAILED]) == [False]
    assert ups([LATE]) == [True]


def test_silence_counts_at_once() -> None:
    assert ups([OK, SILENT, OK, OK]) == [True, False, False, True]


@given(st.lists(st.sampled_from([LATE, OK]), min_size=1), st.integers(1, 4), st.integers(1, 4))
def test_a_node_that_answers_is_never_down_however_late(results: list[Probe], down: int, up: int) -> None:
    assert all(health.up for health in run(results, down, up))


@given(probes, st.integers(1, 4), st.integers(1, 4))
def test_a_change_needs_as_many_results_in_a_row(results: list[Probe], down: int, up: int) -> None:
    seen = [health.up for health in run(results, down, up)]
    for i in range(1, len(seen)):
        if seen[i] and not seen[i - 1]:
            assert all(result in ANSWERED for result in results[i + 1 - up : i + 1])
            assert i + 1 >= up
        if seen[i - 1] and not seen[i] and results[i] is not SILENT:
            assert results[i + 1 - down : i + 1] == [FAILED] * down


@given(probes, st.integers(1, 4), st.integers(1, 4))
def test_who_was_in_time_so_often_in_a_row_is_not_doubted(results: list[Probe], down: int, up: int) -> None:
    """And who is doubted gave a reason within that many probes."""
    for place, health in enumerate(run(results, down, up)):
        reasons = results[max(0, place + 1 - up) : place + 1]
        if health.doubted:
            assert health.up
            assert any(result is not OK for result in reasons)
        if results[place] is LATE:
            assert health.doubted == health.up


@given(probes)
def test_an_overdue_answer_changes_nothing_but_the_preference(results: list[Probe]) -> None:
    for health in run(results):
        overdue = doubt(health)
        assert overdue.up == overdue.doubted == health.up
        later = after_probe(overdue, FAILED, failures_to_down=3, successes_to_up=2)
        assert later.up == after_probe(health, FAILED, failures_to_down=3, successes_to_up=2).up

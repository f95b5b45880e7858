"""Probe results -> up or down, with hysteresis: one lost answer is not a dead node, one answer not a healthy one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Health:
    """Health of one node; `streak` counts results in a row that speak against `up`."""

    up: bool = False
    streak: int = 0
    known: bool = False  #: probed at least once


def after_probe(health: Health, *, ok: bool, failures_to_down: int, successes_to_up: int) -> Health:
    """The health after one more probe. The very first result counts at once."""
    if not health.known:
        return Health(up=ok, streak=0, known=True)
    if ok == health.up:
        return Health(up=health.up, streak=0, known=True)
    streak = health.streak + 1
    if streak >= (successes_to_up if ok else failures_to_down):
        return Health(up=ok, streak=0, known=True)
    return Health(up=health.up, streak=streak, known=True)

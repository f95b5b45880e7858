"""Probe results -> up, doubted or down, with hysteresis: one lost answer is not a dead node, one answer not a healthy one.

Late is not dead. A node that answers, however late, is up; it is only doubted, and doubt does no more than steer reads
to others where there are others. A machine that is busy with everything must lose no replica by that.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Probe(StrEnum):
    """How one probe ended."""

    OK = "ok"
    LATE = "late"  #: answered, but not in time
    FAILED = "failed"  #: refused, cut, or answered by something that is not the node
    SILENT = "silent"  #: nothing came back for as long as anybody waits


@dataclass(frozen=True, slots=True)
class Health:
    """Health of one node. `good` and `bad` count results in a row that speak for it and against it."""

    up: bool = False
    doubted: bool = False  #: up, but asked only where no other node can answer
    good: int = 0
    bad: int = 0
    known: bool = False  #: probed at least once


def after_probe(health: Health, probe: Probe, *, failures_to_down: int, successes_to_up: int) -> Health:
    """The health after one more probe. The very first result counts at once, and so does silence."""
    answered = probe in (Probe.OK, Probe.LATE)
    if not health.known:
        return Health(up=answered, doubted=probe is Probe.LATE, known=True)
    if probe is Probe.SILENT:
        return Health(known=True)
    if not answered:
        bad = health.bad + 1
        up = health.up and bad < failures_to_down
        return Health(up=up, doubted=up, bad=bad if up else 0, known=True)
    good = health.good + 1
    if probe is Probe.LATE:
        up = health.up or good >= successes_to_up
        return Health(up=up, doubted=up, good=0 if up else good, known=True)
    settled = good >= successes_to_up or (health.up and not health.doubted)
    if settled:
        return Health(up=True, known=True)
    return Health(up=health.up, doubted=health.doubted, good=good, known=True)


def doubt(health: Health) -> Health:
    """The health while an answer is overdue."""
    return Health(up=True, doubted=True, bad=health.bad, known=True) if health.up else health

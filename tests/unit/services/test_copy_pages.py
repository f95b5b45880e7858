"""How a copy spares nodes that are busy."""

from __future__ import annotations

from miroir.core.moves.cluster_view import MoveLimits
from miroir.services.moves.copy_pages import _pause_s


def test_slow_nodes_get_pauses_as_long_as_they_took() -> None:
    limits = MoveLimits(slow_ms=500.0)
    assert _pause_s(100, 1000, 0.1, 1.0, limits) == 0.0
    assert _pause_s(100, 1000, 0.7, 0.1, limits) == 0.7, "the source answers slowly"
    assert _pause_s(100, 1000, 0.1, 3.0, limits) == 3.0, "the queue of the target is long"


def test_bounds_make_pauses_too() -> None:
    limits = MoveLimits(documents_per_s=50.0, bytes_per_s=100.0)
    assert _pause_s(100, 1000, 0.1, 0.1, limits) == 10.0
    assert _pause_s(1000, 10, 0.1, 0.1, limits) == 20.0

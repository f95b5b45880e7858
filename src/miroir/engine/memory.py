"""The garbage collector of a process that holds an index: millions of long-lived objects, hardly a cycle.

A full collection looks at every one of them and stops the process for seconds. Young objects are collected as
ever; what a batch leaves is frozen, so that no later collection visits it. Frozen objects are freed by their
reference counts all the same.
"""

from __future__ import annotations

import gc

_YOUNG, _MIDDLE, _FULL = 50_000, 20, 1_000


def spare_full_collections() -> None:
    """Make full collections rare; to be called once, when the data is loaded."""
    gc.set_threshold(_YOUNG, _MIDDLE, _FULL)
    settle()


def settle() -> None:
    """Take everything that lives now out of later collections; at the end of a batch."""
    gc.freeze()

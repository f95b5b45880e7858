"""Hypothesis: the same examples on every run, so that what lands has been tested as it stands.

`MIROIR_EXPLORE=1` draws new ones each time: for people who hunt bugs, and for nights.
"""

from __future__ import annotations

import os

from hypothesis import settings

# A loaded machine is no reason to fail: no deadline per example.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.register_profile("explore", deadline=None)
settings.load_profile("explore" if os.environ.get("MIROIR_EXPLORE") else "repeatable")

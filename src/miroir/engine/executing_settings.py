"""Batches that change settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from miroir.engine.catalog import LiveIndex
from miroir.engine.indexing import prefixed, with_settings
from miroir.engine.jobs import UpdateSettings
from miroir.engine.running import Runner
from miroir.meili import settings
from miroir.meili.codes import ApiError
from miroir.meili.commands import SettingsWrite


async def change_settings(runner: Runner, live: LiveIndex, jobs: Sequence[UpdateSettings]) -> LiveIndex:
    """The index under the settings that all jobs, one after the other, come to. Raises ApiError."""
    wanted: Mapping[str, Any] = live.index.settings
    try:
        for job in jobs:
            write = SettingsWrite(patch=job.patch, reset_all=job.reset_all, is_deletion=job.is_deletion)
            wanted = settings.apply_write(wanted, write)
        index = await with_settings(live.index, wanted, runner.breathe)
    except ApiError as error:
        raise prefixed(error, live.uid) from error
    return replace(live, index=index, updated_at=runner.now_ns())

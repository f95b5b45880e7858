"""A safety switched off, and small stories that must then go wrong."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from miroir.core.moves.operation_records import CopyRecord
from miroir.services.moves.copy_pages import CopyPages
from miroir.services.moves.sources import Source
from tests.support.virtual_time import run_virtual

Patch = pytest.MonkeyPatch
Mutation = Callable[[Patch], None]
Story = Callable[[int], Any]  #: seed -> a coroutine


def losing_pages(patch: Patch) -> None:
    """A page in three is lost."""
    whole = CopyPages.write

    async def losing(
        self: CopyPages, copy: CopyRecord, key: str, source: Source, listing: list[str], limits: Any
    ) -> Any:
        if random.Random(len(listing)).random() < 0.3:
            return copy, listing[limits.page_documents :], 0.0
        return await whole(self, copy, key, source, listing, limits)

    patch.setattr(CopyPages, "write", losing)


def must_be_noticed(mutation: Mutation, story: Story) -> None:
    """Some seed of the story fails with it."""
    survived = []
    for seed in range(3):
        with pytest.MonkeyPatch.context() as patch:
            mutation(patch)
            try:
                run_virtual(story(seed))
            except (AssertionError, BaseExceptionGroup, KeyError):
                return
            survived.append(seed)
    raise AssertionError(f"{mutation.__name__} was not noticed with seeds {survived}")

"""Tasks and batches as clients see them: records, views, filters, pages."""

from __future__ import annotations

from typing import Any

import msgspec


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One task. Times are ns since 1970 (UTC); `details` and `error` are the JSON objects shown."""

    uid: int
    kind: str  #: Meilisearch's `type`, e.g. documentAdditionOrUpdate
    status: str = "enqueued"  #: enqueued | processing | succeeded | failed | canceled
    index_uid: str | None = None
    batch_uid: int | None = None
    canceled_by: int | None = None
    details: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    enqueued_at: int = 0
    started_at: int | None = None
    finished_at: int | None = None
    custom_metadata: str | None = None
    swaps: tuple[tuple[str, str], ...] = ()  #: indexes of an indexSwap, for filtering and relabelling

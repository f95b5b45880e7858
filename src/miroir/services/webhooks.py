"""Tells webhooks about ended tasks: gzipped NDJSON, a few tries, then given up; never slows a write down.

Bounded: groups of tasks beyond the queue's length are not announced. What was not posted when the process died is not
posted again.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable, Mapping

import orjson

from miroir.meili.tasks import Task, task_view
from miroir.meili.webhooks import Webhook
from miroir.ports.posts import Poster

_WAITING_MAX = 1000
_TRIES = 3
_PAUSE_S = 1.0
_TIMEOUT_S = 30.0


class Webhooks:
    """A queue of ended tasks and the loop that posts them."""

    def __init__(self, poster: Poster, webhooks: Callable[[], Mapping[str, Webhook]]) -> None:
        self._poster = poster
        self._webhooks = webhooks
        self._waiting: asyncio.Queue[list[Task]] = asyncio.Queue(_WAITING_MAX)

    def announce(self, tasks: list[Task]) -> None:
        """Queue tasks that ended together."""
        if self._webhooks() and not self._waiting.full():
            self._waiting.put_nowait(tasks)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            tasks = await self._waiting.get()
            lines = b"".join(orjson.dumps(task_view(task)) + b"\n" for task in tasks)
            body = gzip.compress(lines)
            async with asyncio.TaskGroup() as group:
                for webhook in list(self._webhooks().values()):
                    group.create_task(self._post(webhook, body))

    async def _post(self, webhook: Webhook, body: bytes) -> None:
        headers = {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip", **webhook.headers}
        for attempt in range(_TRIES):
            if await self._poster.post(webhook.url, headers, body, timeout_s=_TIMEOUT_S):
                return
            await asyncio.sleep(_PAUSE_S * 2**attempt)

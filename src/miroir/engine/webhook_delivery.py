"""Tells webhooks about finished tasks: one gzipped NDJSON POST per batch and webhook, a few tries, then given up.

Bounded: batches beyond the queue's length are not announced. Delivery never slows the task queue down.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable, Mapping

import aiohttp
import orjson

from miroir.meili.tasks import Task, task_view
from miroir.meili.webhooks import Webhook

_WAITING_MAX = 1000
_TRIES = 3
_PAUSE_S = 1.0
_TIMEOUT_S = 30.0


class WebhookDelivery:
    """A queue of finished batches and the loop that posts them."""

    def __init__(self, webhooks: Callable[[], Mapping[str, Webhook]]) -> None:
        self._webhooks = webhooks
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue(_WAITING_MAX)

    def announce(self, tasks: list[Task]) -> None:
        """Queue one finished batch; dropped when too many wait already."""
        if self._webhooks() and not self._waiting.full():
            lines = b"".join(orjson.dumps(task_view(task)) + b"\n" for task in tasks)
            self._waiting.put_nowait(gzip.compress(lines))

    async def run(self) -> None:
        """Post for ever; meant to be cancelled."""
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                body = await self._waiting.get()
                async with asyncio.TaskGroup() as group:
                    for webhook in list(self._webhooks().values()):
                        group.create_task(_post(session, webhook, body))


async def _post(session: aiohttp.ClientSession, webhook: Webhook, body: bytes) -> None:
    headers = {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip", **webhook.headers}
    for attempt in range(_TRIES):
        try:
            async with session.post(webhook.url, data=body, headers=headers) as answer:
                if answer.status < 500:
                    return
        except (aiohttp.ClientError, TimeoutError, ValueError):
            pass
        await asyncio.sleep(_PAUSE_S * 2**attempt)

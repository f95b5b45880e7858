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
#: tasks of one post: what waited for a slow webhook may be a quarter of a million, and all else stands still meanwhile
_POST_TASKS = 1000
_TRIES = 3
_PAUSE_S = 1.0
_TIMEOUT_S = 30.0


class Webhooks:
    """Ended tasks, one bounded queue and one loop for each webhook: a slow one delays nobody else."""

    def __init__(self, poster: Poster, webhooks: Callable[[], Mapping[str, Webhook]]) -> None:
        self._poster = poster
        self._webhooks = webhooks
        self._waiting: dict[str, list[list[Task]]] = {}
        self._serving: set[str] = set()
        self._wake = asyncio.Event()

    def announce(self, tasks: list[Task]) -> None:
        """Queue tasks that ended together."""
        for uuid in self._webhooks():
            waiting = self._waiting.setdefault(uuid, [])
            if len(waiting) < _WAITING_MAX:
                waiting.append(tasks)
                self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self._wake.wait()
                self._wake.clear()
                for uuid in self._waiting.keys() - self._serving:
                    self._serving.add(uuid)
                    group.create_task(self._serve(uuid), name=f"webhook {uuid}")

    async def _serve(self, uuid: str) -> None:
        """Post what waits for one webhook, until nothing does or it is gone."""
        try:
            while waiting := self._waiting.pop(uuid, None):
                tasks = [task for group in waiting for task in group]
                for start in range(0, len(tasks), _POST_TASKS):
                    webhook = self._webhooks().get(uuid)
                    if webhook is not None:
                        await self._post(webhook, _body(tasks[start : start + _POST_TASKS]))
        finally:
            self._serving.discard(uuid)

    async def _post(self, webhook: Webhook, body: bytes) -> None:
        headers = {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip", **webhook.headers}
        for attempt in range(_TRIES):
            if await self._poster.post(webhook.url, headers, body, timeout_s=_TIMEOUT_S):
                return
            await asyncio.sleep(_PAUSE_S * 2**attempt)


def _body(tasks: list[Task]) -> bytes:
    return gzip.compress(b"".join(orjson.dumps(task_view(task)) + b"\n" for task in tasks))

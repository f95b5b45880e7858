"""Webhook posts over aiohttp."""

from __future__ import annotations

from collections.abc import Mapping

import aiohttp


class HttpPoster:
    """Implements `ports.posts.Poster`; its session opens at the first post."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, timeout_s: float) -> bool:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        try:
            async with self._session.post(url, data=body, headers=dict(headers), timeout=timeout) as answer:
                return answer.status < 500
        except (aiohttp.ClientError, TimeoutError, ValueError, OSError):
            return False

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

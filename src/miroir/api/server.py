"""The HTTP server: uvicorn, told to leave signals, logs and the life of the app to us."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from typing import Any

import uvicorn


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are ours: `serve_http` sets the handlers, the process ends by returning."""
        yield


async def serve_http(app: Any, *, host: str, port: int, grace_s: float) -> None:
    """Serve until SIGINT or SIGTERM; requests in flight get `grace_s` to finish."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http="httptools",
        loop="none",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nobody asks who the client is
        timeout_keep_alive=75,
        timeout_graceful_shutdown=max(1, round(grace_s)),
    )
    server = _Server(config)

    def stop() -> None:
        server.should_exit = True

    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, stop)
    try:
        await server.serve()
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)

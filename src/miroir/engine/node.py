"""The embedded engine as a server process: one node on one port.

Started by `miroir node`; `python -m miroir.engine.node` does the same with fewer options. Stops on SIGINT and
SIGTERM: no new connections, requests in flight are answered, the running batch is dropped and runs again at
the next start.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import uvicorn

from miroir.engine.access_log import AccessLog
from miroir.engine.embedded import Engine, Options, open_engine
from miroir.engine.errors import EngineError
from miroir.engine.memory import settle, spare_full_collections
from miroir.engine.webhook_delivery import WebhookDelivery
from miroir.meili.asgi import DEFAULT_MAX_BODY_BYTES, asgi_app
from miroir.meili.http import HttpRequest
from miroir.meili.tasks import Task

_GRACE_S = 5
_RETRY_S = 1.0


def run_node(
    host: str, port: int, data_dir: Path | None, master_key: str | None = None, **options: object
) -> None:
    """Serve until a signal comes. Arguments as in `serve_node`. Raises EngineError."""
    import uvloop

    uvloop.run(serve_node(host, port, data_dir, master_key, **options))  # type: ignore[arg-type]


async def serve_node(
    host: str,
    port: int,
    data_dir: Path | None,
    master_key: str | None = None,
    *,
    features: tuple[str, ...] = (),
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
    dump: Path | None = None,
    access_log: bool = False,
    on_ready: Callable[[], None] | None = None,
) -> None:
    """Serve one node until a signal comes or the task is cancelled.

    Args:
        host: address to listen on.
        port: 0 picks a free one.
        data_dir: directory of the data; None keeps everything in memory.
        master_key: None leaves every route but /keys open.
        features: experimental features that are on from the start.
        max_body_bytes: larger bodies are refused.
        dump: a dump to start from, when `data_dir` is empty.
        access_log: print every request when it has ended; paths, filters and ids are what clients asked for.
        on_ready: called once when connections are accepted.

    Raises:
        EngineError: the data cannot be opened.
    """
    engine = await open_engine(
        data_dir, Options(master_key=master_key, features=features, on_error=_print_error), dump=dump
    )
    spare_full_collections()
    config = uvicorn.Config(
        asgi_app(
            AccessLog(engine.edge, _print_line) if access_log else engine.edge,
            max_body_bytes=max_body_bytes,
            clock=time.monotonic,
        ),
        host=host,
        port=port,
        http="httptools",
        loop="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=_GRACE_S,
    )
    server = uvicorn.Server(config)
    try:
        async with asyncio.TaskGroup() as group:
            background = [group.create_task(_work(engine))]
            delivery = WebhookDelivery(lambda: engine.state.webhooks)

            def finished(tasks: list[Task]) -> None:
                settle()
                delivery.announce(tasks)

            engine.scheduler.finished = finished
            background.append(group.create_task(delivery.run()))
            if on_ready is not None:
                background.append(group.create_task(_tell_when_ready(server, on_ready)))
            await server.serve()
            for task in background:
                task.cancel()
    finally:
        engine.close()


async def _work(engine: Engine) -> None:
    """Keep the queue going whatever a batch runs into, e.g. a full disk."""
    while True:
        try:
            await engine.run()
        except EngineError as error:
            print(f"queue: {error}; trying again", file=sys.stderr)  # noqa: T201 - a server's own log
            await asyncio.sleep(_RETRY_S)


async def _tell_when_ready(server: uvicorn.Server, on_ready: Callable[[], None]) -> None:
    while not server.started:  # noqa: ASYNC110 - uvicorn tells nobody
        await asyncio.sleep(0.01)
    on_ready()


def _print_line(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - what it was asked for


def _print_error(request: HttpRequest, error: Exception) -> None:
    print(f"internal error: {request.method} {request.path}", file=sys.stderr)  # noqa: T201
    traceback.print_exception(error, file=sys.stderr)


def main() -> None:
    """Command line of `python -m miroir.engine.node`."""
    parser = argparse.ArgumentParser(prog="miroir-node", description="One embedded node.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=7700)
    parser.add_argument("--data", type=Path, default=None, help="directory of the data; default: in memory")
    parser.add_argument("--import-dump", type=Path, default=None)
    parser.add_argument("--master-key", default=os.environ.get("MEILI_MASTER_KEY"))
    arguments = parser.parse_args()
    try:
        run_node(
            arguments.host, arguments.port, arguments.data, arguments.master_key, dump=arguments.import_dump
        )
    except EngineError as error:
        sys.exit(f"miroir-node: {error}")


if __name__ == "__main__":
    main()

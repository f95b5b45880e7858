"""Finished batches reach webhooks: gzipped lines of task views, tried again after a server error."""

import asyncio
import gzip
import json

from aiohttp import web

from miroir.engine import webhook_delivery
from miroir.engine.webhook_delivery import WebhookDelivery
from miroir.meili.tasks import Task
from miroir.meili.webhooks import Webhook


def test_a_finished_batch_is_posted_and_tried_again(monkeypatch) -> None:
    monkeypatch.setattr(webhook_delivery, "_PAUSE_S", 0.0)

    async def run() -> None:
        seen: asyncio.Queue[tuple[dict[str, str], bytes]] = asyncio.Queue()
        answers = iter((503, 200))

        async def receive(request: web.Request) -> web.Response:
            seen.put_nowait((dict(request.headers), await request.read()))
            return web.Response(status=next(answers))

        app = web.Application()
        app.router.add_post("/hook", receive)
        runner = web.AppRunner(app, auto_decompress=False)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        hook = Webhook(uuid="1", url=f"http://127.0.0.1:{port}/hook", headers={"x-env": "test"})
        delivery = WebhookDelivery(lambda: {"1": hook})
        loop = asyncio.ensure_future(delivery.run())
        delivery.announce(
            [Task(uid=4, kind="indexCreation", status="succeeded"), Task(uid=5, kind="indexDeletion")]
        )
        async with asyncio.timeout(10):
            for _ in range(2):
                headers, body = await seen.get()
                assert headers["Content-Encoding"] == "gzip"
                assert headers["x-env"] == "test"
                lines = [json.loads(line) for line in gzip.decompress(body).splitlines()]
                assert [(line["uid"], line["type"]) for line in lines] == [
                    (4, "indexCreation"),
                    (5, "indexDeletion"),
                ]
        loop.cancel()
        await asyncio.wait([loop])
        await runner.cleanup()

    asyncio.run(run())

"""Webhooks hear of every ended task, in the server's format; one that fails never holds a write up."""

from __future__ import annotations

import asyncio
import gzip

import orjson

from miroir.meili.tasks import Task
from miroir.meili.webhooks import Webhook
from miroir.services.webhooks import Webhooks
from tests.support.virtual_time import run_virtual
from tests.unit.services.test_writes import docs, in_cluster

HOOK = Webhook(uuid="1", url="http://here/", headers={"X-Env": "test"})


class Post:
    """A poster that takes posts, or refuses, or never answers, by URL."""

    def __init__(self, **refusals):
        self.refusals = refusals
        self.seen = []

    async def post(self, url, headers, body, *, timeout_s):
        self.seen.append((url, dict(headers), body))
        name = url.split("/")[2]
        if name == "silent":
            await asyncio.sleep(timeout_s)
            return False
        left = self.refusals.get(name, 0)
        self.refusals[name] = left - 1
        return left <= 0

    async def close(self):
        pass

    def lines(self, name="here"):
        """Uids of the tasks posted to one webhook, post by post."""
        bodies = [gzip.decompress(body) for url, _, body in self.seen if f"//{name}/" in url]
        return [[orjson.loads(line)["uid"] for line in body.splitlines()] for body in bodies]


def running(hooks, story, **refusals):
    poster = Post(**refusals)
    webhooks = Webhooks(poster, lambda: {hook.uuid: hook for hook in hooks})

    async def main():
        loop = asyncio.create_task(webhooks.run())
        await story(webhooks, poster)
        loop.cancel()

    run_virtual(main())
    return poster


def ended(*uids):
    return [Task(uid=uid, kind="indexCreation", status="succeeded", enqueued_at=1) for uid in uids]


def test_tasks_that_ended_together_are_lines_of_one_compressed_post():
    async def story(webhooks, poster):
        webhooks.announce(ended(1, 2))
        await asyncio.sleep(1)

    poster = running([HOOK], story)
    assert poster.lines() == [[1, 2]]
    ((_, headers, body),) = poster.seen
    assert headers == {
        "Content-Type": "application/x-ndjson",
        "Content-Encoding": "gzip",
        "X-Env": "test",
    }
    assert orjson.loads(gzip.decompress(body).splitlines()[0])["type"] == "indexCreation"


def test_what_waited_for_long_goes_in_parts():
    async def story(webhooks, poster):
        for first in range(0, 2500, 250):
            webhooks.announce(ended(*range(first, first + 250)))
        await asyncio.sleep(1)

    poster = running([HOOK], story)
    assert [len(lines) for lines in poster.lines()] == [1000, 1000, 500]
    assert [uid for lines in poster.lines() for uid in lines] == list(range(2500))


def test_a_refused_post_is_tried_three_times_and_then_given_up():
    async def story(webhooks, poster):
        webhooks.announce(ended(1))
        await asyncio.sleep(30)
        webhooks.announce(ended(2))
        await asyncio.sleep(30)

    assert running([HOOK], story, here=2).lines() == [[1], [1], [1], [2]]
    assert running([HOOK], story, here=4).lines() == [[1], [1], [1], [2], [2]]


def test_a_silent_webhook_does_not_keep_others_waiting():
    async def story(webhooks, poster):
        for uid in range(20):
            webhooks.announce(ended(uid))
            await asyncio.sleep(1)
        assert [uid for post in poster.lines() for uid in post] == list(range(20))

    running([HOOK, Webhook(uuid="2", url="http://silent/", headers={})], story)


def test_what_waits_is_bounded_and_nothing_is_kept_without_webhooks():
    async def story(webhooks, poster):
        for uid in range(5000):
            webhooks.announce(ended(uid))
        await asyncio.sleep(600)

    posted = [uid for post in running([HOOK], story).lines() for uid in post]
    assert posted == sorted(set(posted))
    assert 1000 <= len(posted) < 5000
    assert running([], story).seen == []


def test_every_task_of_the_write_path_is_announced_once(tmp_path):
    async def story(c):
        poster = Post()
        webhooks = Webhooks(poster, lambda: c.writes.registry.webhooks)
        c.writes.on_task_end(webhooks.announce)
        loop = asyncio.create_task(webhooks.run())
        reply = await c.ask("POST", "/webhooks", {"url": "http://here/"})
        assert reply.status == 201
        await c.done("POST", "/indexes/m/documents", docs(1))
        await c.done("POST", "/indexes/m/documents", [{"id": "a b"}])
        await asyncio.sleep(5)
        assert sorted(uid for post in poster.lines() for uid in post) == [0, 1]
        loop.cancel()

    in_cluster(tmp_path, story)

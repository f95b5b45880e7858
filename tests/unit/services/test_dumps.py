"""Dumps of a whole cluster: what is in one, at which moment of the log, and that nothing of ours is."""

from __future__ import annotations

import asyncio
import gzip
import tarfile

import orjson

from miroir.adapters.dump_files import DumpFolder
from miroir.core.writes.ops import OpKind
from miroir.services.dumps import Dumps
from tests.unit.services.test_writes import docs, in_cluster


def with_dumps(c, folder):
    """The cluster's orchestrator writes dumps to `folder`."""
    w = c.writes
    w.barriers.works[OpKind.DUMP] = Dumps(
        DumpFolder(folder),
        c.writes.cluster._store,
        w.cluster,
        w.registry,
        w.barriers.pages,
        w.limits,
        w.now_ns,
        lambda: w.log.tasks,
    ).run


def read(path):
    with gzip.open(path) as raw, tarfile.open(fileobj=raw) as archive:
        return {m.name: archive.extractfile(m).read() for m in archive.getmembers()}


def test_a_dump_holds_what_was_accepted_before_it_and_nothing_after(tmp_path):
    async def story(c):
        with_dumps(c, tmp_path / "dumps")
        await c.done("PATCH", "/indexes/m/settings", {"sortableAttributes": ["title"]})
        await c.write("POST", "/indexes/m/documents", docs(*range(50)))
        await c.write("DELETE", "/indexes/m/documents/3")
        await c.write("POST", "/indexes/m/documents", docs(99))  # takes the place of 3
        await c.write("POST", "/indexes/later/documents", docs(1))
        dump = await c.write("POST", "/dumps")
        await c.write("POST", "/indexes/m/documents", docs(1000))
        last = await c.write("POST", "/indexes/later/documents", docs(2))
        task = await c.wait(dump)
        await c.wait(last)
        assert task["status"] == "succeeded", task
        assert task["indexUid"] is None
        (path,) = (tmp_path / "dumps").iterdir()
        assert path.name == f"{task['details']['dumpUid']}.dump"
        files = read(path)
        lines = [orjson.loads(line) for line in files["indexes/m/documents.jsonl"].splitlines()]
        assert [d["id"] for d in lines] == [0, 1, 2, 99, *range(4, 50)]
        assert lines[0] == docs(0)[0]
        assert files["indexes/later/documents.jsonl"].splitlines() == [orjson.dumps(docs(1)[0])]
        settings = orjson.loads(files["indexes/m/settings.json"])
        assert settings["sortableAttributes"] == ["title"]
        assert orjson.loads(files["indexes/m/metadata.json"])["primaryKey"] == "id"
        assert len(files["keys.jsonl"].splitlines()) == 4
        told = [orjson.loads(line)["uid"] for line in files["tasks/queue.jsonl"].splitlines()]
        assert told == list(range(dump))
        assert len(files["batches/queue.jsonl"].splitlines()) == dump
        assert b"_miroir" not in b"".join(files.values())
        assert b"miroir-0" not in b"".join(files.values())

    in_cluster(tmp_path, story)


def test_a_dump_that_cannot_be_read_fails_and_leaves_no_file(tmp_path):
    async def story(c):
        with_dumps(c, tmp_path / "dumps")
        await c.done("POST", "/indexes/m/documents", docs(*range(20)))
        c.stop("a", "b")
        while len(c.writes.cluster.live) > 1:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.1)
        task = await c.done("POST", "/dumps")
        assert task["error"]["code"] == "miroir_index_incomplete"
        assert list((tmp_path / "dumps").iterdir()) == []
        c.start_all()
        await c.live()
        assert (await c.done("POST", "/indexes/m/documents", docs(77)))["status"] == "succeeded"

    in_cluster(tmp_path, story)


def test_compaction_asks_every_node_and_adds_up(tmp_path):
    async def story(c):
        await c.done("POST", "/indexes/m/documents", docs(*range(20)))
        task = await c.done("POST", "/indexes/m/compact")
        assert task["status"] == "succeeded", task
        assert set(task["details"]) == {"preCompactionSize", "postCompactionSize"}
        missing = await c.done("POST", "/indexes/nope/compact")
        assert missing["error"]["code"] == "index_not_found"
        assert missing["details"] == {}

    in_cluster(tmp_path, story)


def test_an_op_that_breaks_what_carries_it_out_fails_alone(tmp_path):
    """It stands in the log: an exception that went further would end every process that finds it there."""

    async def story(c):
        async def broken(op):
            raise KeyError("a node's nonsense")

        c.writes.barriers.works[OpKind.DUMP] = broken
        task = await c.done("POST", "/dumps")
        assert task["status"] == "failed"
        assert task["error"]["code"] == "internal"
        assert (await c.done("POST", "/indexes/m/documents", docs(1)))["status"] == "succeeded"

    in_cluster(tmp_path, story)

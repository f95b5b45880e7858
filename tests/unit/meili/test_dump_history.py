"""Tasks and batches as lines of a dump: what was written comes back as it was shown."""

from dataclasses import replace
from typing import Any

import msgspec
import orjson
from hypothesis import given
from hypothesis import strategies as st

from miroir.meili.dump_history import batch_line, read_batch, read_task, task_line
from miroir.meili.tasks import Batch, BatchTasks, Task

_count = st.integers(0, 10**6)
_uid = st.sampled_from(["films", "b", "with-dash"])
_ERROR = {
    "message": "m",
    "code": "internal",
    "type": "internal",
    "link": "https://docs.meilisearch.com/errors#internal",
}
_DETAILS: dict[str, st.SearchStrategy[Any]] = {
    "documentAdditionOrUpdate": st.fixed_dictionaries(
        {"receivedDocuments": _count, "indexedDocuments": _count}
    ),
    "documentEdition": st.fixed_dictionaries(
        {
            "deletedDocuments": _count,
            "editedDocuments": _count,
            "originalFilter": st.sampled_from([None, '"a = 1"', '["a = 1"]']),
            "context": st.sampled_from([None, {"a": 1}]),
            "function": st.just("doc.x = 1"),
        }
    ),
    "documentDeletion": st.one_of(
        st.fixed_dictionaries(
            {"providedIds": st.integers(1, 9), "deletedDocuments": _count, "originalFilter": st.none()}
        ),
        st.fixed_dictionaries(
            {"providedIds": st.just(0), "deletedDocuments": _count, "originalFilter": st.just('"a = 1"')}
        ),
        st.fixed_dictionaries({"deletedDocuments": _count}),
    ),
    "settingsUpdate": st.sampled_from([{"stopWords": ["a"]}, {"rankingRules": None}, {}]),
    "indexCreation": st.fixed_dictionaries({"primaryKey": st.sampled_from([None, "id"])}),
    "indexUpdate": st.sampled_from(
        [{"primaryKey": "id"}, {"primaryKey": None, "oldIndexUid": "a", "newIndexUid": "b"}]
    ),
    "indexDeletion": st.fixed_dictionaries({"deletedDocuments": _count}),
    "taskCancelation": st.fixed_dictionaries(
        {"matchedTasks": _count, "canceledTasks": _count, "originalFilter": st.just("?uids=1")}
    ),
    "taskDeletion": st.fixed_dictionaries(
        {"matchedTasks": _count, "deletedTasks": _count, "originalFilter": st.just("?uids=1")}
    ),
    "dumpCreation": st.fixed_dictionaries({"dumpUid": st.just("20261122-203514289")}),
    "indexCompaction": st.fixed_dictionaries(
        {"preCompactionSize": st.just("1 KiB"), "postCompactionSize": st.just("1 KiB")}
    ),
}
_ABOUT_NONE = ("taskCancelation", "taskDeletion", "dumpCreation")


@st.composite
def _tasks(draw: st.DrawFn) -> Task:
    kind = draw(st.sampled_from(sorted(_DETAILS)))
    status = draw(st.sampled_from(["succeeded", "failed", "canceled"]))
    enqueued = draw(st.integers(10**18, 2 * 10**18))
    return Task(
        uid=draw(_count),
        kind=kind,
        status=status,
        index_uid=None if kind in _ABOUT_NONE else draw(_uid),
        batch_uid=draw(st.none() | _count),
        canceled_by=draw(_count) if status == "canceled" else None,
        details=draw(_DETAILS[kind]),
        error=_ERROR if status == "failed" else None,
        enqueued_at=enqueued,
        started_at=enqueued + 1,
        finished_at=enqueued + 2,
        custom_metadata=draw(st.none() | st.just("mine")),
    )


@given(_tasks())
def test_a_task_comes_back_as_it_was(task: Task) -> None:
    line = task_line(task)
    assert line.count(b"\n") == 1
    assert read_task(line)[0] == task


def test_a_swap_comes_back_with_the_indexes_it_is_about() -> None:
    task = Task(
        uid=1,
        kind="indexSwap",
        status="succeeded",
        details={"swaps": [{"indexes": ["a", "b"], "rename": True}]},
        enqueued_at=1,
        swaps=(("a", "b"),),
    )
    assert read_task(task_line(task))[0] == task


@given(_tasks(), st.sampled_from(["enqueued", "processing"]))
def test_tasks_that_have_not_ended_are_not_written(task: Task, status: str) -> None:
    assert task_line(msgspec.structs.replace(task, status=status)) == b""


@given(st.lists(_tasks(), min_size=1, max_size=4))
def test_a_batch_comes_back_and_counts_its_tasks(tasks: list[Task]) -> None:
    found = BatchTasks(Batch(uid=3, started_at=10**18, finished_at=10**18 + 5), tasks)
    line = batch_line(found)
    assert read_batch(line) == found.batch
    stats = orjson.loads(line)["stats"]
    assert (
        stats["totalNbTasks"] == sum(stats["status"].values()) == sum(stats["types"].values()) == len(tasks)
    )
    assert batch_line(replace(found, batch=Batch(uid=3, started_at=1))) == b""

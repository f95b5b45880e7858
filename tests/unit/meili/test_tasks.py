"""Tasks: views, filters, pages, batches, renames."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miroir.meili.codes import ApiError
from miroir.meili.commands import Access, TaskFilter, TasksQuery
from miroir.meili.query_params import query_pairs
from miroir.meili.task_names import relabel
from miroir.meili.task_params import decode_tasks_query, decode_tasks_select, path_uid
from miroir.meili.tasks import (
    KINDS,
    STATUSES,
    Batch,
    Task,
    batch_view,
    batches_view,
    cancelable,
    deletable,
    is_unrestricted,
    list_view,
    matches,
    select,
    select_batches,
    select_page,
    summary,
    task_view,
)

S = 1_000_000_000
INDEXES = ("a", "b", None)


@st.composite
def histories(draw: st.DrawFn) -> list[Task]:
    uids = sorted(draw(st.sets(st.integers(0, 60), max_size=25)))
    return [
        Task(
            uid=uid,
            kind=draw(st.sampled_from(KINDS[:4])),
            status=draw(st.sampled_from(STATUSES)),
            index_uid=draw(st.sampled_from(INDEXES)),
            batch_uid=draw(st.none() | st.integers(0, 5)),
            enqueued_at=uid * S,
            finished_at=draw(st.none() | st.integers(0, 60 * S)),
        )
        for uid in uids
    ]


filters = st.builds(
    TaskFilter,
    statuses=st.none() | st.frozensets(st.sampled_from(STATUSES)),
    types=st.none() | st.frozensets(st.sampled_from(KINDS[:4])),
    index_uids=st.none() | st.frozensets(st.sampled_from(["a", "b"])),
    uids=st.none() | st.frozensets(st.integers(0, 60)),
    after_enqueued_at=st.none() | st.integers(0, 60 * S),
    before_finished_at=st.none() | st.integers(0, 60 * S),
)


def expected(task: Task, wanted: TaskFilter) -> bool:
    def among(value: Any, accepted: frozenset[Any] | None) -> bool:
        return accepted is None or value in accepted

    after, before = wanted.after_enqueued_at, wanted.before_finished_at
    return (
        among(task.status, wanted.statuses)
        and among(task.kind, wanted.types)
        and among(task.index_uid, wanted.index_uids)
        and among(task.uid, wanted.uids)
        and (after is None or task.enqueued_at > after)
        and (before is None or (task.finished_at is not None and task.finished_at < before))
    )


@given(histories(), filters)
def test_a_filter_is_the_conjunction_of_its_restrictions(tasks: list[Task], wanted: TaskFilter) -> None:
    for task in tasks:
        assert matches(task, wanted) is expected(task, wanted)


@given(histories(), filters, st.integers(1, 7), st.booleans())
def test_walking_the_pages_gives_every_match_once_in_order(
    tasks: list[Task], wanted: TaskFilter, limit: int, reverse: bool
) -> None:
    seen: list[int] = []
    start: int | None = None
    while True:
        page = select_page(tasks, TasksQuery(wanted, limit, start, reverse))
        assert page.start == (page.results[0].uid if page.results else None)
        seen += [task.uid for task in page.results]
        if page.next is None:
            break
        start = page.next
    matching = [task.uid for task in tasks if expected(task, wanted)]
    assert page.total == len(matching)
    assert seen == (matching if reverse else matching[::-1])


@given(histories(), st.integers(0, 70), st.booleans())
def test_from_is_inclusive_and_need_not_exist(tasks: list[Task], start: int, reverse: bool) -> None:
    page = select_page(tasks, TasksQuery(TaskFilter(), 100, start, reverse))
    uids = [task.uid for task in tasks if (task.uid >= start if reverse else task.uid <= start)]
    assert [task.uid for task in page.results] == (uids if reverse else uids[::-1])
    assert page.total == len(tasks)


@given(histories(), filters)
def test_a_scoped_key_sees_its_tasks_but_the_total_of_all(tasks: list[Task], wanted: TaskFilter) -> None:
    page = select_page(tasks, TasksQuery(wanted, 100), Access(index_patterns=("a",)))
    assert {task.index_uid for task in page.results} <= {"a"}
    assert page.total == sum(expected(task, wanted) for task in tasks)


def test_a_swap_counts_for_its_indexes_but_is_hidden_from_their_lists() -> None:
    tasks = [
        Task(uid=0, kind="indexCreation", index_uid="a"),
        Task(uid=1, kind="indexCreation", index_uid="b"),
        Task(uid=2, kind="indexSwap", swaps=(("a", "b"),)),
    ]
    page = select_page(tasks, TasksQuery(TaskFilter(index_uids=frozenset({"a"})), 1))
    assert ([task.uid for task in page.results], page.total, page.next) == ([0], 2, None)
    page = select_page(tasks, TasksQuery(TaskFilter()), Access(index_patterns=("b",)))
    assert ([task.uid for task in page.results], page.total) == ([1], 3)
    assert select(tasks, decode_tasks_select("indexUids=a,b", "cancel")) == [0, 1]


@given(histories(), filters)
def test_batches_are_those_with_a_matching_task(tasks: list[Task], wanted: TaskFilter) -> None:
    batches = {uid: Batch(uid=uid, started_at=0) for uid in range(6)}
    page = select_batches(tasks, batches, TasksQuery(wanted, 100))
    uids = {task.batch_uid for task in tasks if task.batch_uid is not None and expected(task, wanted)}
    assert [found.uid for found in page.results] == sorted(uids, reverse=True)
    for found in page.results:
        assert list(found.tasks) == [task for task in tasks if task.batch_uid == found.uid]


def test_a_scoped_key_sees_batches_about_its_indexes_or_about_none() -> None:
    tasks = [
        Task(uid=0, kind="indexCreation", index_uid="a", batch_uid=0),
        Task(uid=1, kind="indexCreation", index_uid="b", batch_uid=1),
        Task(uid=2, kind="taskDeletion", batch_uid=2),
    ]
    batches = {uid: Batch(uid=uid, started_at=0) for uid in range(3)}
    page = select_batches(tasks, batches, TasksQuery(TaskFilter()), Access(index_patterns=("b",)))
    assert ([found.uid for found in page.results], page.total) == ([2, 1], 3)


def test_a_page_of_none_names_the_next() -> None:
    tasks = [Task(uid=uid, kind="indexCreation") for uid in range(3)]
    assert list_view(select_page(tasks, TasksQuery(TaskFilter(), 0))) == {
        "results": [], "total": 3, "limit": 0, "from": None, "next": 2,
    }  # fmt: skip


def test_views_of_one_task() -> None:
    task = Task(
        uid=1, kind="documentAdditionOrUpdate", status="succeeded", index_uid="movies", batch_uid=1,
        details={"receivedDocuments": 6, "indexedDocuments": 6}, enqueued_at=0, started_at=S, finished_at=2 * S + 5,
        custom_metadata="hello",
    )  # fmt: skip
    assert list(task_view(task).items()) == [
        ("uid", 1), ("batchUid", 1), ("indexUid", "movies"), ("status", "succeeded"),
        ("type", "documentAdditionOrUpdate"), ("canceledBy", None),
        ("details", {"receivedDocuments": 6, "indexedDocuments": 6}), ("error", None),
        ("duration", "PT1.000000005S"), ("enqueuedAt", "1970-01-01T00:00:00Z"),
        ("startedAt", "1970-01-01T00:00:01Z"), ("finishedAt", "1970-01-01T00:00:02.000000005Z"),
        ("customMetadata", "hello"),
    ]  # fmt: skip
    assert summary(task) == {
        "taskUid": 1, "indexUid": "movies", "status": "enqueued", "type": "documentAdditionOrUpdate",
        "enqueuedAt": "1970-01-01T00:00:00Z", "customMetadata": "hello",
    }  # fmt: skip
    assert "details" not in task_view(Task(uid=2, kind="snapshotCreation"))


def test_the_view_of_a_batch() -> None:
    tasks = [
        Task(uid=1, kind="documentAdditionOrUpdate", status="failed", index_uid="b", details={"receivedDocuments": 1, "indexedDocuments": 0}),
        Task(uid=2, kind="documentAdditionOrUpdate", status="succeeded", index_uid="b", details={"receivedDocuments": 2, "indexedDocuments": 2}),
        Task(uid=3, kind="documentDeletion", status="succeeded", index_uid="a", details={"providedIds": 1, "deletedDocuments": 1, "originalFilter": None}),
        Task(uid=4, kind="settingsUpdate", status="succeeded", index_uid="a", details={"typoTolerance": {"enabled": False}, "stopWords": None}),
    ]  # fmt: skip
    view = batch_view(Batch(uid=7, started_at=0, finished_at=S), tasks)
    assert view["details"] == {
        "receivedDocuments": 3, "indexedDocuments": 2, "providedIds": 1, "deletedDocuments": 1,
        "typoTolerance": {"enabled": False}, "stopWords": None,
    }  # fmt: skip
    assert view["stats"] == {
        "totalNbTasks": 4,
        "status": {"succeeded": 3, "failed": 1},
        "types": {"documentAdditionOrUpdate": 2, "documentDeletion": 1, "settingsUpdate": 1},
        "indexUids": {"a": 2, "b": 2},
        "progressTrace": {"processing tasks": "1.00s"},
        "writeChannelCongestion": {"attempts": 0, "blocking_attempts": 0, "blocking_ratio": 0.0},
        "internalDatabaseSizes": {},
    }
    made = [Task(uid=5, kind="indexCreation", status="succeeded", index_uid="a")]
    assert "internalDatabaseSizes" not in batch_view(Batch(uid=9, started_at=0, finished_at=S), made)["stats"]
    assert "progressTrace" not in batch_view(Batch(uid=8, started_at=0), tasks)["stats"]
    assert view["duration"] == "PT1S"
    page = select_batches(
        [Task(uid=1, kind="indexCreation", batch_uid=7)],
        {7: Batch(uid=7, started_at=0)},
        TasksQuery(TaskFilter()),
    )
    assert batches_view(page)["results"][0]["uid"] == 7


def test_selections_for_cancelation_and_deletion() -> None:
    tasks = [
        Task(uid=uid, kind="indexCreation", status=status, index_uid="a")
        for uid, status in enumerate(STATUSES)
    ]
    everything = decode_tasks_select("uids=*", "cancel")
    assert is_unrestricted(everything.filter)
    uids = select(tasks, everything)
    assert uids == [0, 1, 2, 3, 4]
    assert [task.uid for task in cancelable(tasks, set(uids))] == [0, 1]
    assert [task.uid for task in deletable(tasks, set(uids))] == [2, 3, 4]
    assert select(tasks, everything, Access(index_patterns=("b",))) == []
    assert everything.original_filter == "?uids=*"


def test_a_swap_relabels_both_sides() -> None:
    names = {"a": "b", "b": "a"}
    task = Task(uid=1, kind="indexCreation", index_uid="a")
    assert relabel(task, names).index_uid == "b"
    assert relabel(relabel(task, names), names) == task
    assert relabel(Task(uid=1, kind="indexSwap"), names).index_uid is None


def test_a_rename_is_about_both_names() -> None:
    details = {"primaryKey": None, "oldIndexUid": "a", "newIndexUid": "b"}
    rename = Task(uid=1, kind="indexUpdate", index_uid="a", details=details)
    for name, total in (("a", 1), ("b", 1), ("c", 0)):
        assert select_page([rename], TasksQuery(TaskFilter(index_uids=frozenset({name})))).total == total


def test_earlier_swaps_are_relabelled_too_and_batches_say_what_ran() -> None:
    names = {"a": "b", "b": "a"}
    shown = [{"indexes": ["a", "c"], "rename": False}, {"indexes": ["d", "e"], "rename": False}]
    swap = Task(uid=1, kind="indexSwap", swaps=(("a", "c"), ("d", "e")), details={"swaps": shown})
    moved = relabel(swap, names)
    assert moved.swaps == (("b", "c"), ("d", "e"))
    assert moved.details == {"swaps": [{"indexes": ["b", "c"], "rename": False}, shown[1]]}
    done = Task(uid=1, kind="indexCreation", index_uid="a", batch_uid=1)
    batch = Batch(uid=1, started_at=0)
    for name, total in (("a", 1), ("b", 0)):
        wanted = TasksQuery(TaskFilter(index_uids=frozenset({name})))
        assert select_batches([relabel(done, names)], {1: batch}, wanted).total == total
    assert batch_view(batch, [relabel(done, names)])["stats"]["indexUids"] == {"a": 1}
    assert batch_view(batch, [relabel(relabel(done, names), {"b": "c"})])["stats"]["indexUids"] == {"a": 1}


@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        ("statuses=done", "invalid_task_statuses", "Invalid value in parameter `statuses`: `done` is not a valid task status. Available statuses are `enqueued`, `processing`, `succeeded`, `failed`, `canceled`."),
        ("afterEnqueuedAt=foo", "invalid_task_after_enqueued_at", "Invalid value in parameter `afterEnqueuedAt`: `foo` is an invalid date-time. It should follow the YYYY-MM-DD or RFC 3339 date-time format."),
        ("indexUids=a%20b", "invalid_index_uid", "Invalid value in parameter `indexUids`: `a b` is not a valid index uid. Index uid can be an integer or a string containing only alphanumeric characters, hyphens (-) and underscores (_), and can not be more than 512 bytes."),
    ],
)  # fmt: skip
def test_refused_parameters(query: str, code: str, message: str) -> None:
    with pytest.raises(ApiError) as caught:
        decode_tasks_query(query_pairs(query))
    assert (caught.value.code, caught.value.message) == (code, message)


def test_accepted_parameters() -> None:
    query = decode_tasks_query(
        query_pairs("statuses=FAILED,enqueued&types=*,indexSwap&from=3&reverse=true&limit=0")
    )
    assert query == TasksQuery(TaskFilter(statuses=frozenset({"failed", "enqueued"})), 0, 3, True)
    day = decode_tasks_query(query_pairs("afterStartedAt=1970-01-01&beforeStartedAt=1970-01-02")).filter
    assert (day.after_started_at, day.before_started_at) == (86_400 * S, 86_400 * S)


def test_a_cancelation_needs_a_filter() -> None:
    with pytest.raises(ApiError) as caught:
        decode_tasks_select("", "delete")
    assert caught.value.code == "missing_task_filters"
    assert caught.value.message.startswith(
        "Query parameters to filter the tasks to delete are missing. Available"
    )
    with pytest.raises(ApiError, match="Unknown parameter `limit`"):
        decode_tasks_select("limit=1", "cancel")


@pytest.mark.parametrize("text", ["aa", "-1", "99999999999", "", "1.0"])
def test_uids_of_paths(text: str) -> None:
    with pytest.raises(ApiError) as caught:
        path_uid(text)
    message = f"Task uid `{text}` is invalid. It should only contain numeric characters."
    assert (caught.value.code, caught.value.message) == ("invalid_task_uids", message)
    assert path_uid("4294967295", batch=True) == 4_294_967_295

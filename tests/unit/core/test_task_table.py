"""The table of tasks answers as looking at every task would."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from miroir.core.writes.task_table import TaskTable
from miroir.meili import tasks as words
from miroir.meili.commands import Access, TaskFilter, TasksQuery
from miroir.meili.tasks import Batch, Task

NAMES = ("a", "b", "c")


@st.composite
def tasks(draw, uid):
    status = draw(st.sampled_from(words.STATUSES))
    started = draw(st.none() | st.integers(0, 50)) if status != "canceled" else 5
    swap = draw(st.booleans())
    canceled_by = draw(st.integers(0, 12)) if status == "canceled" else None
    own = uid if started is not None else None
    index_uid = None if swap else draw(st.sampled_from((*NAMES, None)))
    return Task(
        uid=uid,
        kind=draw(st.sampled_from(words.KINDS[:4])),
        status=status,
        index_uid=index_uid,
        ran_on=None if index_uid is None else draw(st.sampled_from((*NAMES, None))),
        swaps=((draw(st.sampled_from(NAMES)), draw(st.sampled_from(NAMES))),) if swap else (),
        batch_uid=own if canceled_by is None else canceled_by,
        canceled_by=canceled_by,
        enqueued_at=draw(st.integers(0, 50)),
        started_at=started,
        finished_at=draw(st.none() | st.integers(0, 50)),
        details=draw(st.none() | st.just({"receivedDocuments": 1, "swaps": [{"indexes": ["a", "b"]}]})),
        error=draw(st.none() | st.just({"message": "m", "code": "c"})),
        custom_metadata=draw(st.none() | st.just("x")),
    )


def subset(values):
    return st.none() | st.frozensets(values, max_size=3)


filters = st.builds(
    TaskFilter,
    uids=subset(st.integers(0, 12) | st.just(2**40)),
    batch_uids=subset(st.integers(0, 12) | st.just(2**40)),
    canceled_by=subset(st.integers(0, 12)),
    types=subset(st.sampled_from(words.KINDS[:5])),
    statuses=subset(st.sampled_from(words.STATUSES)),
    index_uids=subset(st.sampled_from((*NAMES, "zzz"))),
    after_enqueued_at=st.none() | st.integers(0, 50),
    before_finished_at=st.none() | st.integers(0, 50),
)
queries = st.builds(
    TasksQuery,
    filter=filters | st.just(TaskFilter()),
    limit=st.integers(0, 5),
    start=st.none() | st.integers(0, 12),
    reverse=st.booleans(),
)
ALL = Access(key_uid=None, index_patterns=None)


@given(st.data(), queries, st.booleans())
def test_lists_are_those_of_a_full_scan(data, query, scoped):
    table = TaskTable()
    model = {}
    for uid in data.draw(st.lists(st.integers(0, 12), max_size=25)):
        if uid in model and data.draw(st.booleans()):
            del model[uid], table[uid]
        else:
            model[uid] = table[uid] = data.draw(tasks(uid))
    access = replace(ALL, index_patterns=("a",)) if scoped else ALL
    flat = [model[uid] for uid in sorted(model)]
    batches = {
        t.uid: Batch(uid=t.uid, started_at=t.started_at or 0, finished_at=t.finished_at)
        for t in flat
        if t.batch_uid == t.uid
    }
    assert words.page_of(table.matching(query.filter), query, access) == words.select_page(
        flat, query, access
    )
    assert words.batches_view(
        words.page_of_batches(table.matching_batches(query.filter), query, access)
    ) == words.batches_view(words.select_batches(flat, batches, query, access))
    assert table.counts() == {s: n for s in words.STATUSES if (n := sum(t.status == s for t in flat))}
    assert table.about(["a", "c"]) == [t.uid for t in flat if words.indexes_of(t) & {"a", "c"}]
    assert dict(table) == model
    again = TaskTable(model.values())
    assert (dict(again), again.counts()) == (model, table.counts())
    assert list(again.matching(query.filter)) == list(table.matching(query.filter))


def test_a_task_that_goes_on_changes_its_places():
    table = TaskTable([Task(uid=3, kind=words.KINDS[0], index_uid="a")])
    table[3] = msgspec.structs.replace(table[3], status="processing", batch_uid=3, index_uid="b")
    assert [t.uid for t in table.matching(TaskFilter(index_uids=frozenset({"a"})))] == []
    assert [t.uid for t in table.matching(TaskFilter(index_uids=frozenset({"b"})))] == [3]
    assert table.counts() == {"processing": 1}


def test_ended_tasks_take_little_memory():
    count = 5_000

    def ended(uid):
        return Task(
            uid=uid,
            kind=words.KINDS[0],
            status="succeeded",
            index_uid=f"index-{uid % 10}",
            batch_uid=uid,
            details={"receivedDocuments": 10 + uid, "indexedDocuments": 10 + uid},
            enqueued_at=1_700_000_000_000_000_000 + uid,
            started_at=1_700_000_000_000_000_001 + uid,
            finished_at=1_700_000_000_000_000_002 + uid,
        )

    tracemalloc.start()
    try:
        table = TaskTable(map(ended, range(count)))
        each = tracemalloc.get_traced_memory()[0] / count
    finally:
        tracemalloc.stop()
    assert len(table) == count
    assert each < 400

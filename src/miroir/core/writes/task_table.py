"""Every task in memory, with sets of uids by what lists ask for: pages of 100,000 tasks cost what a page shows.

Tasks that have ended are kept packed, and unpacked for whoever looks: as objects a million would take a gigabyte.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import Any, overload

import msgspec
from pyroaring import BitMap

from miroir.meili.commands import TaskFilter
from miroir.meili.tasks import FINISHED, Batch, BatchTasks, Task, indexes_of, is_unrestricted, predicate

_UID_MAX = 2**32 - 1
_NO_SETS = {"uids": None, "batch_uids": None, "canceled_by": None}
_NAMES = Task.__struct_fields__
#: A task as the list of its values: the names of a million tasks need not be kept.
_Packed = msgspec.defstruct(
    "_Packed",
    [(field.name, field.type) for field in msgspec.structs.fields(Task)],
    array_like=True,
)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Packed).decode


def _packed(task: Task) -> Task | bytes:
    """What is kept of a task: of one that may still change often, the task itself."""
    return _encode(msgspec.structs.astuple(task)) if task.status in FINISHED else task


def _unpacked(kept: Task | bytes) -> Task:
    if isinstance(kept, Task):
        return kept
    return Task(**dict(zip(_NAMES, msgspec.structs.astuple(_decode(kept)), strict=True)))


def _with_dates(kept: Task | bytes) -> Any:
    """Something that has a task's dates; making tasks of all takes three times as long."""
    return kept if isinstance(kept, Task) else _decode(kept)


class TaskTable(MutableMapping[int, Task]):
    """Tasks by uid. A task that began is a batch of its own; canceled ones join their cancelation's batch."""

    def __init__(self, tasks: Iterable[Task] = ()) -> None:
        self._tasks: dict[int, Task | bytes] = {}
        self._uids: BitMap = BitMap()
        self._status: defaultdict[str, BitMap] = defaultdict(BitMap)
        self._kind: defaultdict[str, BitMap] = defaultdict(BitMap)
        self._index: defaultdict[str, BitMap] = defaultdict(BitMap)
        self._batches: BitMap = BitMap()  #: uids of tasks that are the first of their batch
        self._renamed = BitMap()  #: uids of tasks that ran on an index of another name
        self._joined: defaultdict[int, BitMap] = defaultdict(BitMap)  #: batch -> its other tasks
        self._canceled_by: defaultdict[int, BitMap] = defaultdict(BitMap)
        members: dict[int, tuple[BitMap, list[int]]] = {}
        for task in tasks:  # all at once, for one by one takes many times as long
            self._tasks[task.uid] = _packed(task)
            for found in self._sets(task):
                members.setdefault(id(found), (found, []))[1].append(task.uid)
        for found, uids in members.values():
            found.update(uids)
        self._uids.update(self._tasks)

    # --- as a mapping ---------------------------------------------------------------------------

    def __getitem__(self, uid: int) -> Task:
        return _unpacked(self._tasks[uid])

    def __setitem__(self, uid: int, task: Task) -> None:
        old = self.get(uid)
        self._tasks[uid] = _packed(task)
        if old is None:
            self._uids.add(uid)
            for found in self._sets(task):
                found.add(uid)
            return
        before, after = self._sets(old), self._sets(task)
        for found in before:
            if not any(found is other for other in after):
                found.discard(uid)
        for found in after:
            found.add(uid)

    def __delitem__(self, uid: int) -> None:
        task = _unpacked(self._tasks.pop(uid))
        self._uids.discard(uid)
        for found in self._sets(task):
            found.discard(uid)
        for table in (self._index, self._joined, self._canceled_by):
            for key in self._keys_of(table, task):
                if not table[key]:
                    del table[key]

    def _sets(self, task: Task) -> list[BitMap]:
        sets = [self._status[task.status], self._kind[task.kind]]
        sets.extend(self._index[uid] for uid in indexes_of(task))
        if task.batch_uid == task.uid:
            sets.append(self._batches)
        elif task.batch_uid is not None:
            sets.append(self._joined[task.batch_uid])
        if task.canceled_by is not None:
            sets.append(self._canceled_by[task.canceled_by])
        if task.ran_on is not None:
            sets.append(self._renamed)
        return sets

    def _keys_of(self, table: Mapping[Any, BitMap], task: Task) -> list[Any]:
        if table is self._index:
            return list(indexes_of(task))
        key = task.batch_uid if table is self._joined else task.canceled_by
        return [key] if key in table else []

    def __iter__(self) -> Iterator[int]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)

    # --- what lists ask -------------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """Status -> number of tasks, for those that there are."""
        return {status: len(found) for status, found in self._status.items() if found}

    def with_status(self, status: str) -> list[Task]:
        """Tasks of one status, oldest first."""
        return [self[uid] for uid in self._status[status]]

    def oldest(self, statuses: Iterable[str]) -> Iterator[int]:
        """Uids of tasks of these statuses, ascending."""
        return iter(BitMap.union(BitMap(), *(self._status[status] for status in statuses)))

    def about(self, index_uids: Iterable[str]) -> list[int]:
        """Uids of tasks about any of these indexes, swaps included, ascending."""
        return list(BitMap.union(BitMap(), *(self._index[uid] for uid in index_uids if uid in self._index)))

    def matching(self, wanted: TaskFilter) -> Sequence[Task]:
        """Tasks that a filter selects, oldest first."""
        return _Tasks(self, self._matching(wanted))

    def matching_batches(self, wanted: TaskFilter) -> Sequence[BatchTasks]:
        """Batches with at least one task that a filter selects, oldest first."""
        if is_unrestricted(wanted):
            return _Batches(self, self._batches)
        found = self._matching(wanted)
        if wanted.index_uids is not None and self._renamed:
            renamed = self._matching(replace(wanted, index_uids=None)) & self._renamed
            found -= self._renamed
            found |= BitMap(uid for uid in renamed if self[uid].ran_on in wanted.index_uids)
        batches = found & self._batches
        batches |= BitMap(
            uid for uid, joined in self._joined.items() if uid in self._batches and joined.intersect(found)
        )
        return _Batches(self, batches)

    def batch(self, uid: int) -> BatchTasks | None:
        """One batch."""
        if not 0 <= uid <= _UID_MAX or uid not in self._batches:
            return None
        first = self[uid]
        members = [first, *(self[other] for other in self._joined.get(uid, ()))]
        batch = Batch(uid=uid, started_at=first.started_at or 0, finished_at=first.finished_at)
        return BatchTasks(batch, sorted(members, key=lambda task: task.uid))

    def _matching(self, wanted: TaskFilter) -> BitMap:
        found = self._uids
        if wanted.uids is not None:
            found = found & BitMap(uid for uid in wanted.uids if 0 <= uid <= _UID_MAX)
        for table, accepted in (
            (self._status, wanted.statuses),
            (self._kind, wanted.types),
            (self._index, wanted.index_uids),
            (self._canceled_by, wanted.canceled_by),
        ):
            if accepted is not None:
                sets = [table[key] for key in accepted if key in table]  # type: ignore[index]
                found = found & BitMap.union(BitMap(), *sets)
        if wanted.batch_uids is not None:
            members = [self._joined[uid] for uid in wanted.batch_uids if uid in self._joined]
            own = BitMap(uid for uid in wanted.batch_uids if 0 <= uid <= _UID_MAX) & self._batches
            found = found & BitMap.union(own, *members)
        dates = replace(wanted, **_NO_SETS, types=None, statuses=None, index_uids=None)
        if not is_unrestricted(dates):
            test = predicate(dates)
            kept = self._tasks
            found = BitMap(uid for uid in found if test(_with_dates(kept[uid])))
        return found


class _Tasks(Sequence[Task]):
    """Tasks of a set of uids, fetched when they are looked at."""

    def __init__(self, tasks: Mapping[int, Task], uids: BitMap) -> None:
        self._tasks = tasks
        self._uids = uids

    def __len__(self) -> int:
        return len(self._uids)

    @overload
    def __getitem__(self, at: int) -> Task: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Task]: ...
    def __getitem__(self, at: int | slice) -> Task | Sequence[Task]:
        if isinstance(at, slice):
            return [self._tasks[uid] for uid in self._uids[at]]
        return self._tasks[self._uids[at]]

    def __iter__(self) -> Iterator[Task]:
        return map(self._tasks.__getitem__, self._uids)


class _Batches(Sequence[BatchTasks]):
    """Batches of a set of uids, put together when they are looked at."""

    def __init__(self, table: TaskTable, uids: BitMap) -> None:
        self._table = table
        self._uids = uids

    def __len__(self) -> int:
        return len(self._uids)

    @overload
    def __getitem__(self, at: int) -> BatchTasks: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[BatchTasks]: ...
    def __getitem__(self, at: int | slice) -> BatchTasks | Sequence[BatchTasks]:
        if isinstance(at, slice):
            return [self._one(uid) for uid in self._uids[at]]
        return self._one(self._uids[at])

    def _one(self, uid: int) -> BatchTasks:
        found = self._table.batch(uid)
        assert found is not None
        return found

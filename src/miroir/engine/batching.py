"""Which queued tasks of one index run together: a pure fold from tasks to the next batch.

Source: Meilisearch v1.50, `index-scheduler/src/scheduler/autobatcher.rs` (rules read, not copied) and
reference/meilisearch-api.md, section 3.6. Tasks that concern no single index (cancelations, deletions of
tasks, dumps, ...) never come here: `scheduling.py` runs them first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum


class Verb(StrEnum):
    """What one task does to its index, as far as batching cares."""

    IMPORT = "import"
    DELETE = "delete"
    DELETE_BY_FILTER = "delete_by_filter"
    CLEAR = "clear"
    SETTINGS = "settings"
    EDIT = "edit"
    CREATE_INDEX = "create_index"
    UPDATE_INDEX = "update_index"
    DELETE_INDEX = "delete_index"
    SWAP = "swap"


class Plan(StrEnum):
    """How a batch is carried out."""

    OPERATIONS = "operations"  #: additions, with deletions before or between
    DELETIONS = "deletions"
    CLEAR = "clear"
    SETTINGS = "settings"
    CLEAR_AND_SETTINGS = "clear_and_settings"
    EDIT = "edit"
    CREATE_INDEX = "create_index"
    UPDATE_INDEX = "update_index"
    DELETE_INDEX = "delete_index"
    SWAP = "swap"


@dataclass(frozen=True, slots=True)
class Queued:
    """One queued task. `may_create` tells whether an import or settings task may create its index."""

    uid: int
    verb: Verb
    may_create: bool = False
    primary_key: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """The tasks that run together, in queue order (settings tasks of a `CLEAR_AND_SETTINGS` apart).

    `primary_key` is the one its imports ask for; `creates_index`: make the index first if it is missing;
    `reason`: why the batch ends where it ends, in words.
    """

    plan: Plan
    uids: tuple[int, ...]
    settings_uids: tuple[int, ...] = ()
    may_create: bool | None = None
    primary_key: str | None = None
    by_filter: bool = False
    creates_index: bool = False
    reason: str = ""

    @property
    def all_uids(self) -> tuple[int, ...]:
        """Every task of the batch, in queue order."""
        return tuple(sorted((*self.uids, *self.settings_uids)))


_ALONE = {
    Verb.EDIT: Plan.EDIT,
    Verb.CREATE_INDEX: Plan.CREATE_INDEX,
    Verb.UPDATE_INDEX: Plan.UPDATE_INDEX,
    Verb.SWAP: Plan.SWAP,
}
_DELETIONS = (Verb.DELETE, Verb.DELETE_BY_FILTER)


def next_batch(
    queued: Sequence[Queued], *, index_exists: bool, primary_key: str | None, exhausted: str
) -> Batch:
    """Return the longest batch that starts with the first task.

    Args:
        queued: tasks of one index in queue order; not empty.
        index_exists: whether the index exists now.
        primary_key: the index's, if it has one.
        exhausted: the reason to give when every task fitted.
    """
    batch, ended = _first(queued[0], primary_key)
    if ended:
        return batch
    exists = index_exists or batch.creates_index
    for task in queued[1:]:
        following, reason = _extend(batch, task, index_exists=exists, index_key=primary_key)
        if following is None:
            return replace(batch, reason=reason)
        batch = following
        if reason:
            return replace(batch, reason=reason)
    return replace(batch, reason=exhausted)


def _first(task: Queued, index_key: str | None) -> tuple[Batch, bool]:
    """The batch that holds `task` alone, and whether nothing may follow."""
    uids = (task.uid,)
    alone = _ALONE.get(task.verb)
    if alone is not None:
        reason = f"created batch containing only task with id {task.uid} that cannot be batched with any other task."
        return Batch(alone, uids, creates_index=task.verb is Verb.CREATE_INDEX, reason=reason), True
    match task.verb:
        case Verb.DELETE_INDEX:
            return Batch(Plan.DELETE_INDEX, uids, reason=_deletes_index(task)), True
        case Verb.CLEAR:
            return Batch(Plan.CLEAR, uids), False
        case Verb.DELETE | Verb.DELETE_BY_FILTER:
            return Batch(Plan.DELETIONS, uids, by_filter=task.verb is Verb.DELETE_BY_FILTER), False
        case Verb.SETTINGS:
            batch = Batch(Plan.SETTINGS, (), uids, may_create=task.may_create, creates_index=task.may_create)
            return batch, False
    batch = Batch(
        Plan.OPERATIONS,
        uids,
        may_create=task.may_create,
        primary_key=task.primary_key,
        creates_index=task.may_create,
    )
    if index_key is not None and task.primary_key is not None and task.primary_key != index_key:
        return replace(batch, reason=_key_mismatch(task, index_key)), True
    return batch, False


def _extend(
    batch: Batch, task: Queued, *, index_exists: bool, index_key: str | None
) -> tuple[Batch | None, str]:
    """(batch with the task, "") to go on, (batch with the task, reason) as the last, (None, reason) without it."""
    if (refusal := _refuse_key(batch, task, index_key)) is not None:
        return None, refusal
    if task.verb in _ALONE:
        return None, f"stopped before task with id {task.uid} that cannot be batched with any other task."
    creates = task.verb in (Verb.IMPORT, Verb.SETTINGS) and task.may_create
    if not index_exists and batch.may_create is False and creates:
        return None, _creation_mismatch(task)
    if task.verb is Verb.DELETE_INDEX:
        everything = Batch(Plan.DELETE_INDEX, (*batch.all_uids, task.uid), creates_index=batch.creates_index)
        return everything, _deletes_index(task)
    match batch.plan:
        case Plan.CLEAR:
            return _extend_clear(batch, task)
        case Plan.OPERATIONS:
            return _extend_operations(batch, task)
        case Plan.DELETIONS:
            return _extend_deletions(batch, task, index_exists=index_exists)
        case Plan.SETTINGS:
            return _extend_settings(batch, task)
    return _extend_clear_and_settings(batch, task)


def _refuse_key(batch: Batch, task: Queued, index_key: str | None) -> str | None:
    """Why the primary key of an import keeps it out of the batch, if it does."""
    if task.verb is not Verb.IMPORT or task.primary_key is None:
        return None
    if index_key is not None:
        return None if task.primary_key == index_key else _key_mismatch(task, index_key)
    if batch.plan is not Plan.OPERATIONS or batch.primary_key == task.primary_key:
        return None
    if batch.primary_key is None:
        return (
            f"stopped before task with id {task.uid} because its primary key `{task.primary_key}` could"
            " interfere with primary key guessing"
        )
    return _key_mismatch(task, batch.primary_key)


def _extend_clear(batch: Batch, task: Queued) -> tuple[Batch | None, str]:
    if task.verb is Verb.CLEAR or task.verb in _DELETIONS:
        return _with(batch, task), ""
    return None, _settings_after_documents(task)


def _extend_operations(batch: Batch, task: Queued) -> tuple[Batch | None, str]:
    match task.verb:
        case Verb.CLEAR:
            return replace(_with(batch, task), plan=Plan.CLEAR, may_create=None, primary_key=None), ""
        case Verb.IMPORT | Verb.DELETE:
            return _with(batch, task), ""
        case Verb.DELETE_BY_FILTER:
            return None, (
                f"stopped before task with id {task.uid} because it is a deletion by filter which cannot be"
                " batched with document operations"
            )
    return None, _settings_after_documents(task)


def _extend_deletions(batch: Batch, task: Queued, *, index_exists: bool) -> tuple[Batch | None, str]:
    match task.verb:
        case Verb.CLEAR:
            return replace(_with(batch, task), plan=Plan.CLEAR, by_filter=False), ""
        case Verb.DELETE | Verb.DELETE_BY_FILTER:
            by_filter = batch.by_filter or task.verb is Verb.DELETE_BY_FILTER
            return replace(_with(batch, task), by_filter=by_filter), ""
        case Verb.IMPORT:
            if batch.by_filter or index_exists or not task.may_create:
                joined = _with(batch, task)
                return replace(
                    joined,
                    plan=Plan.OPERATIONS,
                    may_create=task.may_create,
                    primary_key=task.primary_key,
                ), ""
            return None, _creation_mismatch(task)
    return None, _settings_after_documents(task)


def _extend_settings(batch: Batch, task: Queued) -> tuple[Batch | None, str]:
    match task.verb:
        case Verb.SETTINGS:
            return replace(batch, settings_uids=(*batch.settings_uids, task.uid)), ""
        case Verb.CLEAR:
            return replace(_with(batch, task), plan=Plan.CLEAR_AND_SETTINGS), ""
    return None, _documents_after_settings(task)


def _extend_clear_and_settings(batch: Batch, task: Queued) -> tuple[Batch | None, str]:
    if task.verb is Verb.SETTINGS:
        return replace(batch, settings_uids=(*batch.settings_uids, task.uid)), ""
    if task.verb is Verb.CLEAR or task.verb in _DELETIONS:
        return _with(batch, task), ""
    return None, _documents_after_settings(task)


def _with(batch: Batch, task: Queued) -> Batch:
    return replace(batch, uids=(*batch.uids, task.uid))


def _deletes_index(task: Queued) -> str:
    return f"stopped after task with id {task.uid} because it deletes the index"


def _creation_mismatch(task: Queued) -> str:
    return f"stopped before task with id {task.uid} because its index creation rights differ from those of the batch"


def _key_mismatch(task: Queued, key: str) -> str:
    return f"stopped at task with id {task.uid} because its primary key `{task.primary_key}` differs from `{key}`"


def _settings_after_documents(task: Queued) -> str:
    return (
        f"stopped before task with id {task.uid} because it is a settings change which cannot be batched with"
        " document operations"
    )


def _documents_after_settings(task: Queued) -> str:
    return (
        f"stopped before task with id {task.uid} because it is a document operation which cannot be batched with"
        " settings changes"
    )

"""What a queued task is to do: one value per kind, stored beside the task until it is finished."""

from __future__ import annotations

from typing import Any

import msgspec

from miroir.engine.batching import Verb


class Job(msgspec.Struct, frozen=True, kw_only=True, tag_field="job"):
    """Root of all jobs."""


class AddDocuments(Job, frozen=True, kw_only=True, tag="add"):
    """Replace or merge documents. `may_create`: the asker may create the index."""

    merge: bool
    documents: list[dict[str, Any]]
    primary_key: str | None = None
    skip_creation: bool = False
    may_create: bool = True


class DeleteDocuments(Job, frozen=True, kw_only=True, tag="delete"):
    ids: list[str]


class DeleteByFilter(Job, frozen=True, kw_only=True, tag="delete_by_filter"):
    filter: Any


class ClearDocuments(Job, frozen=True, kw_only=True, tag="clear"):
    pass


class EditDocuments(Job, frozen=True, kw_only=True, tag="edit"):
    function: str
    filter: Any = None
    context: dict[str, Any] | None = None


class UpdateSettings(Job, frozen=True, kw_only=True, tag="settings"):
    """`patch` as in commands.SettingsWrite."""

    patch: dict[str, Any]
    reset_all: bool = False
    is_deletion: bool = False
    may_create: bool = True


class CreateIndex(Job, frozen=True, kw_only=True, tag="create_index"):
    primary_key: str | None = None


class UpdateIndex(Job, frozen=True, kw_only=True, tag="update_index"):
    primary_key: str | None = None
    new_uid: str | None = None


class DeleteIndex(Job, frozen=True, kw_only=True, tag="delete_index"):
    pass


class SwapPair(msgspec.Struct, frozen=True):
    left: str
    right: str
    rename: bool


class SwapIndexes(Job, frozen=True, kw_only=True, tag="swap"):
    pairs: list[SwapPair]


class SelectTasks(Job, frozen=True, kw_only=True, tag="select"):
    """The matched tasks of a cancelation or deletion, frozen when it was asked for."""

    matched: list[int]


class Simple(Job, frozen=True, kw_only=True, tag="simple"):
    """A task whose kind says all: compaction, dump, snapshot."""


AnyJob = (
    AddDocuments
    | DeleteDocuments
    | DeleteByFilter
    | ClearDocuments
    | EditDocuments
    | UpdateSettings
    | CreateIndex
    | UpdateIndex
    | DeleteIndex
    | SwapIndexes
    | SelectTasks
    | Simple
)

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[AnyJob] = msgspec.msgpack.Decoder(AnyJob)


def encode_job(job: AnyJob) -> bytes:
    """The stored form of a job."""
    return _encoder.encode(job)


def decode_job(body: bytes) -> AnyJob:
    """Inverse of `encode_job`."""
    return _decoder.decode(body)


class JobSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What scheduling needs to know of a job without its payload; kept in memory for each queued task."""

    verb: Verb | None  #: None: a task that never shares a batch with others of its index
    may_create: bool = False
    primary_key: str | None = None


def summary(job: AnyJob) -> JobSummary:
    """The part of a job that scheduling looks at."""
    match job:
        case AddDocuments():
            return JobSummary(verb=Verb.IMPORT, may_create=job.may_create, primary_key=job.primary_key)
        case UpdateSettings():
            return JobSummary(verb=Verb.SETTINGS, may_create=job.may_create and not job.is_deletion)
        case DeleteDocuments():
            return JobSummary(verb=Verb.DELETE)
        case DeleteByFilter():
            return JobSummary(verb=Verb.DELETE_BY_FILTER)
        case ClearDocuments():
            return JobSummary(verb=Verb.CLEAR)
        case EditDocuments():
            return JobSummary(verb=Verb.EDIT)
        case CreateIndex():
            return JobSummary(verb=Verb.CREATE_INDEX)
        case UpdateIndex():
            return JobSummary(verb=Verb.UPDATE_INDEX)
        case DeleteIndex():
            return JobSummary(verb=Verb.DELETE_INDEX)
        case SwapIndexes():
            return JobSummary(verb=Verb.SWAP)
    return JobSummary(verb=None)

"""What nodes answer to writes: summaries of tasks, pages of their lists, error objects. Pure.

Strict in what is needed and blind to the rest: a newer server may say more. Whatever else may stand at a node's address
(a proxy with a page of its own) is no answer, and nobody believes a part of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from miroir.core.writes.lane_requests import NodeTask
from miroir.core.writes.ops import parse_shards_tag, parse_tag

#: Types of tasks that lanes tell apart.
_KINDS = frozenset({"documentAdditionOrUpdate", "documentDeletion", "settingsUpdate", "indexDeletion"})
_SHOWN_BYTES = 200


class _Listed(msgspec.Struct, frozen=True, rename="camel"):
    uid: int
    status: str
    type: str = ""
    index_uid: str | None = None
    custom_metadata: Any = None
    error: dict[str, Any] | None = None


class _Listing(msgspec.Struct, frozen=True):
    results: list[_Listed]


class _Summary(msgspec.Struct, frozen=True, rename="camel"):
    task_uid: int


class _Index(msgspec.Struct, frozen=True):
    uid: str


class _Indexes(msgspec.Struct, frozen=True):
    results: list[_Index]


class _Refusal(msgspec.Struct, frozen=True):
    message: str
    code: str


_decode_listing = msgspec.json.Decoder(_Listing).decode
_decode_indexes = msgspec.json.Decoder(_Indexes).decode
_decode_summary = msgspec.json.Decoder(_Summary).decode
_decode_refusal = msgspec.json.Decoder(_Refusal).decode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True)
class TaskPage:
    """A page of a node's task list. `uids` are those of all tasks, of no index too; both in the order listed."""

    tasks: list[tuple[str, NodeTask]]  #: (physical uid, task) of those about an index
    uids: list[int]


def task_page(body: bytes) -> TaskPage:
    """The page in an answer of GET /tasks. Raises ValueError when it is none."""
    try:
        listed = _decode_listing(body).results
    except msgspec.MsgspecError as error:
        raise ValueError(f"not a task list: {error}") from error
    tasks = [(item.index_uid, _task(item)) for item in listed if item.index_uid is not None]
    return TaskPage(tasks, [item.uid for item in listed])


def _task(item: _Listed) -> NodeTask:
    known = item.type if item.type in _KINDS else ""
    metadata = item.custom_metadata
    return NodeTask(item.uid, item.status, known, parse_tag(metadata), item.error, parse_shards_tag(metadata))


def index_uids(body: bytes) -> list[str]:
    """Uids in an answer of GET /indexes. Raises ValueError when it is none."""
    try:
        return [index.uid for index in _decode_indexes(body).results]
    except msgspec.MsgspecError as error:
        raise ValueError(f"not a list of indexes: {error}") from error


def task_uid(body: bytes) -> int:
    """`taskUid` of a summarised task. Raises ValueError."""
    try:
        return _decode_summary(body).task_uid
    except msgspec.MsgspecError as error:
        raise ValueError(f"no summarised task: {error}") from error


def error_of(body: bytes) -> dict[str, Any]:
    """The error object of a refusal: `message` and `code` are texts; something readable when it is none."""
    try:
        _decode_refusal(body)
        return _decode(body)
    except msgspec.MsgspecError:
        return {
            "message": body[:_SHOWN_BYTES].decode(errors="replace"),
            "code": "internal",
            "type": "internal",
            "link": "",
        }

"""Query strings of GET /tasks, GET /batches, POST /tasks/cancel and DELETE /tasks; uids in paths."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from miroir.meili.codes import ApiError
from miroir.meili.commands import TaskFilter, TasksQuery, TasksSelect
from miroir.meili.dates import parse_day, parse_rfc3339
from miroir.meili.decode import Decoder, Field, fields, snake
from miroir.meili.indexes import param_index_uid
from miroir.meili.query_params import (
    invalid_param,
    param_boolean,
    param_fields,
    param_star_or_list,
    param_u32,
    query_pairs,
)
from miroir.meili.refusals import U32_MAX
from miroir.meili.tasks import KINDS, STATUSES


def _word(kind: str, plural: str, accepted: tuple[str, ...]) -> Decoder:
    by_lower = {name.lower(): name for name in accepted}
    available = ", ".join(f"`{name}`" for name in accepted)

    def decode(text: str, name: str, code: str) -> str:
        found = by_lower.get(text.lower())
        if found is None:
            invalid_param(
                f"`{text}` is not a valid task {kind}. Available {plural} are {available}.", name, code
            )
        return found

    return decode


def _date(*, next_day: bool) -> Decoder:
    def decode(text: str, name: str, code: str) -> int | None:
        if text == "*":
            return None
        instant = parse_rfc3339(text)
        if instant is None:
            instant = parse_day(text, next_day=next_day)
        if instant is None:
            message = f"`{text}` is an invalid date-time. It should follow the YYYY-MM-DD or RFC 3339 date-time format."
            invalid_param(message, name, code)
        return instant

    return decode


_PAGE = (
    Field("limit", param_u32, "invalid_task_limit"),
    Field("from", param_u32, "invalid_task_from"),
    Field("reverse", param_boolean, "invalid_task_reverse"),
)
_UIDS = Field("uids", param_star_or_list(param_u32), "invalid_task_uids")
_BATCHES = Field("batchUids", param_star_or_list(param_u32), "invalid_batch_uids")
_REST = (
    Field("canceledBy", param_star_or_list(param_u32), "invalid_task_canceled_by"),
    Field("types", param_star_or_list(_word("type", "types", KINDS)), "invalid_task_types"),
    Field("statuses", param_star_or_list(_word("status", "statuses", STATUSES)), "invalid_task_statuses"),
    Field("indexUids", param_star_or_list(param_index_uid), "invalid_index_uid"),
    *(
        Field(f"{side}{event}At", _date(next_day=side == "after"), f"invalid_task_{side}_{event.lower()}_at")
        for event in ("Enqueued", "Started", "Finished")
        for side in ("after", "before")
    ),
)
_LIST = fields(*_PAGE, _BATCHES, _UIDS, *_REST)
_SELECT = fields(_UIDS, _BATCHES, *_REST)


def _filter(found: Mapping[str, Any]) -> TaskFilter:
    members: dict[str, Any] = {
        snake(name): frozenset(value) if isinstance(value, tuple) else value
        for name, value in found.items()
        if name not in ("limit", "from", "reverse")
    }
    return TaskFilter(**members)


def decode_tasks_query(params: list[tuple[str, str]]) -> TasksQuery:
    """GET /tasks and GET /batches."""
    found = param_fields(params, _LIST)
    return TasksQuery(_filter(found), found.get("limit", 20), found.get("from"), found.get("reverse", False))


def decode_tasks_select(query: str, verb: str) -> TasksSelect:
    """POST /tasks/cancel (`verb` "cancel") and DELETE /tasks ("delete") from the raw query string."""
    found = param_fields(query_pairs(query), _SELECT)
    if not found:
        available = ", ".join(
            f"`{name}`"
            for name in (
                "uids", "indexUids", "statuses", "types", "canceledBy", "beforeEnqueuedAt", "afterEnqueuedAt",
                "beforeStartedAt", "afterStartedAt", "beforeFinishedAt", "afterFinishedAt",
            )
        )  # fmt: skip
        message = (
            f"Query parameters to filter the tasks to {verb} are missing. "
            f"Available query parameters are: {available}."
        )
        raise ApiError("missing_task_filters", message)
    return TasksSelect(_filter(found), "?" + query)


_DIGITS = re.compile(r"\+?[0-9]+")


def path_uid(text: str, *, batch: bool = False) -> int:
    """Uid of a task or batch in a path."""
    if not _DIGITS.fullmatch(text) or int(text) > U32_MAX:
        what, code = ("Batch", "invalid_batch_uids") if batch else ("Task", "invalid_task_uids")
        raise ApiError(code, f"{what} uid `{text}` is invalid. It should only contain numeric characters.")
    return int(text)

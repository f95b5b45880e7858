"""Indexes as a resource: the syntax of uids and patterns, bodies and parameters, views."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from miroir.meili.codes import ApiError
from miroir.meili.commands import Access, FieldsQuery, IndexCreate, IndexUpdate, Page, Swap
from miroir.meili.dates import format_date
from miroir.meili.decode import (
    Field,
    arguments,
    array_of,
    boolean,
    fields,
    integer,
    object_fields,
    object_of,
    string,
    strings,
)
from miroir.meili.query_params import invalid_param, param_fields, param_integer
from miroir.meili.refusals import BAD_REQUEST, compact_json, invalid, wrong_kind

#: The message says 512, the server refuses from 401 on.
MAX_UID_BYTES = 400
_UID = re.compile(r"[A-Za-z0-9_-]{1,400}")
_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,400}\*?|\*")


def uid_problem(text: str) -> str | None:
    """Why a text is no index uid, None when it is one."""
    if _UID.fullmatch(text):
        return None
    return (
        f"`{text}` is not a valid index uid. Index uid can be an integer or a string containing only alphanumeric "
        "characters, hyphens (-) and underscores (_), and can not be more than 512 bytes."
    )


def check_uid(text: str) -> str:
    """The uid of a path: itself, or `invalid_index_uid`."""
    if (problem := uid_problem(text)) is not None:
        raise ApiError("invalid_index_uid", problem)
    return text


def index_uid(value: Any, path: str, code: str) -> str:
    """Decoder of an index uid in a JSON body."""
    text = string(value, path, code)
    if (problem := uid_problem(text)) is not None:
        invalid(problem, path, code)
    return text


def param_index_uid(text: str, name: str, code: str) -> str:
    """Decoder of an index uid in a query string."""
    if (problem := uid_problem(text)) is not None:
        invalid_param(problem, name, code)
    return text


def is_index_pattern(text: str) -> bool:
    """Whether a text is an index uid pattern: a uid, `prefix*` or `*`."""
    return _PATTERN.fullmatch(text) is not None


def index_pattern(value: Any, path: str, code: str) -> str:
    """Decoder of an index uid pattern: a uid, `prefix*` or `*`."""
    text = string(value, path, code)
    if not is_index_pattern(text):
        problem = (
            f"`{text}` is not a valid index uid pattern. Index uid patterns can be an integer or a string containing "
            "only alphanumeric characters, hyphens (-), underscores (_), and optionally end with a star (*)."
        )
        invalid(problem, path, code)
    return text


def index_not_found(uid: str) -> ApiError:
    """404: no such index."""
    return ApiError("index_not_found", f"Index `{uid}` not found.")


# --- bodies and parameters ----------------------------------------------------------------------

_LIST = fields(
    Field("offset", param_integer, "invalid_index_offset"),
    Field("limit", param_integer, "invalid_index_limit"),
)
_CREATE = fields(
    Field("uid", index_uid, "invalid_index_uid", required="missing_index_uid"),
    Field("primaryKey", string, "invalid_index_primary_key", nullable=True),
)
_UPDATE = fields(
    Field("primaryKey", string, "invalid_index_primary_key", nullable=True),
    Field("uid", string, "invalid_index_uid", nullable=True),
)
_IMMUTABLE = {"createdAt": "immutable_index_created_at", "updatedAt": "immutable_index_updated_at"}
_SWAP = fields(
    Field("indexes", array_of(index_uid), "invalid_swap_indexes", required="missing_swap_indexes"),
    Field("rename", boolean, "invalid_swap_rename"),
)


def decode_list_params(params: list[tuple[str, str]]) -> Page:
    """GET /indexes."""
    return Page(**param_fields(params, _LIST))


def decode_create(body: object) -> IndexCreate:
    """POST /indexes."""
    return IndexCreate(**arguments(object_fields(body, _CREATE)))


def decode_update(body: object) -> IndexUpdate:
    """PATCH /indexes/{uid}."""
    found = object_fields(body, _UPDATE, immutable=_IMMUTABLE)
    if (new_uid := found.get("uid")) is not None:
        check_uid(new_uid)
    return IndexUpdate(new_uid=new_uid, primary_key=found.get("primaryKey"))


def decode_swaps(body: object) -> list[dict[str, Any]]:
    """POST /swap-indexes: types only; `check_swaps` does the rest once the credential is known."""
    if not isinstance(body, list):
        wrong_kind(body, "", BAD_REQUEST, "array")
    return [object_fields(item, _SWAP, f"[{i}]") for i, item in enumerate(body)]


def check_swaps(swaps: Sequence[dict[str, Any]], access: Access) -> tuple[Swap, ...]:
    """Two indexes each, all of them allowed and named once."""
    seen: set[str] = set()
    twice: list[str] = []
    for swap in swaps:
        uids = swap["indexes"]
        if len(uids) != 2:
            listed = compact_json(list(uids)).replace('","', '", "')
            message = (
                f"Two indexes must be given for each swap. The list `{listed}` contains {len(uids)} indexes."
            )
            raise ApiError("invalid_swap_indexes", message)
        if not all(access.sees(uid) for uid in uids):
            raise ApiError("invalid_api_key", "The provided API key is invalid.")
        for uid in uids:
            if uid in seen and uid not in twice:
                twice.append(uid)
            seen.add(uid)
    if twice:
        named = ", ".join(f"`{uid}`" for uid in sorted(twice))
        verb = "was" if len(twice) == 1 else "were"
        message = f"Indexes must be declared only once during a swap. {named} {verb} specified several times."
        raise ApiError("invalid_swap_duplicate_index_found", message)
    return tuple(Swap(swap["indexes"], swap.get("rename", False)) for swap in swaps)


_FIELDS_FILTER = fields(
    Field("attributePatterns", strings, "invalid_index_fields_filter_attribute_patterns", nullable=True),
    Field("displayed", boolean, "invalid_index_fields_filter_displayed", nullable=True),
    Field("searchable", boolean, "invalid_index_fields_filter_searchable", nullable=True),
    Field("sortable", boolean, "invalid_index_fields_filter_sortable", nullable=True),
    Field("distinct", boolean, "invalid_index_fields_filter_distinct", nullable=True),
    Field("rankingRule", boolean, "invalid_index_fields_filter_ranking_rule", nullable=True),
    Field("filterable", boolean, "invalid_index_fields_filter_filterable", nullable=True),
)
_FIELDS = fields(
    Field("offset", integer, "invalid_index_offset"),
    Field("limit", integer, "invalid_index_limit"),
    Field("filter", object_of(_FIELDS_FILTER), "invalid_index_fields_filter", nullable=True),
)


def decode_fields(body: object) -> FieldsQuery:
    """POST /indexes/{uid}/fields."""
    found = object_fields(body, _FIELDS)
    wanted = arguments(found.pop("filter", None) or {})
    return FieldsQuery(**arguments(found), **wanted)


# --- views --------------------------------------------------------------------------------------


def page_view(results: list[Any], page: Page, total: int) -> dict[str, Any]:
    """The envelope of every list paged by offset."""
    return {"results": results, "offset": page.offset, "limit": page.limit, "total": total}


def cut(items: Sequence[Any], page: Page) -> list[Any]:
    """The page of a complete list."""
    return list(items[page.offset : page.offset + page.limit])


def index_view(uid: str, created_at: int, updated_at: int, primary_key: str | None) -> dict[str, Any]:
    """IndexView; times in ns."""
    return {
        "uid": uid,
        "createdAt": format_date(created_at),
        "updatedAt": format_date(updated_at),
        "primaryKey": primary_key,
    }

"""Decoding of the document routes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

from miroir.meili import decode, filters, query_params, refusals
from miroir.meili.codes import ApiError
from miroir.meili.commands import (
    DocumentGet,
    DocumentsDelete,
    DocumentsEdit,
    DocumentsQuery,
    DocumentsWrite,
)
from miroir.meili.decode import Field
from miroir.meili.document_ids import canonical_id
from miroir.meili.document_payload import Format, invalid_type, read_documents
from miroir.meili.http import HttpRequest
from miroir.meili.json_text import JsonSyntaxError, Scanner, loads
from miroir.meili.refusals import compact_json
from miroir.meili.rhai import compile_script
from miroir.meili.search_fields import param_filter
from miroir.meili.sorting import parse_sorts, split_sort
from miroir.meili.vector_forms import keep_wrong_entries

_FORMATS: dict[str, Format] = {
    "application/json": "json",
    "application/x-ndjson": "ndjson",
    "text/csv": "csv",
}
_ACCEPTED = (
    "Accepted values for the Content-Type header are: `application/json`, `application/x-ndjson`, `text/csv`"
)
_FILTER_CODE = "invalid_document_filter"


# --- writes -------------------------------------------------------------------------------------


def _delimiter(text: str, name: str, code: str) -> str:
    if not text:
        query_params.invalid_param(
            "expected a string of one character, but found an empty string", name, code
        )
    if len(text) > 1:
        query_params.invalid_param(
            f"expected a string of one character, but found the following string of {len(text)} characters: "
            f"`{text}`",
            name,
            code,
        )
    if not text.isascii():
        raise ApiError(code, f"csv delimiter must be an ascii character. Found: `{text}`")
    return text


def _skip_creation(text: str, name: str, code: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ApiError(code, f"skipCreation must be either `true` or `false`. Found: `{text}`")
    return text.lower() == "true"


_WRITE_PARAMS = decode.fields(
    Field("primaryKey", query_params.param_string, "invalid_index_primary_key"),
    Field("csvDelimiter", _delimiter, "invalid_document_csv_delimiter"),
    Field("customMetadata", query_params.param_string, "invalid_index_custom_metadata"),
    Field("skipCreation", _skip_creation, "invalid_skip_creation"),
)


def check_write_params(params: list[tuple[str, str]]) -> None:
    """Refuse parameters of a write, which comes before its index uid is looked at. Raises ApiError."""
    query_params.param_fields(params, _WRITE_PARAMS)


def decode_write(request: HttpRequest, kind: Literal["replace", "merge"]) -> DocumentsWrite:
    """POST (replace) or PUT (merge) of documents. Raises ApiError."""
    found = query_params.param_fields(query_params.query_pairs(request.query), _WRITE_PARAMS)
    form = _format(request.headers.get("content-type"), "csvDelimiter" in found)
    documents = read_documents(request.body, form, found.get("csvDelimiter", ","))
    keep_wrong_entries(documents, request.body, form)
    return DocumentsWrite(
        kind=kind,
        documents=documents,
        primary_key=found.get("primaryKey"),
        skip_creation=found.get("skipCreation", False),
        custom_metadata=found.get("customMetadata"),
    )


def _format(content_type: str | None, has_delimiter: bool) -> Format:
    if content_type is None:
        raise ApiError("missing_content_type", f"A Content-Type header is missing. {_ACCEPTED}")
    essence = content_type.partition(";")[0].strip().lower()
    form = _FORMATS.get(essence)
    if form is None:
        shown = essence.partition("+")[0]
        raise ApiError("invalid_content_type", f"The Content-Type `{shown}` is invalid. {_ACCEPTED}")
    if has_delimiter and form != "csv":
        raise ApiError(
            "invalid_content_type",
            f"The Content-Type `{essence}` does not support the use of a csv delimiter. The csv delimiter can "
            "only be used with the Content-Type `text/csv`.",
        )
    return form


# --- reads --------------------------------------------------------------------------------------


def _no_network(text: str, name: str, code: str) -> bool:
    """The server refuses every value of this parameter."""
    raise ApiError(
        code,
        f"Invalid value type for parameter `{name}`: expected a string, but found a string: "
        f"`{compact_json(text)[1:-1]}`",
    )


def _ids(value: Any, path: str, code: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        refusals.wrong_kind(value, path, code, "array")
    return tuple(value)


def _param_ids(text: str, name: str, code: str) -> tuple[str, ...]:
    return tuple(text.split(",") if text else ())


def _canonical_ids(values: Sequence[Any], code: str) -> tuple[str, ...]:
    found = []
    for i, value in enumerate(values):
        try:
            found.append(canonical_id(value))
        except ApiError as error:
            raise ApiError(code, f"In `.ids[{i}]`: {error.message}") from None
    return tuple(found)


def _param_sort(text: str, name: str, code: str) -> tuple[str, ...]:
    return split_sort(text)


_LIST_PARAMS = decode.fields(
    Field("offset", query_params.param_integer, "invalid_document_offset"),
    Field("limit", query_params.param_integer, "invalid_document_limit"),
    Field("fields", query_params.param_star_or_list(), "invalid_document_fields"),
    Field("retrieveVectors", query_params.param_boolean, "invalid_document_retrieve_vectors"),
    Field("ids", _param_ids, "invalid_document_ids"),
    Field("filter", param_filter, _FILTER_CODE),
    Field("sort", _param_sort, "invalid_document_sort"),
    Field("useNetwork", _no_network, "invalid_document_use_network"),
)
_FETCH_FIELDS = decode.fields(
    Field("offset", decode.integer, "invalid_document_offset"),
    Field("limit", decode.integer, "invalid_document_limit"),
    Field("fields", decode.strings, "invalid_document_fields", nullable=True),
    Field("retrieveVectors", decode.boolean, "invalid_document_retrieve_vectors"),
    Field("ids", _ids, "invalid_document_ids", nullable=True),
    Field("filter", decode.anything, _FILTER_CODE, nullable=True),
    Field("sort", decode.strings, "invalid_document_sort", nullable=True),
    Field("useNetwork", decode.boolean, "invalid_document_use_network", nullable=True),
)
_GET_PARAMS = decode.fields(
    Field("fields", query_params.param_star_or_list(), "invalid_document_fields"),
    Field("retrieveVectors", query_params.param_boolean, "invalid_document_retrieve_vectors"),
    Field("useNetwork", _no_network, "invalid_document_use_network"),
)


def _query(found: dict[str, Any], *, is_get: bool) -> DocumentsQuery:
    if found.pop("useNetwork", None) is not None:
        raise ApiError(
            "feature_not_enabled",
            "passing `useNetwork` in a search query requires enabling the `network` experimental feature. "
            "See https://github.com/orgs/meilisearch/discussions/805",
        )
    return DocumentsQuery(**decode.arguments(found), is_get=is_get)


def check_query(query: DocumentsQuery) -> DocumentsQuery:
    """The query with its ids as texts, once they and the syntax of its sort are known to be right. Raises ApiError."""
    if query.ids is not None:
        query = replace(query, ids=_canonical_ids(query.ids, "invalid_document_ids"))
    parse_sorts(query.sort, "invalid_document_sort")
    return query


def decode_list_params(params: list[tuple[str, str]]) -> DocumentsQuery:
    """GET /indexes/{uid}/documents. Filter and sort are parsed later. Raises ApiError."""
    return _query(query_params.param_fields(params, _LIST_PARAMS), is_get=True)


def decode_fetch(body: object) -> DocumentsQuery:
    """POST /indexes/{uid}/documents/fetch. Raises ApiError."""
    return _query(decode.object_fields(body, _FETCH_FIELDS), is_get=False)


def decode_get_params(document_id: str, params: list[tuple[str, str]]) -> DocumentGet:
    """GET /indexes/{uid}/documents/{id}. Raises ApiError."""
    found = query_params.param_fields(params, _GET_PARAMS)
    return DocumentGet(document_id, found.get("fields"), found.get("retrieveVectors", False))


# --- deletions and editions ---------------------------------------------------------------------


def decode_delete_batch(body: bytes) -> DocumentsDelete:
    """POST /indexes/{uid}/documents/delete-batch: what is no string is taken as its JSON text. Raises ApiError."""
    scanner = Scanner(body)
    first = scanner.space()
    if first and first != b"[":
        # The reader refuses another type before it has read to the end.
        start = scanner.at
        if first != b"{":
            try:
                scanner.value()
            except JsonSyntaxError:
                loads(body)
        problem = invalid_type(body[start : scanner.at] or first, "a sequence")
        raise ApiError("bad_request", f"Json deserialize error: {problem}")
    values = loads(body)
    return DocumentsDelete(
        ids=tuple(value if isinstance(value, str) else compact_json(value) for value in values)
    )


_DELETE_FIELDS = decode.fields(
    Field("filter", decode.anything, _FILTER_CODE, required="missing_document_filter"),
)


def decode_delete_filter(body: object) -> DocumentsDelete:
    """POST /indexes/{uid}/documents/delete. Raises ApiError."""
    value = decode.object_fields(body, _DELETE_FIELDS)["filter"]
    if value is None:
        raise ApiError(
            _FILTER_CODE,
            "Invalid syntax for the filter parameter: `expected String, Array, found: null`.",
        )
    if filters.parse(value, _FILTER_CODE) is None:
        raise _empty_filter()
    return DocumentsDelete(filter=value)


def _empty_filter() -> ApiError:
    return ApiError(_FILTER_CODE, "Sending an empty filter is forbidden.")


_EDIT_FIELDS = decode.fields(
    Field("filter", decode.anything, _FILTER_CODE, nullable=True),
    Field("context", decode.anything, "invalid_document_edition_context", nullable=True),
    Field(
        "function",
        decode.string,
        "invalid_document_edition_function_filter",
        required="missing_document_edition_function",
    ),
)


def decode_edit(body: object) -> DocumentsEdit:
    """POST /indexes/{uid}/documents/edit. What is inside the values is checked by `check_edit`. Raises ApiError."""
    found = decode.object_fields(body, _EDIT_FIELDS)
    return DocumentsEdit(found["function"], found.get("filter"), found.get("context"))


def check_edit(edit: DocumentsEdit, index_uid: str, is_enabled: Callable[[str], bool]) -> None:
    """The function, the filter's syntax and features (refused with the name of the index), the context.

    Raises ApiError; what is wrong inside an expression of an array is told without a name.
    """
    compile_script(edit.function)
    try:
        node = filters.parse(edit.filter, _FILTER_CODE)
        filters.check_features(node, is_enabled)
    except ApiError as error:
        is_form = error.code != _FILTER_CODE or error.message.startswith(
            "Invalid syntax for the filter parameter"
        )
        if isinstance(edit.filter, list) and not is_form:
            raise
        raise ApiError(error.code, f"Index `{index_uid}`: {error.message}") from None
    if node is None and edit.filter is not None:
        raise _empty_filter()
    if edit.context is not None and not isinstance(edit.context, dict):
        raise ApiError("invalid_document_edition_context", "The context must be an object")

"""POST /export: what clients send."""

from __future__ import annotations

from typing import Any

from miroir.meili.commands import ExportRequest
from miroir.meili.decode import Field, anything, boolean, fields, nullable, object_fields, string
from miroir.meili.indexes import is_index_pattern
from miroir.meili.refusals import BAD_REQUEST, invalid, kind_of, wrong_kind


def _payload_size(value: Any, path: str, code: str) -> Any:
    if kind_of(value) not in ("integer", "string"):
        wrong_kind(value, path, code, "integer", "string")
    return value


_INDEX = fields(
    Field("filter", anything, "invalid_export_index_filter", nullable=True),
    Field("overrideSettings", boolean, "invalid_export_index_override_settings"),
)


def _indexes(value: Any, path: str, code: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        wrong_kind(value, path, code, "object")
    found: dict[str, Any] = {}
    for pattern, options in value.items():
        if not is_index_pattern(pattern):
            key_type = "meilisearch_types::index_uid_pattern::IndexUidPattern"
            invalid(
                f'the key "{pattern}" could not be deserialized into the key type `{key_type}`',
                path,
                BAD_REQUEST,
            )
        members = object_fields(options, _INDEX, f"{path}.{pattern}")
        found[pattern] = {
            "filter": members.get("filter"),
            "overrideSettings": members.get("overrideSettings", False),
        }
    return found


_EXPORT = fields(
    Field("url", string, "invalid_export_url"),
    Field("apiKey", nullable(string), "invalid_export_api_key", nullable=True),
    Field("payloadSize", _payload_size, "invalid_export_payload_size", nullable=True),
    Field("indexes", _indexes, nullable=True),
)


def decode_export(body: object) -> ExportRequest:
    """POST /export; without `indexes`, everything."""
    found = object_fields(body, _EXPORT)
    everything = {"*": {"filter": None, "overrideSettings": False}}
    return ExportRequest(
        url=found.get("url", ""),
        api_key=found.get("apiKey"),
        payload_size=found.get("payloadSize"),
        indexes=found.get("indexes") or everything,
    )

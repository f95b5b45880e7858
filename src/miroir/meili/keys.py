"""API keys as a resource: records, defaults, validation of what clients send, views, pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from miroir.meili.auth import ACTIONS, GLOBAL_ACTIONS, key_string
from miroir.meili.codes import ApiError
from miroir.meili.commands import KeyCreate, KeyUpdate, Page
from miroir.meili.dates import format_date, offset_seconds, parse_day, parse_naive, parse_rfc3339
from miroir.meili.decode import Decoder, Field, array_of, enum, fields, object_fields, string, uuid
from miroir.meili.indexes import index_pattern
from miroir.meili.query_params import param_fields, param_integer
from miroir.meili.refusals import invalid


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """One API key. Times are ns since 1970; the key string is never stored."""

    uid: str
    actions: tuple[str, ...]
    indexes: tuple[str, ...]
    name: str | None = None
    description: str | None = None
    expires_at: int | None = None
    expires_offset_s: int = 0  #: the offset the expiry was sent with, shown again
    expires_shown: str | None = None  #: an expiry after the last instant that 64 bits hold, as it is printed
    created_at: int = 0
    updated_at: int = 0


#: what records can hold, in the year 2262
_LAST_INSTANT = 2**63 - 1


def shown_expiry(key: Key) -> str | None:
    """The expiry of a key as it is printed; None for one that does not expire."""
    if key.expires_shown is not None:
        return key.expires_shown
    return None if key.expires_at is None else format_date(key.expires_at, key.expires_offset_s)


def stored_expiry(expires_at: int | None, offset_s: int = 0) -> dict[str, Any]:
    """The members of a record that hold an expiry: one after the last instant is kept as its text."""
    found = {"expires_at": expires_at, "expires_offset_s": offset_s}
    if expires_at is None or expires_at <= _LAST_INSTANT:
        return found
    return {**found, "expires_at": _LAST_INSTANT, "expires_shown": format_date(expires_at, offset_s)}


#: name, actions, description; from the oldest to the newest, so that listings print them in reverse.
_DEFAULTS = (
    ("Default Chat API Key", ("chatCompletions", "search"), "Use it to chat and search from the frontend"),
    (
        "Default Read-Only Admin API Key",
        ("*.get", "keys.get"),
        "Use it to read information across the whole database. Caution! Do not expose this key on a public frontend",
    ),
    (
        "Default Admin API Key",
        ("*",),
        "Use it for anything that is not a search operation. Caution! Do not expose it on a public frontend",
    ),
    ("Default Search API Key", ("search",), "Use it to search from the frontend"),
)


def default_keys(uids: Iterable[str], now_ns: int) -> list[Key]:
    """The four keys of a fresh server; `uids` gives four random uuids."""
    return [
        Key(
            uid=uid, actions=actions, indexes=("*",), name=name, description=description,
            created_at=now_ns + age, updated_at=now_ns + age,
        )
        for age, (uid, (name, actions, description)) in enumerate(zip(uids, _DEFAULTS, strict=False))
    ]  # fmt: skip


# --- decoding -----------------------------------------------------------------------------------


def _expiry(now_ns: int) -> Decoder:
    def decode(value: Any, path: str, code: str) -> tuple[int, int] | None:
        if value is None:
            return None
        text = string(value, path, code)
        for parse in (parse_rfc3339, parse_naive, parse_day):
            if (instant := parse(text)) is not None:
                break
        if instant is None or instant <= now_ns:
            message = (
                f"`{text}` is not a valid date. It should follow the RFC 3339 format to represents a date or datetime "
                "in the future or specified as a null value. e.g. 'YYYY-MM-DD' or 'YYYY-MM-DD HH:MM:SS'.\n"
            )
            invalid(message, path, code)
        return instant, offset_seconds(text)

    return decode


_TEXTS = (
    Field("description", string, "invalid_api_key_description", nullable=True),
    Field("name", string, "invalid_api_key_name", nullable=True),
)
_UPDATE = fields(*_TEXTS)
_IMMUTABLE = {
    "uid": "immutable_api_key_uid",
    "actions": "immutable_api_key_actions",
    "indexes": "immutable_api_key_indexes",
    "expiresAt": "immutable_api_key_expires_at",
    "createdAt": "immutable_api_key_created_at",
    "updatedAt": "immutable_api_key_updated_at",
}
_LIST = fields(
    Field("offset", param_integer, "invalid_api_key_offset"),
    Field("limit", param_integer, "invalid_api_key_limit"),
)


def decode_create(body: object, now_ns: int) -> KeyCreate:
    """POST /keys; an expiry must lie after `now_ns`."""
    accepted = fields(
        *_TEXTS,
        Field("uid", uuid, "invalid_api_key_uid"),
        Field(
            "actions", array_of(enum(*ACTIONS)), "invalid_api_key_actions", required="missing_api_key_actions"
        ),
        Field(
            "indexes", array_of(index_pattern), "invalid_api_key_indexes", required="missing_api_key_indexes"
        ),
        Field(
            "expiresAt", _expiry(now_ns), "invalid_api_key_expires_at", required="missing_api_key_expires_at"
        ),
    )
    found = object_fields(body, accepted)
    expires_at, offset_s = found["expiresAt"] or (None, 0)
    create = KeyCreate(
        uid=found.get("uid"),
        name=found.get("name"),
        description=found.get("description"),
        actions=found["actions"],
        indexes=found["indexes"],
        expires_at=expires_at,
        expires_offset_s=offset_s,
    )
    _check_scope(create)
    return create


def _check_scope(create: KeyCreate) -> None:
    """A key limited to some indexes must not hold an action that is about the whole server."""
    if not create.indexes or "*" in create.indexes:
        return
    for action in create.actions:
        if action in GLOBAL_ACTIONS:
            message = (
                f'cannot create index-scoped API key with global action `"{action}"`\n'
                f'  - Hint: remove action `"{action}"` from the action list, '
                "or remove `indexes` to make the key global"
            )
            raise ApiError("index_scoped_api_key_with_global_action", message)


def decode_update(body: object) -> KeyUpdate:
    """PATCH /keys/{uidOrKey}."""
    return KeyUpdate(object_fields(body, _UPDATE, immutable=_IMMUTABLE))


def decode_list_params(params: list[tuple[str, str]]) -> Page:
    """GET /keys."""
    return Page(**param_fields(params, _LIST))


# --- acting on the set of keys ------------------------------------------------------------------


def create_key(keys: Mapping[str, Key], create: KeyCreate, *, fresh_uid: str, now_ns: int) -> Key:
    """The new record; `fresh_uid` is used when the client gave none. 409 when the uid is taken."""
    uid = create.uid or fresh_uid
    if uid in keys:
        raise ApiError("api_key_already_exists", f"`uid` field value `{uid}` is already an existing API key.")
    return Key(
        uid=uid,
        actions=create.actions,
        indexes=create.indexes,
        name=create.name,
        description=create.description,
        **stored_expiry(create.expires_at, create.expires_offset_s),
        created_at=now_ns,
        updated_at=now_ns,
    )


def update_key(key: Key, update: KeyUpdate, *, now_ns: int) -> Key:
    """The record with its name and description changed."""
    return msgspec.structs.replace(key, updated_at=now_ns, **update.changes)


def find_key(keys: Mapping[str, Key], uid_or_key: str, master_key: str | None) -> Key:
    """The key with this uid or key string; 404 otherwise."""
    found = keys.get(uid_or_key.lower())
    if found is None and master_key is not None:
        found = next((key for key in keys.values() if key_string(master_key, key.uid) == uid_or_key), None)
    if found is None:
        raise ApiError("api_key_not_found", f"API key `{uid_or_key}` not found.")
    return found


def key_view(key: Key, master_key: str | None) -> dict[str, Any]:
    """KeyView."""
    return {
        "name": key.name,
        "description": key.description,
        "key": key_string(master_key, key.uid) if master_key is not None else "",
        "uid": key.uid,
        "actions": list(key.actions),
        "indexes": list(key.indexes),
        "expiresAt": shown_expiry(key),
        "createdAt": format_date(key.created_at),
        "updatedAt": format_date(key.updated_at),
    }


def list_view(keys: Mapping[str, Key], page: Page, master_key: str | None) -> dict[str, Any]:
    """Body of GET /keys: newest first."""
    newest = sorted(keys.values(), key=lambda key: key.created_at, reverse=True)
    shown = newest[page.offset : page.offset + page.limit]
    results = [key_view(key, master_key) for key in shown]
    return {"results": results, "offset": page.offset, "limit": page.limit, "total": len(newest)}

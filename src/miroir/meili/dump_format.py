"""The files of a dump, in Meilisearch's format (version 6): what each holds. Archives are read and written elsewhere.

Source of the format: crates/dump of Meilisearch v1.50.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from miroir.meili.dates import format_date, parse_rfc3339
from miroir.meili.keys import Key, shown_expiry, stored_expiry
from miroir.meili.webhooks import Webhook

VERSION = "V6"
CURRENT = 6
_READABLE = ("V1", "V2", "V3", "V4", "V5", VERSION)
DATABASE_VERSION = "1.50.0"

METADATA = "metadata.json"
INSTANCE_UID = "instance_uid.uuid"
KEYS = "keys.jsonl"
FEATURES = "experimental-features.json"
WEBHOOKS = "webhooks.json"
TASKS = "tasks/queue.jsonl"
BATCHES = "batches/queue.jsonl"
#: Settings behind features, which the importing server may not know.
LEFT_OUT = ("foreignKeys", "chat")


def dump_uid(now_ns: int) -> str:
    """A dump's name: the moment it was started, to the millisecond."""
    moment = datetime.fromtimestamp(now_ns / 1e9, UTC)
    return moment.strftime("%Y%m%d-%H%M%S") + f"{moment.microsecond // 1000:03}"


def metadata(now_ns: int) -> bytes:
    """metadata.json."""
    return orjson.dumps(
        {"dumpVersion": VERSION, "dbVersion": DATABASE_VERSION, "dumpDate": format_date(now_ns)}
    )


def dump_version(body: bytes) -> int:
    """The version that metadata.json tells. Raises ValueError for one that cannot be read."""
    found = orjson.loads(body)
    version = found.get("dumpVersion") if isinstance(found, dict) else None
    if version not in _READABLE:
        raise ValueError(
            f"the dump has version {version}, only {_READABLE[0]} to {_READABLE[-1]} can be imported"
        )
    return _READABLE.index(version) + 1


def index_files(
    uid: str, primary_key: str | None, created_at: int, updated_at: int, settings: Mapping[str, Any]
) -> list[tuple[str, bytes]]:
    """(name, content) of an index without its documents; times in ns."""
    about = {
        "uid": uid,
        "primaryKey": primary_key,
        "createdAt": format_date(created_at),
        "updatedAt": format_date(updated_at),
    }
    shown = {name: value for name, value in settings.items() if name not in LEFT_OUT}
    return [
        (f"indexes/{uid}/metadata.json", orjson.dumps(about)),
        (f"indexes/{uid}/settings.json", orjson.dumps(shown)),
    ]


def documents_file(uid: str) -> str:
    """Name of the file with an index's documents, one a line."""
    return f"indexes/{uid}/documents.jsonl"


def index_uids(names: Iterable[str]) -> list[str]:
    """The indexes of a dump, from the names of its files."""
    return sorted(
        {name.split("/")[1] for name in names if name.startswith("indexes/") and name.count("/") == 2}
    )


def key_lines(keys: Iterable[Key]) -> bytes:
    """keys.jsonl."""
    return b"".join(orjson.dumps(_key_view(key)) + b"\n" for key in keys)


def _key_view(key: Key) -> dict[str, Any]:
    texts = {
        name: text
        for name, text in (("description", key.description), ("name", key.name))
        if text is not None
    }
    return {
        **texts,
        "uid": key.uid,
        "actions": list(key.actions),
        "indexes": list(key.indexes),
        "expires_at": shown_expiry(key),
        "created_at": format_date(key.created_at),
        "updated_at": format_date(key.updated_at),
    }


def key_request(key: Key) -> dict[str, Any]:
    """Body of POST /keys that makes this key again, with its uid and so its value."""
    return {
        "uid": key.uid,
        "name": key.name,
        "description": key.description,
        "actions": list(key.actions),
        "indexes": list(key.indexes),
        "expiresAt": shown_expiry(key),
    }


def webhooks(hooks: Iterable[Webhook]) -> bytes:
    """webhooks.json, secrets in clear."""
    shown = {hook.uuid: {"url": hook.url, "headers": dict(hook.headers)} for hook in hooks}
    return orjson.dumps({"webhooks": shown})


def read_keys(body: bytes, now_ns: int) -> list[Key]:
    """Keys of keys.jsonl. Raises KeyError, TypeError, ValueError."""
    return [read_key(orjson.loads(line), now_ns) for line in body.splitlines()]


def read_key(found: dict[str, Any], now_ns: int) -> Key:
    """A key of a dump of version 5 or 6. Raises KeyError, TypeError, ValueError."""
    expires = found.get("expires_at")
    return Key(
        uid=found["uid"],
        name=found.get("name"),
        description=found.get("description"),
        actions=tuple(found["actions"]),
        indexes=tuple(found["indexes"]),
        **stored_expiry(None if expires is None else parse_rfc3339(expires)),
        created_at=parse_rfc3339(found["created_at"]) or now_ns,
        updated_at=parse_rfc3339(found["updated_at"]) or now_ns,
    )

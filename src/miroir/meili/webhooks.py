"""Webhooks as a resource: what clients send, the checks, the views with masked secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from miroir.meili.codes import ApiError
from miroir.meili.commands import WebhookWrite
from miroir.meili.decode import Field, fields, map_of, object_fields, string, uuid_problem

MAX_WEBHOOKS = 20
MAX_HEADERS = 200
#: Uuid of the webhook that the server's own configuration defines.
CONFIGURED = "00000000-0000-0000-0000-000000000000"


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """One webhook; headers by name as sent, values in clear."""

    uuid: str
    url: str
    headers: dict[str, str] = {}


_WRITE = fields(
    Field("url", string, "invalid_webhook_url", nullable=True),
    Field("headers", map_of(string, nullable=True), "invalid_webhook_headers", nullable=True),
)
_IMMUTABLE = {"uuid": "immutable_webhook_uuid", "isEditable": "immutable_webhook_is_editable"}


def decode_write(body: object) -> WebhookWrite:
    """POST /webhooks and PATCH /webhooks/{uuid}."""
    found = object_fields(body, _WRITE, immutable=_IMMUTABLE)
    headers = found.get("headers")
    return WebhookWrite(
        url=found.get("url"),
        headers=headers,
        clear_headers="headers" in found and headers is None,
        clear_url="url" in found and found["url"] is None,
    )


def path_uuid(text: str) -> str:
    """Uuid of a path, in its canonical form."""
    if (problem := uuid_problem(text)) is not None:
        raise ApiError("invalid_webhook_uuid", f"Invalid UUID: {problem}")
    digits = re.sub(r"[^0-9a-f]", "", text.lower().removeprefix("urn:uuid:"))
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def not_found(uuid: str) -> ApiError:
    """404."""
    return ApiError("webhook_not_found", f"Webhook `{uuid}` not found.")


def create_webhook(webhooks: Mapping[str, Webhook], write: WebhookWrite, fresh_uuid: str) -> Webhook:
    """The new webhook, or why not."""
    _check_count(fresh_uuid, write.headers or {})
    if sum(uuid != CONFIGURED for uuid in webhooks) >= MAX_WEBHOOKS:
        message = (
            "Defining too many webhooks would crush the server. Please limit the number of webhooks to 20. "
            "You may use a third-party proxy server to dispatch events to more than 20 endpoints."
        )
        raise ApiError("invalid_webhooks", message)
    headers = {name: value or "" for name, value in (write.headers or {}).items()}
    return _checked(Webhook(uuid=fresh_uuid, url=_url(fresh_uuid, write.url), headers=headers))


def update_webhook(webhooks: Mapping[str, Webhook], uuid: str, write: WebhookWrite) -> Webhook:
    """The changed webhook, or why not."""
    check_editable(uuid)
    if uuid not in webhooks:
        raise not_found(uuid)
    old = webhooks[uuid]
    headers = {} if write.clear_headers else dict(old.headers)
    for name, value in (write.headers or {}).items():
        if value is None:
            headers.pop(name, None)
        else:
            headers[name] = value
    url = _url(uuid, None) if write.clear_url else old.url if write.url is None else write.url
    _check_count(uuid, headers)
    return _checked(Webhook(uuid=uuid, url=url, headers=headers))


def check_editable(uuid: str) -> None:
    """Refuses the webhook of the server's own configuration."""
    if uuid == CONFIGURED:
        message = (
            f"Webhook `{uuid}` is immutable. The webhook defined from the command line cannot be modified "
            "using the API."
        )
        raise ApiError("immutable_webhook", message)


def _url(uuid: str, url: str | None) -> str:
    if not url:
        raise ApiError("invalid_webhook_url", f"The URL for the webhook `{uuid}` is missing.")
    return url


def _check_count(uuid: str, headers: Mapping[str, str | None]) -> None:
    if len(headers) > MAX_HEADERS:
        message = (
            f"Too many headers for the webhook `{uuid}`. Please limit the number of headers to 200. "
            "Hint: To remove an already defined header set its value to `null`"
        )
        raise ApiError("invalid_webhook_headers", message)


_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\U0010ffff]*")


def _checked(webhook: Webhook) -> Webhook:
    _url(webhook.uuid, webhook.url)
    for name, value in sorted(webhook.headers.items()):
        if not _HEADER_NAME.fullmatch(name):
            raise ApiError(
                "invalid_webhook_headers", f"Invalid header name `{name}`: invalid HTTP header name"
            )
        if not _HEADER_VALUE.fullmatch(value):
            message = f"Invalid header value `{name}`: failed to parse header value"
            raise ApiError("invalid_webhook_headers", message)
    if (problem := url_problem(webhook.url)) is not None:
        raise ApiError("invalid_webhook_url", f"Invalid URL `{webhook.url}`: {problem}")
    return webhook


_SPECIAL = ("http", "https", "ws", "wss", "ftp")


def url_problem(url: str) -> str | None:
    """Why a text is no absolute URL, in the words of the server's parser; None when it is one."""
    found = re.match(r"\s*([A-Za-z][A-Za-z0-9+.-]*):", url)
    if found is None:
        return "relative URL without a base"
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError as error:
        return "invalid port number" if "ort" in str(error) else "invalid IPv6 address"
    if found[1].lower() in _SPECIAL and not host:
        return "empty host"
    if host and (set(host) & set(" #%<>^`{|}")):
        return "invalid international domain name"
    return None if port is None or port < 65536 else "invalid port number"


def mask_secret(secret: str) -> str:
    """The first characters and `XXX…`, as settings and webhooks show secrets."""
    size = len(secret)
    if size < 10:
        return "XXX..."
    if size < 20:
        return secret[:2] + "XXXX..."
    if size < 30:
        return secret[:3] + "XXXXX..."
    return secret[:5] + "XXXXXX..."


def _shown(name: str, value: str) -> str:
    if name.lower() != "authorization":
        return value
    scheme = "Bearer " if value.startswith("Bearer ") else ""
    return scheme + mask_secret(value[len(scheme) :])


def webhook_view(webhook: Webhook) -> dict[str, Any]:
    """WebhookView."""
    return {
        "uuid": webhook.uuid,
        "isEditable": webhook.uuid != CONFIGURED,
        "url": webhook.url,
        "headers": {name: _shown(name, value) for name, value in sorted(webhook.headers.items())},
    }


def list_view(webhooks: Mapping[str, Webhook]) -> dict[str, Any]:
    """Body of GET /webhooks, by uuid."""
    return {"results": [webhook_view(webhooks[uuid]) for uuid in sorted(webhooks)]}

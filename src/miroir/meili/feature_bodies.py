"""Bodies of routes that nothing stands behind here: what a client sends is refused as by a server without the feature."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from miroir.meili.decode import (
    Field,
    anything,
    array_of,
    boolean,
    enum,
    fields,
    integer_up_to,
    object_fields,
    object_of,
    raw_object,
    string,
)

_SIZE = integer_up_to(2**64 - 1)
_RULE = "invalid_dynamic_search_rule_"

_LOGS_STDERR = fields(Field("target", string))
_LOGS_STREAM = fields(
    Field("target", string),
    Field("mode", enum("human", "json", "profile")),
    Field("profileMemory", boolean),
)
_RULES_LIST = fields(
    Field("offset", _SIZE, _RULE + "offset"),
    Field("limit", _SIZE, _RULE + "limit"),
    Field(
        "filter",
        object_of(
            fields(
                Field("query", string, _RULE + "filter_query", nullable=True),
                Field("active", boolean, _RULE + "filter_active", nullable=True),
            )
        ),
        _RULE + "filter",
        nullable=True,
    ),
)
_RULE_UPDATE = fields(
    Field("description", string, _RULE + "description", nullable=True),
    Field("precedence", anything),
    Field("active", boolean, _RULE + "active", nullable=True),
    Field("conditions", anything),
    Field("actions", array_of(anything), _RULE + "actions", nullable=True),
)
_NETWORK = fields(
    Field("remotes", raw_object, "invalid_network_remotes", nullable=True),
    Field("shards", anything),
    Field("previousShards", anything),
    Field("self", string, "invalid_network_self", nullable=True),
    Field("leader", anything),
    Field("previousRemotes", anything),
)
_CHAT_SETTINGS = fields(
    *(
        Field(name, anything)
        for name in (
            "source",
            "orgId",
            "projectId",
            "apiVersion",
            "deploymentId",
            "baseUrl",
            "apiKey",
            "prompts",
        )
    )
)
_TEMPLATE = fields(
    Field("template", raw_object, "invalid_render_template", required="bad_request"), Field("input", anything)
)

_ACCEPTED = {
    "logs.stderr": _LOGS_STDERR,
    "logs.stream": _LOGS_STREAM,
    "dsr.list": _RULES_LIST,
    "dsr.update": _RULE_UPDATE,
    "network.update": _NETWORK,
    "chats.settings.update": _CHAT_SETTINGS,
    "render_template": _TEMPLATE,
}


def decoder_of(route: str) -> Callable[[Any], Any]:
    """The decoder of a route's body, which gives what was sent. It raises ApiError."""
    accepted = _ACCEPTED[route]
    return lambda body: object_fields(body, accepted)

"""Experimental features: their names, what is on, and the refusal when one is off."""

from __future__ import annotations

from collections.abc import Mapping

from miroir.meili.codes import ApiError
from miroir.meili.decode import Field, boolean, fields, object_fields

_DISCUSSIONS = "https://github.com/orgs/meilisearch/discussions/"

#: JSON name -> (name in refusals, discussion), in the order of the answer
FEATURES: dict[str, tuple[str, str]] = {
    "metrics": ("metrics", "https://github.com/meilisearch/product/discussions/625"),
    "logsRoute": ("logs route", _DISCUSSIONS + "721"),
    "editDocumentsByFunction": ("edit documents by function", _DISCUSSIONS + "762"),
    "containsFilter": ("contains filter", _DISCUSSIONS + "763"),
    "dynamicSearchRules": ("dynamic search rules", _DISCUSSIONS + "884"),
    "network": ("network", _DISCUSSIONS + "805"),
    "getTaskDocumentsRoute": ("get task documents route", _DISCUSSIONS + "808"),
    "taskQueueCompactionRoute": ("task queue compaction route", _DISCUSSIONS + "883"),
    "compositeEmbedders": ("composite embedders", _DISCUSSIONS + "816"),
    "chatCompletions": ("chat completions", _DISCUSSIONS + "835"),
    "multimodal": ("multimodal", _DISCUSSIONS + "846"),
    "foreignKeys": ("foreign_keys", _DISCUSSIONS + "873"),
    "disableDocumentsFetchQueue": ("disable documents fetch queue", _DISCUSSIONS + "881"),
    "legacySearch": ("legacy search", _DISCUSSIONS + "887"),
    "renderRoute": ("render_route", _DISCUSSIONS + "888"),
}
DEFAULTS: dict[str, bool] = dict.fromkeys(FEATURES, False)
_UPDATE = fields(*(Field(name, boolean, nullable=True) for name in FEATURES))


def decode_update(body: object) -> dict[str, bool]:
    """PATCH /experimental-features: only what changes (null keeps)."""
    return {name: value for name, value in object_fields(body, _UPDATE).items() if value is not None}


def view(on: Mapping[str, bool]) -> dict[str, bool]:
    """All features in the answer's order."""
    return {name: on.get(name, False) for name in FEATURES}


def not_enabled(feature: str, action: str) -> ApiError:
    """400: ``<action> requires enabling the `<feature>` experimental feature. See <link>``."""
    name, link = FEATURES[feature]
    message = f"{action} requires enabling the `{name}` experimental feature. See {link}"
    return ApiError("feature_not_enabled", message)


def require(on: Mapping[str, bool], feature: str, action: str) -> None:
    """Raises `feature_not_enabled` when the feature is off."""
    if not on.get(feature, False):
        raise not_enabled(feature, action)


#: Call.route -> (feature, action) for whole routes behind a feature
ROUTE_FEATURES: dict[str, tuple[str, str]] = {
    "metrics": ("metrics", "Getting metrics"),
    "logs.stream": ("logsRoute", "Modifying logs through the `/logs/*` routes"),
    "logs.stream_stop": ("logsRoute", "Modifying logs through the `/logs/*` routes"),
    "logs.stderr": ("logsRoute", "Modifying logs through the `/logs/*` routes"),
    "documents.edit": ("editDocumentsByFunction", "Using the documents edit route"),
    "tasks.documents": ("getTaskDocumentsRoute", "Getting the documents of an enqueued task"),
    "tasks.compact": ("taskQueueCompactionRoute", "Using the /tasks/compact route"),
    "network.get": ("network", "Using the /network route"),
    "network.update": ("network", "Using the /network route"),
    "network.control": ("network", "Using the /network/control route"),
    "chats.list": ("chatCompletions", "listing the chats"),
    "chats.get": ("chatCompletions", "displaying a chat"),
    "chats.delete": ("chatCompletions", "deleting a chat"),
    "chats.settings.get": ("chatCompletions", "using the /chats/settings route"),
    "chats.settings.update": ("chatCompletions", "using the /chats/settings route"),
    "chats.settings.reset": ("chatCompletions", "using the /chats/settings route"),
    "chats.completions": ("chatCompletions", "using the /chats chat completions route"),
    "dsr.list": ("dynamicSearchRules", "Calling the `POST /dynamic-search-rules` route"),
    "dsr.clear": ("dynamicSearchRules", "Calling the `DELETE /dynamic-search-rules` route"),
    "dsr.get": ("dynamicSearchRules", "Calling the `GET /dynamic-search-rules/{uid}` route"),
    "dsr.update": ("dynamicSearchRules", "Calling the `PATCH /dynamic-search-rules/{uid}` route"),
    "dsr.delete": ("dynamicSearchRules", "Calling the `DELETE /dynamic-search-rules/{uid}` route"),
    "render_template": ("renderRoute", "calling the /render-template route"),
}


def check_route(on: Mapping[str, bool], route: str) -> None:
    """Raises `feature_not_enabled` when the route stands behind a feature that is off."""
    if route in ROUTE_FEATURES:
        require(on, *ROUTE_FEATURES[route])

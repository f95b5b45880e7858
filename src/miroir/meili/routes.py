"""Every route of the API: method, path, the actions it asks for, its name, how its request is decoded.

The order of checks is the server's: credential, then path, parameters and body (`decode`), then the syntax of the
index uid, then what needs the credential and the decoded request together (`check`), then the backend.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal
from urllib.parse import unquote

from miroir.meili import (
    documents,
    experimental,
    exports,
    feature_bodies,
    indexes,
    json_text,
    keys,
    multi_search,
    search,
    settings,
    stats,
    webhooks,
)
from miroir.meili.auth import invalid_api_key, may_search
from miroir.meili.codes import ApiError
from miroir.meili.commands import (
    Access,
    DocumentsDelete,
    DocumentsQuery,
    IndexCreate,
    MultiSearch,
    SearchQuery,
    SettingsWrite,
)
from miroir.meili.decode import Field, fields
from miroir.meili.http import HttpRequest
from miroir.meili.query_params import param_fields, param_string, query_pairs
from miroir.meili.task_params import decode_tasks_query, decode_tasks_select, path_uid


@dataclass(frozen=True)
class Incoming:
    """A request on its way through its decoder. `path` holds the decoded path parameters.

    `body_error` is why the body could not be read; raised where the body is wanted.
    """

    request: HttpRequest
    path: Mapping[str, str]
    now_ns: int
    body_error: ApiError | None = None

    @cached_property
    def params(self) -> list[tuple[str, str]]:
        """The query string's parameters."""
        return query_pairs(self.request.query)

    def json(self) -> Any:
        """The JSON body of a route that takes one: its content type is checked first."""
        check_json_content_type(self.request.headers.get("content-type"))
        return json_text.loads(self.body)

    @property
    def body(self) -> bytes:
        """The decoded body, or the refusal of one that could not be read."""
        if self.body_error is not None:
            raise self.body_error
        return self.request.body


def check_json_content_type(content_type: str | None) -> None:
    """415 unless the subtype or the suffix is json."""
    accepted = "Accepted values for the Content-Type header are: `application/json`"
    if content_type is None:
        raise ApiError("missing_content_type", f"A Content-Type header is missing. {accepted}")
    essence = content_type.partition(";")[0].strip().lower()
    subtype = essence.partition("/")[2]
    if subtype != "json" and not subtype.endswith("+json"):
        shown = content_type if content_type.isascii() else "unknown"
        raise ApiError("invalid_content_type", f"The Content-Type `{shown}` is invalid. {accepted}")


Decode = Callable[[Incoming], Any]
Check = Callable[[Any, Access], Any]


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path. `actions` empty: open to everyone. Segments in braces are parameters."""

    method: str
    pattern: str
    name: str
    actions: tuple[str, ...] = ()
    decode: Decode | None = None
    check: Check | None = None
    first: Decode | None = None  #: what is checked before the index uid; `decode` comes after it then


def _body(decode: Callable[[Any], Any]) -> Decode:
    return lambda incoming: decode(incoming.json())


def _params(decode: Callable[[list[tuple[str, str]]], Any]) -> Decode:
    return lambda incoming: decode(incoming.params)


def _unavailable(route: str) -> Decode:
    return _body(feature_bodies.decoder_of(route))


def _write(kind: Literal["replace", "merge"]) -> Decode:
    def decode(incoming: Incoming) -> Any:
        if incoming.body_error is not None:
            raise incoming.body_error
        return documents.decode_write(incoming.request, kind)

    return decode


_write_params = _params(documents.check_write_params)


def _setting(key: str) -> Decode:
    return lambda incoming: settings.decode_setting(key, incoming.json())


_METADATA = fields(Field("customMetadata", param_string, "invalid_index_custom_metadata"))


def _metadata(incoming: Incoming) -> str | None:
    return param_fields(incoming.params, _METADATA).get("customMetadata")


def _with_metadata(decode: Decode, *, body_first: bool = False) -> Decode:
    """The decoder of a deletion or edition, which may carry `?customMetadata=`."""

    def decoded(incoming: Incoming) -> Any:
        if body_first:
            write = decode(incoming)
            return replace(write, custom_metadata=_metadata(incoming))
        metadata = _metadata(incoming)
        return replace(decode(incoming), custom_metadata=metadata)

    return decoded


def _delete_batch(incoming: Incoming) -> Any:
    check_json_content_type(incoming.request.headers.get("content-type"))
    return documents.decode_delete_batch(incoming.body)


def _check_create(create: IndexCreate, access: Access) -> IndexCreate:
    if not (access.may_create_indexes and access.sees(create.uid)):
        raise invalid_api_key()
    return create


def _check_multi_search(multi: MultiSearch, access: Access) -> MultiSearch:
    for i, query in enumerate(multi.queries):
        if not may_search(access, query.index_uid):
            raise invalid_api_key(f"Inside `.queries[{i}]`: The provided API key is invalid.")
    return multi


def _check_filter(query: SearchQuery, _: Access) -> SearchQuery:
    return search.check_filter(query)


def _check_query(query: DocumentsQuery, _: Access) -> DocumentsQuery:
    return documents.check_query(query)


def _check_settings(write: SettingsWrite, _: Access) -> SettingsWrite:
    return settings.check_write(write)


def _json(value: Any) -> Any:
    return value


_INDEX = "/indexes/{index_uid}"
_DOCUMENTS = _INDEX + "/documents"
_SETTINGS = _INDEX + "/settings"

#: Path segment of a settings route -> JSON key; these are changed by PUT, the second group by PATCH.
PUT_SETTINGS = {
    "filterable-attributes": "filterableAttributes",
    "sortable-attributes": "sortableAttributes",
    "displayed-attributes": "displayedAttributes",
    "searchable-attributes": "searchableAttributes",
    "stop-words": "stopWords",
    "non-separator-tokens": "nonSeparatorTokens",
    "separator-tokens": "separatorTokens",
    "dictionary": "dictionary",
    "synonyms": "synonyms",
    "distinct-attribute": "distinctAttribute",
    "proximity-precision": "proximityPrecision",
    "localized-attributes": "localizedAttributes",
    "ranking-rules": "rankingRules",
    "search-cutoff-ms": "searchCutoffMs",
    "facet-search": "facetSearch",
    "prefix-search": "prefixSearch",
    "foreign-keys": "foreignKeys",
}
PATCH_SETTINGS = {
    "typo-tolerance": "typoTolerance",
    "faceting": "faceting",
    "pagination": "pagination",
    "embedders": "embedders",
    "chat": "chat",
}


def _settings_routes() -> Iterable[Route]:
    read, write = ("settings.get",), ("settings.update",)
    for verb, table in (("PUT", PUT_SETTINGS), ("PATCH", PATCH_SETTINGS)):
        for segment, key in table.items():
            path = f"{_SETTINGS}/{segment}"
            yield Route("GET", path, f"settings.{key}.get", read)
            yield Route(verb, path, f"settings.{key}.update", write, _setting(key), _check_settings)
            yield Route("DELETE", path, f"settings.{key}.reset", write)


ROUTES: tuple[Route, ...] = (
    Route("GET", "/", "root"),
    Route("GET", "/health", "health"),
    Route("GET", "/version", "version", ("version",)),
    Route("GET", "/stats", "stats", ("stats.get",), _params(stats.decode_params)),
    Route("GET", "/metrics", "metrics", ("metrics.get",)),
    Route("POST", "/logs/stream", "logs.stream", ("metrics.get",), _unavailable("logs.stream")),
    Route("DELETE", "/logs/stream", "logs.stream_stop", ("metrics.get",)),
    Route("POST", "/logs/stderr", "logs.stderr", ("metrics.get",), _unavailable("logs.stderr")),
    Route("GET", "/experimental-features", "experimental.get", ("experimental.get",)),
    Route(
        "PATCH", "/experimental-features", "experimental.update", ("experimental.update",),
        _body(experimental.decode_update),
    ),
    # indexes
    Route("GET", "/indexes", "indexes.list", ("indexes.get",), _params(indexes.decode_list_params)),
    Route("POST", "/indexes", "indexes.create", ("indexes.create",), _body(indexes.decode_create), _check_create),
    Route("GET", _INDEX, "index.get", ("indexes.get",)),
    Route("PATCH", _INDEX, "index.update", ("indexes.update",), _body(indexes.decode_update)),
    Route("DELETE", _INDEX, "index.delete", ("indexes.delete",)),
    Route("GET", _INDEX + "/stats", "index.stats", ("stats.get",), _params(stats.decode_params)),
    Route("POST", _INDEX + "/compact", "index.compact", ("indexes.compact",)),
    Route("POST", _INDEX + "/fields", "index.fields", ("fields.post",), _body(indexes.decode_fields)),
    Route("POST", "/swap-indexes", "swap", ("indexes.swap",), _body(indexes.decode_swaps), indexes.check_swaps),
    # documents
    Route("GET", _DOCUMENTS, "documents.list", ("documents.get",), _params(documents.decode_list_params), _check_query),
    Route("POST", _DOCUMENTS, "documents.add", ("documents.add",), _write("replace"), first=_write_params),
    Route("PUT", _DOCUMENTS, "documents.add", ("documents.add",), _write("merge"), first=_write_params),
    Route("DELETE", _DOCUMENTS, "documents.clear", ("documents.delete",), _with_metadata(lambda _: DocumentsDelete())),
    Route("POST", _DOCUMENTS + "/fetch", "documents.fetch", ("documents.get",), _body(documents.decode_fetch), _check_query),
    Route(
        "POST", _DOCUMENTS + "/delete-batch", "documents.delete_batch", ("documents.delete",),
        _with_metadata(_delete_batch, body_first=True),
    ),
    Route(
        "POST", _DOCUMENTS + "/delete", "documents.delete_filter", ("documents.delete",),
        _with_metadata(_body(documents.decode_delete_filter)),
    ),
    Route(
        "POST", _DOCUMENTS + "/edit", "documents.edit", ("documents.*",),
        _with_metadata(_body(documents.decode_edit)),
    ),
    Route(
        "GET", _DOCUMENTS + "/{document_id}", "document.get", ("documents.get",),
        lambda incoming: documents.decode_get_params(incoming.path["document_id"], incoming.params),
    ),
    Route(
        "DELETE", _DOCUMENTS + "/{document_id}", "document.delete", ("documents.delete",),
        _with_metadata(lambda incoming: DocumentsDelete(ids=(incoming.path["document_id"],))),
    ),
    # search
    Route("GET", _INDEX + "/search", "search", ("search",), _params(search.decode_search_params), _check_filter),
    Route("POST", _INDEX + "/search", "search", ("search",), _body(search.decode_search), _check_filter),
    Route("POST", _INDEX + "/facet-search", "facet_search", ("search",), _body(search.decode_facet_search)),
    Route("GET", _INDEX + "/similar", "similar", ("search",), _params(search.decode_similar_params)),
    Route("POST", _INDEX + "/similar", "similar", ("search",), _body(search.decode_similar)),
    Route("POST", "/multi-search", "multi_search", ("search",), _body(multi_search.decode_multi_search), _check_multi_search),
    # settings
    Route("GET", _SETTINGS, "settings.get", ("settings.get",)),
    Route("PATCH", _SETTINGS, "settings.update", ("settings.update",), _body(settings.decode_settings), _check_settings),
    Route("DELETE", _SETTINGS, "settings.reset", ("settings.update",)),
    *_settings_routes(),
    # keys
    Route("GET", "/keys", "keys.list", ("keys.get",), _params(keys.decode_list_params)),
    Route(
        "POST", "/keys", "keys.create", ("keys.create",),
        lambda incoming: keys.decode_create(incoming.json(), incoming.now_ns),
    ),
    Route("GET", "/keys/{key}", "keys.get", ("keys.get",)),
    Route("PATCH", "/keys/{key}", "keys.update", ("keys.update",), _body(keys.decode_update)),
    Route("DELETE", "/keys/{key}", "keys.delete", ("keys.delete",)),
    # tasks and batches
    Route("GET", "/tasks", "tasks.list", ("tasks.get",), _params(decode_tasks_query)),
    Route(
        "DELETE", "/tasks", "tasks.delete", ("tasks.delete",),
        lambda incoming: decode_tasks_select(incoming.request.query, "delete"),
    ),
    Route(
        "POST", "/tasks/cancel", "tasks.cancel", ("tasks.cancel",),
        lambda incoming: decode_tasks_select(incoming.request.query, "cancel"),
    ),
    Route("POST", "/tasks/compact", "tasks.compact", ("tasks.compact",)),
    Route("GET", "/tasks/{task_uid}", "tasks.get", ("tasks.get",), lambda incoming: path_uid(incoming.path["task_uid"])),
    Route(
        "GET", "/tasks/{task_uid}/documents", "tasks.documents", ("tasks.get",),
        lambda incoming: incoming.path["task_uid"],
    ),
    Route("GET", "/batches", "batches.list", ("tasks.get",), _params(decode_tasks_query)),
    Route(
        "GET", "/batches/{batch_uid}", "batches.get", ("tasks.get",),
        lambda incoming: path_uid(incoming.path["batch_uid"], batch=True),
    ),
    # the whole server
    Route("POST", "/dumps", "dumps.create", ("dumps.create",)),
    Route("POST", "/snapshots", "snapshots.create", ("snapshots.create",)),
    Route("POST", "/export", "export", ("export",), _body(exports.decode_export)),
    Route("GET", "/webhooks", "webhooks.list", ("webhooks.get",)),
    Route("POST", "/webhooks", "webhooks.create", ("webhooks.create",), _body(webhooks.decode_write)),
    Route("GET", "/webhooks/{uuid}", "webhooks.get", ("webhooks.get",)),
    Route("PATCH", "/webhooks/{uuid}", "webhooks.update", ("webhooks.update",), _body(webhooks.decode_write)),
    Route("DELETE", "/webhooks/{uuid}", "webhooks.delete", ("webhooks.delete",)),
    # behind features
    Route("GET", "/network", "network.get", ("network.get",)),
    Route("PATCH", "/network", "network.update", ("network.update",), _unavailable("network.update")),
    Route("POST", "/network/control", "network.control", ("network.update",), _body(_json)),
    Route("GET", "/chats", "chats.list", ("chats.get",)),
    Route("GET", "/chats/{workspace}", "chats.get", ("chats.get",)),
    Route("DELETE", "/chats/{workspace}", "chats.delete", ("chats.delete",)),
    Route("GET", "/chats/{workspace}/settings", "chats.settings.get", ("chatsSettings.get",)),
    Route("PATCH", "/chats/{workspace}/settings", "chats.settings.update", ("chatsSettings.update",), _unavailable("chats.settings.update")),
    Route("DELETE", "/chats/{workspace}/settings", "chats.settings.reset", ("chatsSettings.update",)),
    Route(
        "POST", "/chats/{workspace}/chat/completions", "chats.completions", ("chatCompletions",), _body(_json),
    ),
    Route("POST", "/dynamic-search-rules", "dsr.list", ("dynamicSearchRules.get",), _unavailable("dsr.list")),
    Route("DELETE", "/dynamic-search-rules", "dsr.clear", ("dynamicSearchRules.delete",)),
    Route("GET", "/dynamic-search-rules/{rule}", "dsr.get", ("dynamicSearchRules.get",)),
    Route("PATCH", "/dynamic-search-rules/{rule}", "dsr.update", ("dynamicSearchRules.update",), _unavailable("dsr.update")),
    Route("DELETE", "/dynamic-search-rules/{rule}", "dsr.delete", ("dynamicSearchRules.delete",)),
    Route("POST", "/render-template", "render_template", ("settings.get", "documents.get"), _unavailable("render_template")),
)  # fmt: skip

_Template = tuple[str | None, ...]


class Router:
    """Finds the route of a path. Literal segments win over parameters, whatever the method."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._methods: dict[_Template, dict[str, Route]] = {}
        self._names: dict[_Template, tuple[tuple[int, str], ...]] = {}
        holes: dict[int, set[tuple[int, ...]]] = {}
        for route in routes:
            segments = [segment for segment in route.pattern.split("/") if segment]
            template = tuple(None if segment[0] == "{" else segment for segment in segments)
            self._methods.setdefault(template, {})[route.method] = route
            self._names[template] = tuple((i, s[1:-1]) for i, s in enumerate(segments) if s[0] == "{")
            holes.setdefault(len(segments), set()).add(tuple(i for i, _ in self._names[template]))
        self._holes = {
            size: sorted(found, key=lambda h: (len(h), [-i for i in h])) for size, found in holes.items()
        }

    def find(self, path: str) -> tuple[Mapping[str, Route], dict[str, str]] | None:
        """The methods of a path and its decoded parameters; None for an unknown path.

        Doubled and trailing slashes do not count.
        """
        segments = [unquote(segment) for segment in path.split("/") if segment]
        for holes in self._holes.get(len(segments), ()):
            template: list[str | None] = list(segments)
            for i in holes:
                template[i] = None
            found = self._methods.get(tuple(template))
            if found is not None:
                return found, {name: segments[i] for i, name in self._names[tuple(template)]}
        return None


ROUTER = Router(ROUTES)

"""The front desk end to end over a small backend that remembers keys, webhooks and features."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miroir.meili import experimental, keys, webhooks
from miroir.meili.auth import ACTIONS, key_string
from miroir.meili.codes import CODES, ApiError
from miroir.meili.commands import Call
from miroir.meili.edge import Edge, json_reply
from miroir.meili.http import HttpReply, HttpRequest
from miroir.meili.routes import ROUTER, ROUTES

NOW = 1_795_357_790 * 10**9
MASTER = "masterKey"
UIDS = [f"00000000-0000-4000-8000-00000000000{i}" for i in range(10)]


class SmallBackend:
    """Keeps keys, webhooks and features; echoes the route of everything else."""

    master_key: str | None = MASTER

    def __init__(self) -> None:
        self.store = {key.uid: key for key in keys.default_keys(UIDS, NOW)}
        self.hooks: dict[str, webhooks.Webhook] = {}
        self.features = dict(experimental.DEFAULTS)
        self.calls: list[Call] = []
        self._fresh = iter(UIDS[4:])

    def keys(self) -> Mapping[str, keys.Key]:
        return self.store

    def now_ns(self) -> int:
        return NOW

    async def handle(self, call: Call) -> HttpReply | tuple[int, Any]:
        self.calls.append(call)
        experimental.check_route(self.features, call.route)
        action = getattr(self, "_" + call.route.replace(".", "_"), None)
        return (299, call.route) if action is None else action(call)

    def _keys_create(self, call: Call) -> tuple[int, Any]:
        key = keys.create_key(self.store, call.args, fresh_uid=next(self._fresh), now_ns=NOW)
        self.store[key.uid] = key
        return 201, keys.key_view(key, MASTER)

    def _keys_list(self, call: Call) -> tuple[int, Any]:
        return 200, keys.list_view(self.store, call.args, MASTER)

    def _keys_get(self, call: Call) -> tuple[int, Any]:
        return 200, keys.key_view(keys.find_key(self.store, call.path["key"], MASTER), MASTER)

    def _keys_update(self, call: Call) -> tuple[int, Any]:
        key = keys.update_key(
            keys.find_key(self.store, call.path["key"], MASTER), call.args, now_ns=NOW + 10**9
        )
        self.store[key.uid] = key
        return 200, keys.key_view(key, MASTER)

    def _keys_delete(self, call: Call) -> tuple[int, Any]:
        del self.store[keys.find_key(self.store, call.path["key"], MASTER).uid]
        return 204, None

    def _experimental_update(self, call: Call) -> tuple[int, Any]:
        self.features |= call.args
        return 200, experimental.view(self.features)

    def _webhooks_list(self, call: Call) -> tuple[int, Any]:
        return 200, webhooks.list_view(self.hooks)

    def _webhooks_create(self, call: Call) -> tuple[int, Any]:
        hook = webhooks.create_webhook(self.hooks, call.args, next(self._fresh))
        self.hooks[hook.uuid] = hook
        return 201, webhooks.webhook_view(hook)

    def _webhooks_update(self, call: Call) -> tuple[int, Any]:
        hook = webhooks.update_webhook(self.hooks, call.path["uuid"], call.args)
        self.hooks[hook.uuid] = hook
        return 200, webhooks.webhook_view(hook)

    def _dumps_create(self, call: Call) -> tuple[int, Any]:
        raise ApiError("miroir_no_quorum", "too few replicas")

    def _snapshots_create(self, call: Call) -> tuple[int, Any]:
        raise ZeroDivisionError


class Desk:
    """A client of an edge over a SmallBackend."""

    def __init__(self) -> None:
        self.backend = SmallBackend()
        self.bugs: list[Exception] = []
        self.edge = Edge(self.backend, on_error=lambda _, error: self.bugs.append(error))

    def raw(self, method: str, target: str, body: bytes = b"", **headers: str) -> HttpReply:
        path, _, query = target.partition("?")
        sent = {"authorization": f"Bearer {MASTER}", "content-type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        request = HttpRequest(
            method, path, query, {name: value for name, value in sent.items() if value}, body
        )
        return asyncio.run(self.edge.respond(request))

    def ask(self, method: str, target: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        reply = self.raw(method, target, b"" if body is None else json.dumps(body).encode(), **headers)
        return reply.status, json.loads(reply.body) if reply.body else None


@pytest.fixture
def desk() -> Desk:
    return Desk()


# --- routing ------------------------------------------------------------------------------------


@given(st.text())
def test_no_path_breaks_the_router(path: str) -> None:
    ROUTER.find("/" + path)


def test_every_route_is_found_by_its_own_path() -> None:
    for route in ROUTES:
        found = ROUTER.find(route.pattern.replace("{", "").replace("}", ""))
        assert found is not None
        assert found[0][route.method].name == route.name


def test_every_action_of_a_route_exists() -> None:
    assert {action for route in ROUTES for action in route.actions} <= set(ACTIONS)


@pytest.mark.parametrize(
    "path", ["/movies", "/admin/panel", "/indexes/movies/serch", "/indexes/m/settings/colour"]
)
def test_unknown_paths_have_no_body(desk: Desk, path: str) -> None:
    assert desk.raw("GET", path) == HttpReply(404, content_type=None)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/indexes", "GET, POST"),
        ("HEAD", "/health", "GET"),
        ("PATCH", "/indexes/movies/documents/1", "GET, DELETE"),
        ("GET", "/indexes/movies/documents/fetch", "POST"),
        ("DELETE", "/indexes/movies/documents/edit", "POST"),
        ("GET", "/tasks/cancel", "POST"),
        ("PUT", "/indexes/movies/settings/faceting", "GET, PATCH, DELETE"),
        ("PATCH", "/indexes/movies/settings/stop-words", "GET, PUT, DELETE"),
    ],
)
def test_wrong_methods(desk: Desk, method: str, path: str, allowed: str) -> None:
    assert desk.raw(method, path) == HttpReply(405, content_type=None, headers={"allow": allowed})


@pytest.mark.parametrize(
    ("path", "uid", "parameters"),
    [
        ("/indexes//movies/stats/", "movies", {}),
        ("/indexes/movies/documents/a%2Fb", "movies", {"document_id": "a/b"}),
    ],
)
def test_path_parameters(desk: Desk, path: str, uid: str, parameters: dict[str, str]) -> None:
    found = ROUTER.find(path)
    assert found is not None
    assert found[1] == {"index_uid": uid} | parameters


# --- order of checks ----------------------------------------------------------------------------


def test_a_credential_is_checked_before_anything_else(desk: Desk) -> None:
    assert desk.ask("POST", "/indexes", {"nonsense": 1}, authorization="")[0] == 401
    assert (
        desk.ask("POST", "/indexes/a%20b/compact", authorization="Bearer x")[1]["code"] == "invalid_api_key"
    )


def test_a_parameter_error_beats_a_bad_index_uid(desk: Desk) -> None:
    assert desk.ask("GET", "/indexes/a%20b/stats?foo=1")[1]["code"] == "bad_request"
    status, body = desk.ask("GET", "/indexes/no%20way")
    assert (status, body["code"]) == (400, "invalid_index_uid")
    assert body["message"].startswith(
        "`no way` is not a valid index uid. Index uid can be an integer or a string"
    )


@pytest.mark.parametrize(
    ("content_type", "code", "message"),
    [
        ("", "missing_content_type", "A Content-Type header is missing. Accepted values for the Content-Type header are: `application/json`"),
        ("text/plain", "invalid_content_type", "The Content-Type `text/plain` is invalid. Accepted values for the Content-Type header are: `application/json`"),
    ],
)  # fmt: skip
def test_content_types(desk: Desk, content_type: str, code: str, message: str) -> None:
    status, body = desk.ask("POST", "/indexes", {"uid": "x"}, content_type=content_type)
    assert (status, body["code"], body["message"]) == (415, code, message)


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "application/vnd.x+json"])
def test_json_under_other_names(desk: Desk, content_type: str) -> None:
    assert desk.ask("POST", "/indexes", {"uid": "x"}, content_type=content_type) == (299, "indexes.create")


def test_an_empty_body(desk: Desk) -> None:
    assert desk.ask("POST", "/indexes")[1]["message"] == "A json payload is missing."


def test_a_body_that_could_not_be_read_is_refused_where_it_is_wanted(desk: Desk) -> None:
    broken = ApiError("payload_too_large", "too large")
    request = HttpRequest(
        "POST", "/indexes", headers={"authorization": f"Bearer {MASTER}", "content-type": "a/json"}
    )
    assert asyncio.run(desk.edge.respond(request, body_error=broken)).status == 413
    anonymous = HttpRequest("POST", "/indexes")
    assert asyncio.run(desk.edge.respond(anonymous, body_error=broken)).status == 401
    health = HttpRequest("GET", "/health")
    assert asyncio.run(desk.edge.respond(health, body_error=broken)).status == 299


# --- answers ------------------------------------------------------------------------------------


def test_every_503_says_when_to_come_back(desk: Desk) -> None:
    reply = desk.raw("POST", "/dumps")
    assert (reply.status, reply.headers["retry-after"]) == (503, "10")
    assert list(json.loads(reply.body)) == ["message", "code", "type", "link"]


def test_a_bug_is_an_internal_error_and_is_reported(desk: Desk) -> None:
    status, body = desk.ask("POST", "/snapshots")
    assert (status, body["code"], len(desk.bugs)) == (500, "internal", 1)


def test_the_table_of_codes_is_whole() -> None:
    assert sum(not code.startswith("miroir_") for code in CODES) == 288
    assert CODES["index_not_found"] == ("invalid_request", 404)
    assert CODES["miroir_no_quorum"] == ("system", 503)


# --- indexes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("swaps", "code", "message"),
    [
        ([{}], "missing_swap_indexes", "Missing field `indexes` inside `[0]`"),
        ([{"indexes": ["a"]}], "invalid_swap_indexes", 'Two indexes must be given for each swap. The list `["a"]` contains 1 indexes.'),
        ([{"indexes": ["a", "b", "c"]}], "invalid_swap_indexes", 'Two indexes must be given for each swap. The list `["a", "b", "c"]` contains 3 indexes.'),
        ([{"indexes": ["a", "a"]}], "invalid_swap_duplicate_index_found", "Indexes must be declared only once during a swap. `a` was specified several times."),
        ([{"indexes": ["a", "b"]}, {"indexes": ["b", "a"]}], "invalid_swap_duplicate_index_found", "Indexes must be declared only once during a swap. `a`, `b` were specified several times."),
    ],
)  # fmt: skip
def test_refused_swaps(desk: Desk, swaps: Any, code: str, message: str) -> None:
    status, body = desk.ask("POST", "/swap-indexes", swaps)
    assert (status, body["code"], body["message"]) == (400, code, message)


def test_scoped_keys_create_and_swap_their_indexes_only(desk: Desk) -> None:
    wanted = {"actions": ["indexes.create", "indexes.swap"], "indexes": ["a*"], "expiresAt": None}
    header = "Bearer " + desk.ask("POST", "/keys", wanted)[1]["key"]
    assert desk.ask("POST", "/indexes", {"uid": "a1"}, authorization=header) == (299, "indexes.create")
    assert desk.ask("POST", "/indexes", {"uid": "b1"}, authorization=header)[0] == 403
    assert desk.ask("POST", "/swap-indexes", [{"indexes": ["a1", "a2"]}], authorization=header) == (
        299,
        "swap",
    )
    assert desk.ask("POST", "/swap-indexes", [{"indexes": ["a1", "b2"]}], authorization=header)[0] == 403


# --- keys ---------------------------------------------------------------------------------------


def test_the_default_keys_newest_first(desk: Desk) -> None:
    _, listed = desk.ask("GET", "/keys?limit=2")
    assert (listed["total"], listed["limit"], listed["offset"]) == (4, 2, 0)
    assert [key["name"] for key in listed["results"]] == ["Default Search API Key", "Default Admin API Key"]


def test_the_life_of_a_key(desk: Desk) -> None:
    wanted = {
        "uid": UIDS[9],
        "actions": ["search"],
        "indexes": ["m*"],
        "expiresAt": "2090-05-06T07:08:09+02:00",
    }
    status, key = desk.ask("POST", "/keys", wanted)
    assert (status, key["expiresAt"], key["key"]) == (201, wanted["expiresAt"], key_string(MASTER, UIDS[9]))
    status, refused = desk.ask("POST", "/keys", wanted)
    assert (status, refused["message"]) == (
        409,
        f"`uid` field value `{UIDS[9]}` is already an existing API key.",
    )
    assert desk.ask("GET", f"/keys/{key['key']}") == (200, key)
    _, changed = desk.ask("PATCH", f"/keys/{UIDS[9]}", {"name": "x"})
    assert (changed["name"], changed["updatedAt"] > key["updatedAt"]) == ("x", True)
    assert desk.raw("DELETE", f"/keys/{UIDS[9]}") == HttpReply(204, content_type=None)
    assert desk.ask("GET", f"/keys/{UIDS[9]}")[1]["message"] == f"API key `{UIDS[9]}` not found."


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"actions": ["foo"]}, "invalid_api_key_actions", "Unknown value `foo` at `.actions[0]`: expected one of `*`, `search`, `documents.*`, "),
        ({"indexes": ["mo*ies"]}, "invalid_api_key_indexes", "Invalid value at `.indexes[0]`: `mo*ies` is not a valid index uid pattern. Index uid patterns can be"),
        ({"expiresAt": "2001-01-01"}, "invalid_api_key_expires_at", "Invalid value at `.expiresAt`: `2001-01-01` is not a valid date. It should follow the RFC 3339 format to represents a date or datetime in the future or specified as a null value. e.g. 'YYYY-MM-DD' or 'YYYY-MM-DD HH:MM:SS'.\n"),
        ({"uid": "zz"}, "invalid_api_key_uid", "Invalid value at `.uid`: invalid character: found `z` at 0"),
        ({"actions": ["version"], "indexes": ["m"]}, "index_scoped_api_key_with_global_action", "cannot create index-scoped API key with global action `\"version\"`\n  - Hint: remove action `\"version\"` from the action list, or remove `indexes` to make the key global"),
    ],
)  # fmt: skip
def test_refused_keys(desk: Desk, change: dict[str, Any], code: str, message: str) -> None:
    _, body = desk.ask("POST", "/keys", {"actions": ["search"], "indexes": ["*"], "expiresAt": None} | change)
    assert body["code"] == code
    assert body["message"].startswith(message)


# --- webhooks and features ----------------------------------------------------------------------


def test_the_life_of_a_webhook(desk: Desk) -> None:
    headers = {"authorization": "a-secret-that-is-long", "x-env": "test"}
    status, hook = desk.ask("POST", "/webhooks", {"url": "http://127.0.0.1:9/hook", "headers": headers})
    assert (status, hook["headers"]) == (201, {"authorization": "a-sXXXXX...", "x-env": "test"})
    assert list(hook) == ["uuid", "isEditable", "url", "headers"]
    at = f"/webhooks/{hook['uuid'].upper()}"
    assert desk.ask("PATCH", at, {"headers": {"x-env": None, "x-more": "1"}})[1]["headers"].keys() == {
        "authorization",
        "x-more",
    }
    assert desk.ask("PATCH", at, {"headers": None})[1]["headers"] == {}
    assert desk.ask("GET", "/webhooks")[1]["results"][0]["url"] == "http://127.0.0.1:9/hook"


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "message"),
    [
        ("POST", "/webhooks", {"headers": {}}, "invalid_webhook_url", f"The URL for the webhook `{UIDS[4]}` is missing."),
        ("POST", "/webhooks", {"url": "zz"}, "invalid_webhook_url", "Invalid URL `zz`: relative URL without a base"),
        ("POST", "/webhooks", {"url": "http://a", "headers": {"bad name": "x"}}, "invalid_webhook_headers", "Invalid header name `bad name`: invalid HTTP header name"),
        ("POST", "/webhooks", {"url": "http://a", "headers": {"x": 1}}, "invalid_webhook_headers", "Invalid value type at `.headers.x`: expected a string, but found a positive integer: `1`"),
        ("PATCH", "/webhooks/mine", {}, "invalid_webhook_uuid", "Invalid UUID: invalid character: found `m` at 0"),
        ("PATCH", f"/webhooks/{UIDS[8]}", {}, "webhook_not_found", f"Webhook `{UIDS[8]}` not found."),
        ("PATCH", f"/webhooks/{UIDS[8]}", {"uuid": 1}, "immutable_webhook_uuid", "Immutable field `uuid`: expected one of `url`, `headers`"),
        ("PATCH", f"/webhooks/{webhooks.CONFIGURED}", {}, "immutable_webhook", f"Webhook `{webhooks.CONFIGURED}` is immutable. The webhook defined from the command line cannot be modified using the API."),
    ],
)  # fmt: skip
def test_refused_webhooks(desk: Desk, method: str, path: str, body: Any, code: str, message: str) -> None:
    _, answer = desk.ask(method, path, body)
    assert (answer["code"], answer["message"]) == (code, message)


def test_a_null_is_sent_and_no_content_is_not() -> None:
    assert (json_reply(200, None).body, json_reply(200, None).content_type) == (b"null", "application/json")
    assert (json_reply(204, None).body, json_reply(204, None).content_type) == (b"", None)


@pytest.mark.parametrize("expiry", ["2999-01-01T00:00:00+02:00", "9999-12-31T23:59:59Z"])
def test_a_key_may_expire_after_all_of_us(desk: Desk, expiry: str) -> None:
    _, key = desk.ask("POST", "/keys", {"actions": ["search"], "indexes": ["*"], "expiresAt": expiry})
    stored = msgspec.msgpack.encode(desk.backend.store[key["uid"]])
    read = msgspec.msgpack.decode(stored, type=keys.Key)
    assert (key["expiresAt"], keys.key_view(read, MASTER)) == (expiry, key)


@pytest.mark.parametrize(
    ("method", "target", "body", "code"),
    [
        ("POST", "/indexes/a b/search", {"filter": "x ="}, "invalid_index_uid"),
        ("POST", "/indexes/a b/search", {"filter": "x =", "limit": "x"}, "invalid_search_limit"),
        ("POST", "/indexes/a b/documents/fetch", {"sort": ["x"]}, "invalid_index_uid"),
        ("GET", "/indexes/a b/documents?sort=x", None, "invalid_index_uid"),
        ("POST", "/indexes/a b/similar", {"id": "a b", "embedder": "e"}, "invalid_index_uid"),
        ("POST", "/indexes/a b/documents?csvDelimiter=xy", [], "invalid_document_csv_delimiter"),
        ("POST", "/indexes/a b/documents", 3, "invalid_index_uid"),
        ("POST", "/indexes/a b/documents/fetch", {"ids": ["a b"]}, "invalid_index_uid"),
        (
            "PATCH",
            "/indexes/a b/settings",
            {"embedders": {"r": {"source": "rest", "url": "u"}}},
            "invalid_index_uid",
        ),
        (
            "PATCH",
            "/indexes/a/settings",
            {"embedders": {"r": {"source": "rest", "url": "u"}}},
            "invalid_settings_embedders",
        ),
        ("GET", "/tasks/x/documents", None, "feature_not_enabled"),
        ("POST", "/logs/stderr", {"level": "info"}, "bad_request"),
        ("POST", "/logs/stream", {"target": "info", "mode": "json"}, "feature_not_enabled"),
        (
            "POST",
            "/dynamic-search-rules",
            {"filter": {"active": 1}},
            "invalid_dynamic_search_rule_filter_active",
        ),
        ("PATCH", "/dynamic-search-rules/a", {"precedence": 1}, "feature_not_enabled"),
        ("PATCH", "/network", {"self": 1}, "invalid_network_self"),
        ("PATCH", "/network", {"self": None}, "feature_not_enabled"),
        ("PATCH", "/chats/a/settings", {"model": "x"}, "bad_request"),
        ("POST", "/render-template", {"template": 1}, "invalid_render_template"),
        ("POST", "/indexes/a/search", {"limit": -0.0}, "invalid_search_limit"),
    ],
)
def test_what_is_refused_first(desk: Desk, method: str, target: str, body: Any, code: str) -> None:
    assert desk.ask(method, target.replace(" ", "%20"), body)[1]["code"] == code


def test_features(desk: Desk) -> None:

    assert desk.ask("GET", "/metrics")[1]["message"] == (
        "Getting metrics requires enabling the `metrics` experimental feature. "
        "See https://github.com/meilisearch/product/discussions/625"
    )
    _, features = desk.ask("PATCH", "/experimental-features", {"metrics": True, "network": None})
    assert [name for name, on in features.items() if on] == ["metrics"]
    assert len(features) == 15
    assert desk.ask("GET", "/metrics") == (299, "metrics")
    assert desk.ask("PATCH", "/experimental-features", {"metrics": "true"})[1]["message"] == (
        'Invalid value type at `.metrics`: expected a boolean, but found a string: `"true"`'
    )

"""Credentials: bearer tokens, key actions and indexes, tenant tokens, with the server's refusals."""

import base64
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miroir.meili.auth import (
    ACTIONS,
    GLOBAL_ACTIONS,
    authenticate,
    combine_filters,
    expand_actions,
    key_string,
    may_search,
    pattern_matches,
    rule_filter,
)
from miroir.meili.codes import ApiError
from miroir.meili.commands import Access
from miroir.meili.keys import Key

MASTER = "masterKey"
UID = "a3c1f6d2-3d0b-4c55-8a7e-000000000001"
NOW = 1_795_357_790 * 10**9


def key(*actions: str, indexes: tuple[str, ...] = ("*",), expires_at: int | None = None) -> dict[str, Key]:
    return {UID: Key(uid=UID, actions=actions, indexes=indexes, expires_at=expires_at)}


def ask(
    action: str,
    keys: dict[str, Key],
    *,
    index: str | None = None,
    header: str | None = "Bearer " + key_string(MASTER, UID),
    master_key: str | None = MASTER,
) -> Access:
    return authenticate(header, (action,), index, master_key=master_key, keys=keys, now_ns=NOW)


def refusal(*args: Any, **kwargs: Any) -> tuple[str, str]:
    with pytest.raises(ApiError) as caught:
        ask(*args, **kwargs)
    return caught.value.code, caught.value.message


INVALID = ("invalid_api_key", "The provided API key is invalid.")
MISSING = (
    "missing_authorization_header",
    "The Authorization header is missing. It must use the bearer authorization method.",
)


def test_key_string_of_the_documented_vector() -> None:
    found = key_string("MASTER_KEY", "00000000-0000-0000-0000-000000000000")
    assert found == "aeb94973e0b6e912d94165430bbe87dee91a7c4f891ce19050c3910ec96977e9"


@pytest.mark.parametrize("header", [None, "masterKey", "bearer masterKey", "Basic x"])
def test_other_headers_are_missing_headers(header: str | None) -> None:
    assert refusal("indexes.get", {}, header=header) == MISSING


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Bearer nope", "Bearer " + "0" * 64])
def test_unknown_keys(header: str) -> None:
    assert refusal("indexes.get", key("*"), header=header) == INVALID


@given(st.sampled_from(ACTIONS))
def test_the_master_key_opens_everything(action: str) -> None:
    assert ask(action, {}, header="Bearer masterKey") == Access()


@given(st.sampled_from(ACTIONS))
def test_without_a_master_key_everything_but_keys_is_open(action: str) -> None:
    if action.startswith("keys."):
        assert refusal(action, {}, header=None, master_key=None)[0] == "missing_master_key"
    else:
        assert ask(action, {}, header=None, master_key=None) == Access()


def test_another_scheme_is_refused_even_without_a_master_key() -> None:
    assert refusal("indexes.get", {}, header="Basic x", master_key=None) == MISSING


@given(
    st.sampled_from([a for a in ACTIONS if not a.endswith("*")]),
    st.lists(st.sampled_from(ACTIONS), max_size=4),
)
def test_a_key_opens_exactly_what_its_actions_grant(action: str, held: list[str]) -> None:
    keys = key(*held)
    if action in expand_actions(tuple(held)):
        assert ask(action, keys).key_uid == UID
    else:
        assert refusal(action, keys) == INVALID


def test_what_wildcards_grant() -> None:
    assert expand_actions(("documents.*",)) == {"documents.add", "documents.get", "documents.delete"}
    assert expand_actions(("tasks.*",)) == {"tasks.get", "tasks.cancel", "tasks.delete", "tasks.compact"}
    assert expand_actions(("chats.*",)) == {"chats.get", "chats.delete"}
    assert "documents.*" in expand_actions(("*",))
    assert not {"keys.get", "chatCompletions"} & expand_actions(("*.get",))
    assert {"search", "version", "export", "fields.post"} <= expand_actions(("*.get",))


def test_global_actions() -> None:
    assert {
        "version",
        "dumps.create",
        "keys.get",
        "webhooks.*",
        "tasks.compact",
        "chats.get",
    } <= GLOBAL_ACTIONS
    assert (
        not {"search", "*", "*.get", "tasks.get", "stats.get", "documents.*", "chatCompletions"}
        & GLOBAL_ACTIONS
    )


def test_a_key_of_another_index() -> None:
    keys = key("search", indexes=("shop_*", "movies"))
    assert refusal("search", keys, index="ghost") == (
        "invalid_api_key",
        'The API key cannot acces the index `ghost`, authorized indexes are ["movies", "shop_*"].',
    )
    access = ask("search", keys, index="shop_eu")
    assert access.index_patterns == ("shop_*", "movies")
    assert access.sees("shop_us")
    assert not access.sees("ghost")


def test_scoped_keys_and_routes_without_an_index() -> None:
    keys = key("*", indexes=("movies",))
    assert ask("indexes.get", keys).index_patterns == ("movies",)
    assert refusal("version", keys) == INVALID
    assert refusal("search", key("search", indexes=()), index="m") == (
        "invalid_api_key",
        "The API key cannot acces the index `m`, authorized indexes are [].",
    )


def test_expired_keys() -> None:
    assert refusal("search", key("search", expires_at=NOW)) == INVALID
    assert ask("search", key("search", expires_at=NOW + 1)).key_uid == UID


def test_only_keys_with_the_action_create_indexes() -> None:
    assert not ask("documents.add", key("documents.add")).may_create_indexes
    assert ask(
        "documents.add", key("documents.add", "indexes.create", indexes=("a*",)), index="a1"
    ).may_create_indexes


# --- tenant tokens ------------------------------------------------------------------------------


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value, separators=(",", ":")).encode()).rstrip(b"=").decode()


def token(claims: dict[str, Any], *, alg: str = "HS256", signed_by: str = UID) -> str:
    message = f"{part({'alg': alg, 'typ': 'JWT'})}.{part(claims)}"
    digest = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}.get(alg)
    signature = (
        hmac.digest(key_string(MASTER, signed_by).encode(), message.encode(), digest) if digest else b""
    )
    return f"Bearer {message}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


STAR = {"apiKeyUid": UID, "searchRules": ["*"]}
OTHER = "a3c1f6d2-3d0b-4c55-8a7e-000000000003"


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
def test_a_token_opens_searches_and_nothing_else(alg: str) -> None:
    header = token(STAR, alg=alg)
    assert ask("search", key("*"), index="movies", header=header).search_rules == {"*": None}
    assert refusal("documents.get", key("*"), index="movies", header=header) == INVALID


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (token(STAR, signed_by=OTHER), "Could not decode tenant token, InvalidSignature."),
        (
            token(STAR, alg="none"),
            "Could not decode tenant token, JSON error: unknown variant `none`, expected one of `HS256`, `HS384`, "
            "`HS512`, `ES256`, `ES384`, `RS256`, `RS384`, `RS512`, `PS256`, `PS384`, `PS512`, `EdDSA` "
            "at line 1 column 13.",
        ),
        (
            token({"apiKeyUid": UID}),
            "Could not decode tenant token, JSON error: missing field `searchRules` at line 1 column 52.",
        ),
        (
            token({"searchRules": ["*"]}),
            "Could not decode tenant token, JSON error: missing field `apiKeyUid` at line 1 column 21.",
        ),
        (
            token({"apiKeyUid": "parent", "searchRules": ["*"]}),
            "Could not decode tenant token, JSON error: UUID parsing failed: invalid character: found `p` at 0 "
            "at line 1 column 21.",
        ),
        (
            token({"apiKeyUid": UID, "searchRules": "*"}),
            "Could not decode tenant token, JSON error: data did not match any variant of untagged enum SearchRules "
            "at line 1 column 70.",
        ),
        (
            token({**STAR, "exp": "soon"}),
            'Could not decode tenant token, JSON error: invalid type: string "soon", expected i64 '
            "at line 1 column 84.",
        ),
        (
            token({**STAR, "exp": 5}),
            "Tenant token expired. Was valid up to `5` and we're now `1795357790`.",
        ),
        (
            token({"apiKeyUid": UID, "searchRules": ["other"]}),
            'The provided tenant token cannot acces the index `movies`, allowed indexes are ["other"].',
        ),
        (
            token({"apiKeyUid": OTHER, "searchRules": ["*"]}, signed_by=OTHER),
            "The provided API key is invalid.",
        ),
    ],
)
def test_refused_tokens(header: str, message: str) -> None:
    assert refusal("search", key("search"), index="movies", header=header) == ("invalid_api_key", message)


@given(
    st.text(alphabet="ab.{}[]-_=é", max_size=30) | st.binary(max_size=30).map(lambda raw: f"a.{raw.hex()}.b")
)
def test_no_text_breaks_the_reader_of_tokens(text: str) -> None:
    with pytest.raises(ApiError) as caught:
        ask("search", key("search"), header=f"Bearer {text}")
    assert caught.value.status == 403


@pytest.mark.parametrize("payload", ["{", '{"apiKeyUid" 1}', "[" * 20_000, "3"])
def test_payloads_that_are_no_claims(payload: str) -> None:
    encoded = base64.urlsafe_b64encode(payload.encode()).rstrip(b"=").decode()
    code, message = refusal("search", key("search"), header=f"Bearer {part({'alg': 'HS256'})}.{encoded}.x")
    assert code == "invalid_api_key"
    assert message.startswith("Could not decode tenant token, JSON error: ")


def test_a_parent_key_bounds_its_tokens() -> None:
    assert refusal("search", key("search", indexes=("doggo",)), index="movies", header=token(STAR)) == (
        "invalid_api_key",
        "The API key used to generate this tenant token cannot acces the index `movies`.",
    )
    assert refusal("search", key("version"), index="movies", header=token(STAR)) == INVALID
    assert ask("search", key("search"), header=token({**STAR, "exp": None})).key_uid == UID


def test_the_most_exact_rule_applies() -> None:
    rules = {"*": {"filter": "a"}, "mov*": {"filter": "b"}, "movies": {"filter": "c"}, "m": None}
    access = Access(search_rules=rules)
    assert [rule_filter(access, uid) for uid in ("movies", "moving", "shop", "m")] == ["c", "b", "a", None]
    assert may_search(access, "anything")
    assert not may_search(Access(search_rules={"a": None}), "b")
    assert rule_filter(Access(), "movies") is None


filters = st.none() | st.text() | st.lists(st.text() | st.lists(st.text(), max_size=2), max_size=3)


@given(filters, filters)
def test_filters_are_concatenated(rule: Any, request: Any) -> None:
    combined = combine_filters(rule, request)
    if rule is None or request is None:
        assert combined == (request if rule is None else rule)
    else:
        left = rule if isinstance(rule, list) else [rule]
        right = request if isinstance(request, list) else [request]
        assert combined == left + right


@given(st.from_regex(r"[a-z]{1,5}", fullmatch=True), st.from_regex(r"[a-z]{1,5}", fullmatch=True))
def test_patterns(prefix: str, uid: str) -> None:
    assert pattern_matches("*", uid)
    assert pattern_matches(prefix, uid) is (prefix == uid)
    assert pattern_matches(prefix + "*", uid) is uid.startswith(prefix)

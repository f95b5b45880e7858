"""Who may do what: bearer tokens, API keys and their actions, tenant tokens.

A key string is HMAC-SHA256(master key, key uid) and never stored. A tenant token is a JWT signed with the key
string of its parent key; it carries search rules and opens nothing but searches and chat completions.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Protocol

from miroir.meili.codes import ApiError
from miroir.meili.commands import Access, FilterValue
from miroir.meili.refusals import compact_json
from miroir.meili.tenant_tokens import read_tenant_token


class KeyRecord(Protocol):
    """What authentication needs of an API key (see `meili/keys.py` for the full record)."""

    @property
    def uid(self) -> str: ...
    @property
    def actions(self) -> tuple[str, ...]: ...
    @property
    def indexes(self) -> tuple[str, ...]: ...
    @property
    def expires_at(self) -> int | None: ...


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


#: Every action, in the order the server lists them.
ACTIONS: tuple[str, ...] = _words(
    """
    * search documents.* documents.add documents.get documents.delete indexes.* indexes.create
    indexes.get indexes.update indexes.delete indexes.swap tasks.* tasks.cancel tasks.delete tasks.get
    settings.* settings.get settings.update stats.* stats.get metrics.* metrics.get dumps.* dumps.create
    snapshots.* snapshots.create version keys.create keys.get keys.update keys.delete experimental.get
    experimental.update export network.get network.update chatCompletions chats.* chats.get chats.delete
    chatsSettings.* chatsSettings.get chatsSettings.update *.get webhooks.get webhooks.update
    webhooks.delete webhooks.create webhooks.* indexes.compact fields.post tasks.compact
    dynamicSearchRules.get dynamicSearchRules.create dynamicSearchRules.update dynamicSearchRules.delete
    dynamicSearchRules.*
    """
)
_READS = frozenset(
    _words(
        """
    search documents.get export indexes.get tasks.get settings.get stats.get metrics.get version
    experimental.get network.get chats.get chatsSettings.get webhooks.get fields.post
    dynamicSearchRules.get
    """
    )
)
#: Actions that a key limited to some indexes must not hold.
GLOBAL_ACTIONS = frozenset(
    action
    for action in ACTIONS
    if action in ("version", "export", "tasks.compact")
    or action.split(".")[0]
    in (
        "metrics",
        "dumps",
        "snapshots",
        "keys",
        "experimental",
        "network",
        "chats",
        "chatsSettings",
        "webhooks",
        "dynamicSearchRules",
    )
)
#: Actions whose routes without an index look at the indexes themselves, so that scoped keys may call them.
_ROUTE_CHECKS_INDEXES = frozenset(
    _words(
        """
    documents.get search indexes.create indexes.get indexes.swap tasks.cancel tasks.delete tasks.get
    settings.get stats.* stats.get chatCompletions
    """
    )
)
#: The only actions a tenant token opens.
_TENANT_ACTIONS = frozenset({"search", "chatCompletions"})

_INVALID = "The provided API key is invalid."


def invalid_api_key(message: str = _INVALID) -> ApiError:
    """403."""
    return ApiError("invalid_api_key", message)


def _missing_header() -> ApiError:
    message = "The Authorization header is missing. It must use the bearer authorization method."
    return ApiError("missing_authorization_header", message)


@lru_cache(maxsize=4096)
def key_string(master_key: str, uid: str) -> str:
    """The key of an API key: 64 hexadecimal digits."""
    return hmac.new(master_key.encode(), uid.encode(), "sha256").hexdigest()


@lru_cache(maxsize=1024)
def expand_actions(actions: tuple[str, ...]) -> frozenset[str]:
    """What a list of actions grants. As in the server, `documents.*` does not grant the literal `documents.*`."""
    granted: set[str] = set()
    for action in actions:
        if action == "*":
            granted.update(set(ACTIONS) - {"*.get"})
        elif action == "*.get":
            granted.update(_READS)
        elif action.endswith(".*"):
            prefix = action[:-1]
            granted.update(other for other in ACTIONS if other.startswith(prefix) and other != action)
        else:
            granted.add(action)
    return frozenset(granted)


def pattern_matches(pattern: str, index_uid: str) -> bool:
    """Whether an index pattern (`uid`, `prefix*`, `*`) covers an index."""
    return pattern in ("*", index_uid) or (pattern.endswith("*") and index_uid.startswith(pattern[:-1]))


def _any_matches(patterns: Iterable[str], index_uid: str) -> bool:
    return any(pattern_matches(pattern, index_uid) for pattern in patterns)


def _bearer(header: str | None) -> str | None:
    """The token of an Authorization header; None without a header."""
    if header is None:
        return None
    scheme, space, token = header.partition(" ")
    if scheme != "Bearer":
        raise _missing_header()
    if not space:
        raise invalid_api_key()
    return token


def authenticate(
    header: str | None,
    actions: tuple[str, ...],
    index_uid: str | None,
    *,
    master_key: str | None,
    keys: Mapping[str, KeyRecord],
    now_ns: int,
) -> Access:
    """The access of a request to a route that asks for all of `actions`, or a refusal (401, 403).

    `header` is the Authorization header. `index_uid` is the index named in the path, as sent.
    """
    token = _bearer(header)
    access = Access()
    for action in actions:
        try:
            found = _authorize(token or "", action, index_uid, master_key, keys, now_ns)
        except ApiError as error:
            if master_key is None:
                message = (
                    "Meilisearch is running without a master key. To access this API endpoint, "
                    "you must have set a master key at launch."
                )
                raise ApiError("missing_master_key", message) from None
            raise error if token is not None else _missing_header() from None
        if action == actions[0]:
            access = found
    return access


def _authorize(
    token: str,
    action: str,
    index_uid: str | None,
    master_key: str | None,
    keys: Mapping[str, KeyRecord],
    now_ns: int,
) -> Access:
    if master_key is None:
        if action.startswith("keys."):
            raise invalid_api_key()
        return Access()
    if hmac.compare_digest(token.encode(), master_key.encode()):
        return Access()
    rules: Mapping[str, Any] | None = None
    tenant = None
    if action in _TENANT_ACTIONS:
        tenant = read_tenant_token(token, lambda uid: key_string(master_key, uid), now_ns)
    if tenant is not None:
        key = keys.get(tenant.api_key_uid)
        rules = tenant.search_rules
    else:
        key = _key_of(token, master_key, keys)
    if key is None:
        raise invalid_api_key()
    if index_uid is not None:
        _check_index(index_uid, key, rules)
    if not _is_authorized(key, action, index_uid, now_ns):
        raise invalid_api_key()
    return Access(
        key_uid=key.uid,
        index_patterns=None if "*" in key.indexes else key.indexes,
        search_rules=rules,
        may_create_indexes=_is_authorized(key, "indexes.create", None, now_ns),
    )


def _key_of(token: str, master_key: str, keys: Mapping[str, KeyRecord]) -> KeyRecord | None:
    found = None
    for key in keys.values():  # no early exit: the time taken must not tell which key came close
        if hmac.compare_digest(key_string(master_key, key.uid).encode(), token.encode()):
            found = key
    return found


def _check_index(index_uid: str, key: KeyRecord, rules: Mapping[str, Any] | None) -> None:
    if rules is not None and not _any_matches(rules, index_uid):
        allowed = _debug_list(rules)
        message = (
            f"The provided tenant token cannot acces the index `{index_uid}`, allowed indexes are {allowed}."
        )
        raise invalid_api_key(message)
    if not _any_matches(key.indexes, index_uid):
        if rules is not None:
            message = f"The API key used to generate this tenant token cannot acces the index `{index_uid}`."
            raise invalid_api_key(message)
        allowed = _debug_list(key.indexes)
        raise invalid_api_key(
            f"The API key cannot acces the index `{index_uid}`, authorized indexes are {allowed}."
        )


def _debug_list(names: Iterable[str]) -> str:
    return "[" + ", ".join(compact_json(name) for name in sorted(set(names))) + "]"


def _is_authorized(key: KeyRecord, action: str, index_uid: str | None, now_ns: int) -> bool:
    if action not in expand_actions(key.actions):
        return False
    if "*" not in key.indexes:
        if index_uid is not None:
            if not _any_matches(key.indexes, index_uid):
                return False
        elif action not in _ROUTE_CHECKS_INDEXES or not key.indexes:
            return False
    return key.expires_at is None or now_ns < key.expires_at


def may_search(access: Access, index_uid: str) -> bool:
    """Whether key and tenant token both cover the index."""
    return access.sees(index_uid) and (
        access.search_rules is None or _any_matches(access.search_rules, index_uid)
    )


def rule_filter(access: Access, index_uid: str) -> FilterValue | None:
    """The filter that the tenant token puts on an index: an exact rule wins, then the longest pattern."""
    if access.search_rules is None:
        return None
    matching = [pattern for pattern in access.search_rules if pattern_matches(pattern, index_uid)]
    if not matching:
        return None
    rule = access.search_rules[max(matching, key=lambda pattern: (not pattern.endswith("*"), len(pattern)))]
    return None if rule is None else rule.get("filter")


def combine_filters(rule: FilterValue | None, request: FilterValue | None) -> FilterValue | None:
    """The tenant's filter AND the request's, as the server combines them: arrays are concatenated."""
    if rule is None or request is None:
        return request if rule is None else rule
    left = rule if isinstance(rule, list) else [rule]
    right = request if isinstance(request, list) else [request]
    return [*left, *right]

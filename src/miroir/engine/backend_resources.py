"""Routes of API keys and webhooks."""

from __future__ import annotations

from miroir.engine.routing import Answer, Handler
from miroir.engine.state import State
from miroir.meili import keys, webhooks
from miroir.meili.commands import Call


def _list_keys(state: State, call: Call) -> Answer:
    return 200, keys.list_view(state.keys, call.args, state.master_key)


def _create_key(state: State, call: Call) -> Answer:
    key = keys.create_key(state.keys, call.args, fresh_uid=state.new_uuid(), now_ns=state.now_ns())
    state.put_key(key)
    return 201, keys.key_view(key, state.master_key)


def _find_key(state: State, call: Call) -> keys.Key:
    return keys.find_key(state.keys, call.path["key"], state.master_key)


def _get_key(state: State, call: Call) -> Answer:
    return 200, keys.key_view(_find_key(state, call), state.master_key)


def _update_key(state: State, call: Call) -> Answer:
    key = keys.update_key(_find_key(state, call), call.args, now_ns=state.now_ns())
    state.put_key(key)
    return 200, keys.key_view(key, state.master_key)


def _delete_key(state: State, call: Call) -> Answer:
    state.delete_key(_find_key(state, call))
    return 204, None


def _list_webhooks(state: State, _: Call) -> Answer:
    return 200, webhooks.list_view(state.webhooks)


def _create_webhook(state: State, call: Call) -> Answer:
    webhook = webhooks.create_webhook(state.webhooks, call.args, state.new_uuid())
    state.put_webhook(webhook)
    return 201, webhooks.webhook_view(webhook)


def _webhook_uuid(state: State, call: Call) -> str:
    uuid = webhooks.path_uuid(call.path["uuid"])
    if uuid not in state.webhooks:
        raise webhooks.not_found(uuid)
    return uuid


def _get_webhook(state: State, call: Call) -> Answer:
    return 200, webhooks.webhook_view(state.webhooks[_webhook_uuid(state, call)])


def _update_webhook(state: State, call: Call) -> Answer:
    uuid = webhooks.path_uuid(call.path["uuid"])
    webhook = webhooks.update_webhook(state.webhooks, uuid, call.args)
    state.put_webhook(webhook)
    return 200, webhooks.webhook_view(webhook)


def _delete_webhook(state: State, call: Call) -> Answer:
    uuid = webhooks.path_uuid(call.path["uuid"])
    webhooks.check_editable(uuid)
    state.delete_webhook(_webhook_uuid(state, call))
    return 204, None


ROUTES: dict[str, Handler] = {
    "keys.list": _list_keys,
    "keys.create": _create_key,
    "keys.get": _get_key,
    "keys.update": _update_key,
    "keys.delete": _delete_key,
    "webhooks.list": _list_webhooks,
    "webhooks.create": _create_webhook,
    "webhooks.get": _get_webhook,
    "webhooks.update": _update_webhook,
    "webhooks.delete": _delete_webhook,
}

"""Routes of API keys and webhooks."""

from __future__ import annotations

from collections.abc import Mapping

from miroir.api.backend import Answer, Handler
from miroir.meili import keys, webhooks
from miroir.meili.commands import Call
from miroir.services.writes.writes import WritePath


def resource_handlers(writes: WritePath, master_key: str | None) -> Mapping[str, Handler]:
    """Route name -> handler."""
    registry = writes.registry

    def found_key(call: Call) -> keys.Key:
        return keys.find_key(registry.keys, call.path["key"], master_key)

    async def list_keys(call: Call) -> Answer:
        return 200, keys.list_view(registry.keys, call.args, master_key)

    async def create_key(call: Call) -> Answer:
        key = keys.create_key(registry.keys, call.args, fresh_uid=registry.new_uuid(), now_ns=writes.now_ns())
        await registry.put_key(key)
        return 201, keys.key_view(key, master_key)

    async def get_key(call: Call) -> Answer:
        return 200, keys.key_view(found_key(call), master_key)

    async def update_key(call: Call) -> Answer:
        key = keys.update_key(found_key(call), call.args, now_ns=writes.now_ns())
        await registry.put_key(key)
        return 200, keys.key_view(key, master_key)

    async def delete_key(call: Call) -> Answer:
        await registry.delete_key(found_key(call).uid)
        return 204, None

    def webhook_uuid(call: Call) -> str:
        uuid = webhooks.path_uuid(call.path["uuid"])
        if uuid not in registry.webhooks:
            raise webhooks.not_found(uuid)
        return uuid

    async def list_webhooks(_: Call) -> Answer:
        return 200, webhooks.list_view(registry.webhooks)

    async def create_webhook(call: Call) -> Answer:
        webhook = webhooks.create_webhook(registry.webhooks, call.args, registry.new_uuid())
        await registry.put_webhook(webhook)
        return 201, webhooks.webhook_view(webhook)

    async def get_webhook(call: Call) -> Answer:
        return 200, webhooks.webhook_view(registry.webhooks[webhook_uuid(call)])

    async def update_webhook(call: Call) -> Answer:
        uuid = webhooks.path_uuid(call.path["uuid"])
        webhook = webhooks.update_webhook(registry.webhooks, uuid, call.args)
        await registry.put_webhook(webhook)
        return 200, webhooks.webhook_view(webhook)

    async def delete_webhook(call: Call) -> Answer:
        webhooks.check_editable(webhooks.path_uuid(call.path["uuid"]))
        await registry.delete_webhook(webhook_uuid(call))
        return 204, None

    return {
        "keys.list": list_keys,
        "keys.create": create_key,
        "keys.get": get_key,
        "keys.update": update_key,
        "keys.delete": delete_key,
        "webhooks.list": list_webhooks,
        "webhooks.create": create_webhook,
        "webhooks.get": get_webhook,
        "webhooks.update": update_webhook,
        "webhooks.delete": delete_webhook,
    }

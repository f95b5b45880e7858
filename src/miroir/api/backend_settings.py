"""Routes of settings: what the client set, from our own truth; changes through the op log."""

from __future__ import annotations

from collections.abc import Mapping

from miroir.api.accepting import accepted_reply, idempotency_of, uid_of
from miroir.api.backend import Answer, Handler
from miroir.api.backend_indexes import visible_index
from miroir.core.writes.reserved_words import refuse_settings
from miroir.meili import settings
from miroir.meili.commands import Call, SettingsWrite
from miroir.meili.routes import PATCH_SETTINGS, PUT_SETTINGS
from miroir.services.writes.writes import WritePath


def settings_handlers(writes: WritePath) -> Mapping[str, Handler]:
    """Route name -> handler: all settings at once, and three routes per setting."""

    def enabled() -> set[str]:
        return {name for name, is_on in writes.registry.features.items() if is_on}

    async def write(call: Call, change: SettingsWrite) -> Answer:
        settings.check_features(change, enabled())
        refuse_settings(change.patch)
        return accepted_reply(
            await writes.ingest.settings(
                uid_of(call),
                change,
                may_create=call.access.may_create_indexes,
                idempotency=idempotency_of(call),
            )
        )

    async def get_all(call: Call) -> Answer:
        return 200, settings.view(visible_index(writes, uid_of(call)).settings, enabled())

    async def update(call: Call) -> Answer:
        return await write(call, call.args)

    async def reset_all(call: Call) -> Answer:
        return await write(call, SettingsWrite(reset_all=True, is_deletion=True))

    def get_one(key: str) -> Handler:
        async def get(call: Call) -> Answer:
            return 200, settings.view_one(visible_index(writes, uid_of(call)).settings, key)

        return get

    def reset_one(key: str) -> Handler:
        async def reset(call: Call) -> Answer:
            return await write(call, SettingsWrite(patch={key: None}, is_deletion=True))

        return reset

    handlers: dict[str, Handler] = {
        "settings.get": get_all,
        "settings.update": update,
        "settings.reset": reset_all,
    }
    for key in (*PUT_SETTINGS.values(), *PATCH_SETTINGS.values()):
        handlers[f"settings.{key}.get"] = get_one(key)
        handlers[f"settings.{key}.update"] = update
        handlers[f"settings.{key}.reset"] = reset_one(key)
    return handlers

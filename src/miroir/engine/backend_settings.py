"""Routes of settings: all at once, and one route per setting."""

from __future__ import annotations

from typing import Any

from miroir.engine.jobs import UpdateSettings
from miroir.engine.routing import ACCEPTED, Answer, Handler
from miroir.engine.state import State
from miroir.meili import settings
from miroir.meili.commands import Call, SettingsWrite
from miroir.meili.routes import PATCH_SETTINGS, PUT_SETTINGS


def _enabled(state: State) -> set[str]:
    return {name for name, is_on in state.features.items() if is_on}


def _get_all(state: State, call: Call) -> Answer:
    return 200, settings.view(state.index(call.index_uid).index.settings, _enabled(state))


def _get_one(key: str) -> Handler:
    def get(state: State, call: Call) -> Answer:
        return 200, settings.view_one(state.index(call.index_uid).index.settings, key)

    return get


def _write(state: State, call: Call, write: SettingsWrite) -> Answer:
    settings.check_features(write, _enabled(state))
    details: dict[str, Any] = settings.details(write)
    job = UpdateSettings(
        patch=write.patch,
        reset_all=write.reset_all,
        is_deletion=write.is_deletion,
        may_create=call.access.may_create_indexes,
    )
    return ACCEPTED, state.enqueue("settingsUpdate", job, index_uid=call.index_uid, details=details)


def _update(state: State, call: Call) -> Answer:
    return _write(state, call, call.args)


def _reset_all(state: State, call: Call) -> Answer:
    return _write(state, call, SettingsWrite(reset_all=True, is_deletion=True))


def _reset_one(key: str) -> Handler:
    def reset(state: State, call: Call) -> Answer:
        return _write(state, call, SettingsWrite(patch={key: None}, is_deletion=True))

    return reset


ROUTES: dict[str, Handler] = {
    "settings.get": _get_all,
    "settings.update": _update,
    "settings.reset": _reset_all,
}
for _key in (*PUT_SETTINGS.values(), *PATCH_SETTINGS.values()):
    ROUTES[f"settings.{_key}.get"] = _get_one(_key)
    ROUTES[f"settings.{_key}.update"] = _update
    ROUTES[f"settings.{_key}.reset"] = _reset_one(_key)

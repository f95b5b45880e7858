"""The embedded engine as a backend of the front desk: one handler per route, found by the route's name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from miroir.engine import (
    backend_documents,
    backend_indexes,
    backend_resources,
    backend_search,
    backend_service,
    backend_settings,
    backend_tasks,
)
from miroir.engine.routing import Answer, Handler
from miroir.engine.state import State
from miroir.meili.auth import KeyRecord
from miroir.meili.codes import ApiError
from miroir.meili.commands import Call
from miroir.meili.experimental import check_route
from miroir.meili.http import HttpReply

_HANDLERS: dict[str, Handler] = {
    **backend_service.ROUTES,
    **backend_indexes.ROUTES,
    **backend_settings.ROUTES,
    **backend_documents.ROUTES,
    **backend_search.ROUTES,
    **backend_tasks.ROUTES,
    **backend_resources.ROUTES,
}


class EngineBackend:
    """meili.edge.Backend over one engine's state."""

    def __init__(self, state: State) -> None:
        self._state = state

    @property
    def master_key(self) -> str | None:
        return self._state.master_key

    def keys(self) -> Mapping[str, KeyRecord]:
        return self._state.keys

    def now_ns(self) -> int:
        return self._state.now_ns()

    async def handle(self, call: Call) -> HttpReply | Answer:
        """Answer one call. Raises ApiError."""
        check_route(self._state.features, call.route)
        handler = _HANDLERS.get(call.route)
        if handler is None:
            raise ApiError("feature_not_enabled", f"The embedded engine does not serve `{call.route}`.")
        answer = handler(self._state, call)
        return await answer if inspect.isawaitable(answer) else answer

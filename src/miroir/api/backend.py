"""The orchestrator as the backend of the front desk: one table from route to handler.

Handlers come in groups, one module each; reads are a group like the others (`api/backend_reads.py`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from miroir.meili.codes import ApiError
from miroir.meili.commands import Call
from miroir.meili.edge import KeyRecord
from miroir.meili.experimental import check_route
from miroir.meili.http import HttpReply
from miroir.ports.store import StoreFullError

Answer = HttpReply | tuple[int, Any]
Handler = Callable[[Call], Awaitable[Answer]]


class OrchestratorBackend:
    """Implements `meili.edge.Backend`.

    `groups` are tables route name -> handler; a route in two groups is a mistake of ours.
    """

    def __init__(
        self,
        *groups: Mapping[str, Handler],
        master_key: str | None,
        keys: Callable[[], Mapping[str, KeyRecord]],
        now_ns: Callable[[], int],
        features: Callable[[], Mapping[str, bool]] = dict,
    ) -> None:
        self._handlers: dict[str, Handler] = {}
        for group in groups:
            twice = self._handlers.keys() & group.keys()
            assert not twice, f"routes handled twice: {sorted(twice)}"
            self._handlers.update(group)
        self._master_key = master_key
        self._keys = keys
        self._now_ns = now_ns
        self._features = features

    @property
    def master_key(self) -> str | None:
        return self._master_key

    def keys(self) -> Mapping[str, KeyRecord]:
        return self._keys()

    def now_ns(self) -> int:
        return self._now_ns()

    async def handle(self, call: Call) -> Answer:
        """Answer one call. Raises ApiError; a route nobody handles is refused in words."""
        check_route(self._features(), call.route)
        handler = self._handlers.get(call.route)
        if handler is None:
            raise ApiError("feature_not_enabled", f"`{call.request.path}` is not available through Miroir.")
        try:
            return await handler(call)
        except StoreFullError as error:
            raise no_space_left() from error


def no_space_left() -> ApiError:
    """The refusal of what our own disk has no room for."""
    message = "There is no more space left on the device. Consider increasing the size of the disk/partition."
    return ApiError("no_space_left_on_device", message)
